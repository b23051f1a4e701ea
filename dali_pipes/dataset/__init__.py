"""Videos and their labels: folders, lists, official splits, and a manifest of all files, each probed once."""

from ..lazy import public_names

__getattr__, __dir__, __all__ = public_names(__name__, __file__)
