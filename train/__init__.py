"""The training app on dali_pipes."""

import sys
from importlib.util import find_spec

NEEDS = ("captum", "jinja2", "markupsafe", "matplotlib", "tensorboard", "torchvision")
"""The packages that the programs of train import beyond those of dali_pipes: the extra ``train`` of setup.cfg."""


def check_needs() -> None:
    """Raise an ImportError that names what is missing: a program says so when it starts, not after the first epoch."""
    missing = [name for name in NEEDS if find_spec(name) is None]
    if missing:
        packages = (
            f"the packages {', '.join(missing[:-1])} and {missing[-1]}" if missing[1:] else f"the package {missing[0]}"
        )
        are = "are" if missing[1:] else "is"
        raise ImportError(f'Cannot import train: {packages} {are} not installed; run pip install "dali-pipes[train]"')


# for every python -m train.PROGRAM: this is imported before the program, and until that is found, Python calls it "-m";
# train/run.py asks by itself, and modules such as train.mixing can be imported without the extra
if sys.argv[:1] == ["-m"]:
    try:
        check_needs()
    except ImportError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
