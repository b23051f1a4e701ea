"""The policies of the field and their forms over time, as data: name -> settings and source.

The programs' ``--aug``, the table of docs/policies.md, the previews and the table ``policies`` of ``train.tables`` are
made from ``POLICIES``. To add a policy, add a row.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import InputError, check_known
from ..plan.magnitude import MAX_LEVEL, RandomLevel
from .augmix import AugMix
from .ops import PAPER_CROP_PX, PAPER_OPS, PAPER_TRANSLATE_MAX_PX
from .randaugment import RandAugmentT

NO_POLICY = "none"
"""The value of --aug for clips that are only cropped and mirrored."""


@dataclass(frozen=True, kw_only=True)
class PolicyRow:
    """A policy: its settings, and in words what it does and where it comes from."""

    settings: Mapping[str, Any]
    """Fields of the policy that are not its defaults."""
    kind: type[RandAugmentT] | type[AugMix] = RandAugmentT
    free: tuple[str, ...] = ()
    """Fields that a user may choose; the others are the policy."""
    translate_share: float = PAPER_TRANSLATE_MAX_PX / PAPER_CROP_PX
    """Translation at level 30, as a share of the clip's side."""
    operations: str
    """Operations, in words, as all that follows."""
    count: str
    """Number of operations of a clip."""
    magnitude: str
    """Magnitude level."""
    over_time: str = "constant"
    """Course of the level over a clip."""
    source: str
    """Authors and year."""


_CHOSEN = ("n", "m", "ops", "ranges", "interpolation")
_RANDAUG: dict[str, Any] = {"operations": "the paper's 14", "count": "N", "magnitude": "M"}
_PAPER = "RandAugment-T: Kim et al., ECCV-W 2020"
_DYNA_OPS = (*PAPER_OPS, "zoom", "hue", "erase")
_DYNA: dict[str, Any] = {
    "free": ("n", "m", "interpolation"),
    "operations": "the paper's 14, and `zoom`, `hue` and `erase`",
    "count": "N",
    "magnitude": "M",
    "source": "DynaAugment: Kim et al., ICLR 2023",
}
_TRIVIAL: dict[str, Any] = {
    "translate_share": 32 / 224,
    "operations": "the paper's 14, with the ranges `wide`",
    "count": "1",
    "magnitude": "any of the levels 0 to 30, all alike",
    "source": "TrivialAugment: Müller and Hutter, ICCV 2021; ranges of torchvision's TrivialAugmentWide",
}
_AUGMIX: dict[str, Any] = {
    "kind": AugMix,
    "translate_share": 1 / 3,
    "operations": "9: geometric ones, auto_contrast, equalize, posterize and solarize",
    "count": "3 chains of 1 to 3, blended with random weights",
    "magnitude": "uniform from 0.3 to 9, for each operation",
    "source": "AugMix: Hendrycks et al., ICLR 2020; program google-research/augmix",
}

TIMM_LEVELS = 10.0
"""The highest level of timm's recipes."""
TIMM_OPS = (*PAPER_OPS[1:], "invert", "solarize_add")
"""timm's operations: all of the paper's but identity, and two more."""
_HALF_OF_THEM = (*TIMM_OPS, *["identity"] * len(TIMM_OPS))
"""timm applies each drawn operation with probability 1/2: so often is none drawn here."""
_RECIPE_HEADS = {"rand": False, "rand_t": True}
"""First section of a recipe -> whether its levels change over time."""
_RECIPE_DEFAULTS = {"m": 10.0, "n": 2.0, "mstd": 0.0, "inc": 0.0}
_RECIPE_FORM = (
    "must be rand (or rand_t, for magnitudes that change over time) and then sections "
    f"{', '.join(_RECIPE_DEFAULTS)}, each with a number and at most once, such as rand-m7-n4-mstd0.5-inc1"
)


def is_recipe(name: str) -> bool:
    """Return whether a name is meant as a recipe string of timm, such as ``rand-m9-n2``, correct or not."""
    return isinstance(name, str) and name.partition("-")[0] in _RECIPE_HEADS and "-" in name


