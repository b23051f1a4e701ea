"""Frames out of files: PyAV's reader, and DALI's decoder as a graph function."""

from ..lazy import public_names

__getattr__, __dir__, __all__ = public_names(__name__, __file__)
