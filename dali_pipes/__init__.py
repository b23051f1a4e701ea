"""Video pipelines on NVIDIA DALI with RandAugment-T.

The public names below are imported on first use, so that ``import dali_pipes`` is cheap and
``torch`` is needed by ``VideoLoader`` and ``ClipBatch`` alone.
"""

from importlib.util import find_spec

if find_spec("nvidia") is None or find_spec("nvidia.dali") is None:
    raise ImportError(
        "Cannot import dali_pipes: NVIDIA DALI is not installed; install the extra for your NVIDIA driver: "
        'pip install "dali-pipes[cuda130]" (driver 580 or newer, or no GPU), '
        '"dali-pipes[cuda120]" (driver 525 or newer) or "dali-pipes[cuda110]" (driver 450 or newer)'
    )

from .lazy import public_names  # noqa: E402
from .version import __version__ as __version__  # noqa: E402

__getattr__, __dir__, __all__ = public_names(
    __name__, __file__, renamed={"Listed": "OfficialLists", "OddKind": "OddityKind"}
)