def recipe_row(recipe: str) -> PolicyRow:
    """Return the policy of a recipe string of timm, such as ``rand-m7-n4-mstd0.5-inc1``.

    ``m`` is the level of 10, ``n`` the number of operations, ``mstd`` the standard deviation of each operation's level
    (above 100, it is uniform from 0 to m), and ``inc1`` chooses ranges in which a higher level is a stronger change.
    timm's other sections are not supported: ``mmax``, ``w`` and ``p``.

    Raises:
        InputError: a section is unknown, given twice, or out of range.
    """
    head, *sections = recipe.split("-")
    numbers: dict[str, float] = {}
    for section in sections:
        found = re.fullmatch(r"([a-z]+)(\d+(?:\.\d+)?)", section)
        if head not in _RECIPE_HEADS or not found or found[1] not in _RECIPE_DEFAULTS or found[1] in numbers:
            raise InputError(f"Invalid aug {recipe!r}: {_RECIPE_FORM}; {section!r} is wrong")
        numbers[found[1]] = float(found[2])
    m, n, std, inc = ((_RECIPE_DEFAULTS | numbers)[name] for name in _RECIPE_DEFAULTS)
    if m > TIMM_LEVELS or n < 1 or n != int(n) or inc not in (0, 1):
        raise InputError(
            f"Invalid aug {recipe!r}: must have m between 0 and {TIMM_LEVELS:g}, n a whole number of at least 1, "
            "and inc 0 or 1"
        )
    scale, temporal = MAX_LEVEL / TIMM_LEVELS, _RECIPE_HEADS[head]
    drawn = f"N({m:g}, {std:g}) of 10, clipped, for each operation" if std <= 100 else f"uniform from 0 to {m:g} of 10"
    return PolicyRow(
        settings={
            "n": int(n),
            "m": m * scale,
            "schedule": RandomLevel(std=None if std > 100 else std * scale, swing=0.5 if temporal else 0.0),
            "ops": _HALF_OF_THEM,
            "ranges": "increasing" if inc else "paper",
            "interpolation": "linear",
            "fill": 128.0,
        },
        translate_share=0.45,
        operations="timm's 15: the paper's but identity, and `invert` and `solarize_add`",
        count=f"{n:g}, each applied with probability 1/2",
        magnitude=drawn,
        over_time="linear, by at most half of the drawn level to either side" if temporal else "constant",
        source="timm's recipe strings; this one is VideoMAE's" if "m7-n4-mstd0.5-inc1" in recipe else "timm",
    )


POLICIES: dict[str, PolicyRow] = {
    "randaug": PolicyRow(
        settings={"schedule": "spatial"},
        free=_CHOSEN,
        **_RANDAUG,
        source="RandAugment: Cubuk et al., NeurIPS 2020; operations and ranges of " + _PAPER,
    ),
    "randaug_t": PolicyRow(
        settings={"schedule": "temporal+"},
        free=(*_CHOSEN, "schedule"),
        **_RANDAUG,
        over_time="`temporal+`, or another schedule",
        source=_PAPER,
    ),
    "dynaaugment": PolicyRow(
        settings={"schedule": "fourier_wide", "ops": _DYNA_OPS, "ranges": "monotonic"},
        **_DYNA,
        over_time="`fourier_wide`: sinusoids within 0 and 2 M",
    ),
    **{recipe: recipe_row(recipe) for recipe in ("rand-m7-n4-mstd0.5-inc1", "rand_t-m7-n4-mstd0.5-inc1")},
    "trivial": PolicyRow(settings={"n": 1, "m": MAX_LEVEL, "schedule": "uniform", "ranges": "wide"}, **_TRIVIAL),
    "trivial_t": PolicyRow(
        settings={"n": 1, "m": MAX_LEVEL, "schedule": "uniform_ends", "ranges": "wide"},
        **_TRIVIAL,
        over_time="linear between two such levels",
    ),
    "augmix": PolicyRow(settings={}, **_AUGMIX),
    "augmix_t": PolicyRow(
        settings={"schedule": RandomLevel(low=0.3, swing=1.0), "fade": True},
        **_AUGMIX,
        over_time="linear, within 0 and twice the drawn level; the clip's own weight changes linearly too",
    ),
}
"""Name -> policy; the programs' --aug also has ``none``, and recipes of timm, see docs/policies.md."""


def policy_row(name: str) -> PolicyRow:
    """Return the policy of that name.

    Raises:
        InputError: there is none, or a recipe is not as it must be.
    """
    if name not in POLICIES and is_recipe(name):
        return recipe_row(name)
    check_known("aug", name, (NO_POLICY, *POLICIES, "a recipe such as rand-m9-n2"))
    return POLICIES[name]


def check_fields(name: str, chosen: Mapping[str, Any]) -> None:
    """Raise :class:`InputError` if a field is unknown, or the policy of that name does not leave it to the user."""
    free = () if name == NO_POLICY else policy_row(name).free
    for field_name, value in chosen.items():
        check_known("field", field_name, dict.fromkeys(known for row in POLICIES.values() for known in row.free))
        if field_name not in free:
            fitting = " or ".join(policy for policy, row in POLICIES.items() if field_name in row.free)
            raise InputError(f"Invalid {field_name} {value!r}: needs the policy {fitting}, not {name}")


def make_policy(name: str, crop_px: int = PAPER_CROP_PX, **chosen: Any) -> RandAugmentT | AugMix | None:
    """Return a policy by its name, for ``VideoLoader(augment=...)``.

    Args:
        name: a name in ``POLICIES``, a recipe such as ``rand-m9-n2-mstd0.5-inc1``, or ``none``.
        crop_px: height and width of the clips, with which translations scale.
        **chosen: fields of the policy that differ from its row; the row names those that may, in ``free``.

    Returns:
        A :class:`RandAugmentT` or :class:`AugMix`; None for ``none``.

    Raises:
        InputError: the name or a field is unknown, the policy does not let it be chosen, or it is out of range.
    """
    check_fields(name, chosen)
    if name == NO_POLICY:
        return None
    row = policy_row(name)
    return row.kind(**{"translate_max_px": row.translate_share * crop_px} | dict(row.settings) | chosen)
