"""Which videos there are: folders, lists and official splits, each file probed once, and the manifest of all."""

from ..lazy import public_names

__getattr__, __dir__, __all__ = public_names(__name__, __file__)
