"""Video pipelines on NVIDIA DALI with RandAugment-T.

The public names below are imported on first use, so that ``import dali_pipes`` is cheap and
``torch`` is needed by ``VideoLoader`` and ``ClipBatch`` alone.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

if find_spec("nvidia") is None or find_spec("nvidia.dali") is None:
    raise ImportError(
        "dali_pipes needs NVIDIA DALI, which is not installed. Choose the extra for your NVIDIA driver: "
        'pip install "dali-pipes[cuda130]" (driver 580 or newer, and machines without a GPU), '
        "[cuda120] (driver 525 or newer) or [cuda110] (driver 450 or newer)."
    )

_HOME_OF = {
    "OPS": "ops",
    "PAPER_OPS": "ops",
    "Affine": "ops",
    "Range": "ops",
    "register_op": "ops",
    "apply_ops": "randaugment",
    "augment_clip": "randaugment",
    "rand_augment_t": "randaugment",
    "RandAugmentT": "randaugment",
    "schedule_levels": "magnitude",
    "SCHEDULES": "magnitude",
    "scan_videos": "manifest",
    "Manifest": "manifest",
    "VideoInfo": "probe",
    "find_videos": "datasets",
    "find_splits": "datasets",
    "Segment": "video_lists",
    "DATASETS": "datasets",
    "Listed": "datasets",
    "ClipSampler": "sampling",
    "ClipPlan": "sampling",
    "VideoLoader": "torch_loader",
    "ClipBatch": "torch_loader",
    "InputError": "errors",
    "VideoError": "errors",
}
__all__ = sorted(_HOME_OF)
from .version import __version__ as __version__  # noqa: E402


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'dali_pipes' has no attribute {name!r}; it has {', '.join(__all__)}")
    module = import_module(f".{_HOME_OF[name]}", __name__)
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
