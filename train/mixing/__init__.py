"""Delete, mix and blend operations: what is drawn, and how clips and labels are mixed by it."""

from .apply import apply_mix, build_mix, mix_targets, one_hot
from .params import MIXES, MixParams, draw_mix

__all__ = ["MIXES", "MixParams", "apply_mix", "build_mix", "draw_mix", "mix_targets", "one_hot"]
