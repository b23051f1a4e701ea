"""What a trained network looks at, and what mixes look like."""

from .activation import class_maps

__all__ = ["class_maps"]
