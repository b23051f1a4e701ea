"""All chance, as data: which frames, crop, operations and levels sample i of epoch e has. Pure numpy."""

from ..lazy import public_names

__getattr__, __dir__, __all__ = public_names(__name__, __file__)
