"""Views of what a trained network looks at, and of mixes."""

from .activation import class_maps

__all__ = ["class_maps"]
