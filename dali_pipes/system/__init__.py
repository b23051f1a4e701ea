"""Access to the machine: files, locks, processes, cores and programs.

Nothing here knows what a video is.
"""

from ..lazy import public_names

__getattr__, __dir__, __all__ = public_names(__name__, __file__)
