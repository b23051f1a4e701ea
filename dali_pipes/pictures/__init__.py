"""Contact sheets, films and charts of clips and augmentations."""

from ..lazy import public_names

__getattr__, __dir__, __all__ = public_names(__name__, __file__)
