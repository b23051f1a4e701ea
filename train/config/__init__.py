"""The options of a run, one definition each, and the command line made from them."""

from .options import Config

__all__ = ["Config"]
