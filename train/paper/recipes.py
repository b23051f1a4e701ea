"""Recipes: settings of ``train.config.Config`` for every training of the experiments.

A recipe is called ``data/method``: what of ``DATA`` the network is trained on and how long, and by which of
``METHODS``.

To add an experiment: a line in ``METHODS``, and rows in rows.py that name it.
"""

from typing import Any

from dali_pipes.augment import POLICIES

Settings = dict[str, Any]
"""Names and values of ``Config``."""

GRID_N, GRID_M = (1, 2, 3), (3, 5, 10)
"""Section 4.2: every RandAugment figure is the best of these, by the validation videos' accuracy."""
RANDAUG: Settings = {"randaug_n": 2, "randaug_m": 5.0}
"""The authors' defaults, where no grid was searched: the paper does not say what was best."""

SCHEDULE_SETTINGS: dict[str, Settings] = {
    "spatial": {"aug": "randaug"},
    "temporal": {"aug": "randaug_t", "schedule": "temporal"},
    "temporal+": {"aug": "randaug_t", "schedule": "temporal+"},
    "mix": {"aug": "randaug_t", "schedule": "mix"},
}
_RANDAUG_T: Settings = SCHEDULE_SETTINGS["temporal+"] | RANDAUG
_PLAIN: Settings = {"aug": "none"}

MIX_SETTINGS: dict[str, Settings] = {
    "cutout": {"mix": "cutout"},
    "framecutout": {"mix": "framecutout"},
    "cubecutout": {"mix": "cubecutout"},
    "cutmix": {"mix": "cutmix", "mix_alpha": 2.0, "mix_prob": 0.5},
    "framecutmix2": {"mix": "framecutmix", "mix_alpha": 2.0, "mix_prob": 0.5},
    "framecutmix": {"mix": "framecutmix", "mix_alpha": 5.0, "mix_prob": 0.5},
    "cubecutmix": {"mix": "cubecutmix", "mix_alpha": 2.0, "mix_prob": 0.5},
    "cubecutmix5": {"mix": "cubecutmix", "mix_alpha": 5.0, "mix_prob": 0.5},
    "mixup": {"mix": "mixup", "mix_alpha": 1.0},
    "fademixup": {"mix": "fademixup", "mix_alpha": 1.0},
    "cutmixup": {"mix": "cutmixup", "mix_alpha": 1.0},
    "framecutmixup": {"mix": "framecutmixup", "mix_alpha": 1.0},
    "cubecutmixup": {"mix": "cubecutmixup", "mix_alpha": 1.0},
}
"""Section 4.3; where it says nothing, alpha is 1 and every batch is mixed."""
ENSEMBLE = ("cutmix", "framecutmix", "cubecutmix", "mixup", "fademixup", "cutmixup", "framecutmixup", "cubecutmixup")
"""Section 4.5: RandAugment-T with "various mixing and blending"."""


def grid_name(schedule: str, n: int, m: float) -> str:
    """Return the name of a grid's point, such as ``temporal+_n2_m10``."""
    return f"{schedule}_n{n}_m{m:g}"


RANDAUG_T_NAME = grid_name("temporal+", RANDAUG["randaug_n"], RANDAUG["randaug_m"])

PERTURBED_TITLES = {
    "spatial": "RandAugment",
    "temporal+": "RandAugment-T (temporal+)",
    "fourier": "RandAugment-T (fourier)",
}
"""Schedules that are compared on the perturbed videos -> title."""
PERTURBED_CHOICES: dict[str, tuple[str, int, float]] = {
    "N = 1, M = 10": ("", 1, 10),
    "N = 2, M = 10": ("", 2, 10),
    "N = 2, M = 10, monotonic": ("_monotonic", 2, 10),
}
"""N, M and ranges among which shorter trainings choose, the same for all schedules -> end of the data's name, N, M."""
PERTURBED_CHOICE = "N = 1, M = 10"
PERTURBED_TRIALS: dict[str, tuple[str, int, float]] = {
    "longer: 200 epochs": ("perturbed_200", 1, 10),
    "weaker: M = 5, monotonic": ("perturbed_monotonic", 1, 5),
    "larger: the whole network": ("perturbed_whole", 1, 10),
}
"""Trials that may explain the result on the perturbed videos, the choice but for what they name -> data, N, M."""

