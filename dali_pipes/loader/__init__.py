"""The DALI pipelines and the loader that hands their clips to PyTorch: the only place that imports torch."""

from ..lazy import public_names

__getattr__, __dir__, __all__ = public_names(__name__, __file__)
