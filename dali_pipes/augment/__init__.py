"""The table of operations, RandAugment-T as a DALI graph function, and pictures of both."""

from ..lazy import public_names

__getattr__, __dir__, __all__ = public_names(__name__, __file__)