_RANDAUGS = {settings["aug"] for settings in SCHEDULE_SETTINGS.values()}


def policy_settings(choice: str) -> dict[str, Settings]:
    """Return the settings of all policies but RandAugment and RandAugment-T, which are compared at the same N and M.

    Args:
        choice: a name in ``PERTURBED_CHOICES``.
    """
    _, n, m = PERTURBED_CHOICES[choice]
    return {
        name: {"aug": name} | ({"randaug_n": n, "randaug_m": float(m)} if "n" in row.free else {})
        for name, row in POLICIES.items()
        if name not in _RANDAUGS
    }


POLICY_SETTINGS = policy_settings(PERTURBED_CHOICE)

METHODS: dict[str, Settings] = {
    "baseline": _PLAIN,
    **{
        grid_name(name, n, m): settings | {"randaug_n": n, "randaug_m": float(m)}
        for name, settings in SCHEDULE_SETTINGS.items()
        for n in GRID_N
        for m in GRID_M
    },
    **{
        grid_name("fourier", n, m): {"aug": "randaug_t", "schedule": "fourier", "randaug_n": n, "randaug_m": float(m)}
        for _, n, m in PERTURBED_CHOICES.values()
    },
    **{name: _PLAIN | settings for name, settings in MIX_SETTINGS.items()},
    **{f"randaug_t+{name}": _RANDAUG_T | MIX_SETTINGS[name] for name in ENSEMBLE},
    **POLICY_SETTINGS,
}
"""Settings of each method."""

_SECTION_4_1: Settings = {
    "epochs": 150,
    "batch_size": 16,
    "lr": 1e-4,
    "weight_decay": 1e-5,
    "warmup": 0.1,
    "dropout": 0.5,
    "num_frames": 64,
    "crop_px": 160,
    "eval_clips": 10,
    "eval_every": 25,
}
"""Evaluated every 25 epochs, as ten clips of each video cost as much as three to four epochs."""
_TWO_CORES: Settings = {
    "epochs": 100,
    "batch_size": 16,
    "lr": 2e-3,
    "weight_decay": 1e-5,
    "warmup": 0.2,
    "dropout": 0.0,
    "num_frames": 32,
    "crop_px": 56,
    "width": 32,
    "eval_clips": 2,
    "eval_every": 25,
}
"""Settings for a quarter to half an hour on one CPU core, in which half the channels learn the training clips."""
_MONOTONIC: Settings = {"randaug_ranges": "monotonic"}

DATA: dict[str, Settings] = {
    "vipriors": {"dataset": "vipriors", "split": "train", **_SECTION_4_1},
    "vipriors_train+val": {"dataset": "vipriors", "split": "train+val", **_SECTION_4_1},
    "hmdb51_1": {"dataset": "hmdb51", "split": "1", **_SECTION_4_1},
    "hmdb51_2": {"dataset": "hmdb51", "split": "2", **_SECTION_4_1},
    "hmdb51_3": {"dataset": "hmdb51", "split": "3", **_SECTION_4_1},
    "perturbed": {"data": "perturbed", **_TWO_CORES},
    "perturbed_monotonic": {"data": "perturbed", **_TWO_CORES, **_MONOTONIC},
    "perturbed_50": {"data": "perturbed", **_TWO_CORES, "epochs": 50},
    "perturbed_50_monotonic": {"data": "perturbed", **_TWO_CORES, **_MONOTONIC, "epochs": 50},
    "perturbed_200": {"data": "perturbed", **_TWO_CORES, "epochs": 200},
    "perturbed_whole": {"data": "perturbed", **_TWO_CORES, "width": 64},
    "localisation": {"data": "perturbed", **_TWO_CORES, "epochs": 50, "eval_clips": 1, "eval_every": 50},
}
"""Settings of each data set, with the length of the training."""
