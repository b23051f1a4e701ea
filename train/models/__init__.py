"""SlowFast and the other networks."""

from .slowfast import slowfast50
from .zoo import MODELS, build_model

__all__ = ["MODELS", "build_model", "slowfast50"]
