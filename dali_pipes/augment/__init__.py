"""The table of operations, and RandAugment-T as a DALI graph function."""

from ..lazy import public_names

__getattr__, __dir__, __all__ = public_names(__name__, __file__)
