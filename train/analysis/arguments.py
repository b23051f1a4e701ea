"""Options that the programs which look at checkpoints have in common."""

import argparse

from dali_pipes.system import flag

from ..config.option import Role, names_in
from ..config.options import Config
from ..config.run import MAX_WORKERS


def add_checkpoints(parser: argparse.ArgumentParser, together: str) -> None:
    """Add the checkpoints, and the options that choose other videos; ``together`` says how several are treated."""
    parser.add_argument("checkpoints", nargs="+", metavar="CHECKPOINT", help=f"checkpoints of train/run.py; {together}")
    for name in names_in(Config, Role.NAMES_VIDEOS):
        about = f"see {flag(name)} of train/run.py (default: the value in the checkpoint)"
        parser.add_argument(flag(name), default=argparse.SUPPRESS, help=about)


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Add ``--workers``, which is not among the parsed options unless it is given."""
    parser.add_argument(
        "--workers",
        type=int,
        default=argparse.SUPPRESS,
        help=f"number of worker processes that decode videos (default: one per CPU core, at most {MAX_WORKERS})",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``."""
    parser.add_argument(
        "--device",
        default="auto",
        help="auto, cpu, cuda or cuda:N, see --device of train/run.py (default: %(default)s)",
    )
