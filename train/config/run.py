"""A run's folder, and the machine that it is computed on."""

import os
from dataclasses import dataclass

from dali_pipes.loader import DECODERS, READERS
from dali_pipes.system import usable_cores

from .option import Group, Role, option

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
CUDA_GRAPHS = "reduce-overhead"
"""The value of ``--compile`` that is torch.compile's mode."""
MOST_WORKERS = 8
_ANYWHERE = Role.MAY_CHANGE | Role.IN_EVALUATION
_OF_MACHINE = _ANYWHERE | Role.ANEW_ON_RESUME | Role.ANEW_IN_EVALUATION


def processes_of_machine() -> int:
    """Return the number of processes that torchrun started on this machine; 1 without torchrun."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


@dataclass(frozen=True, kw_only=True)
class RunOptions(Group):
    """Run"""

    out: str = option(
        "runs/latest",
        "folder for checkpoints, metrics and pictures",
        must_name="a folder or file",
        roles=_ANYWHERE | Role.OF_ROWS,
    )
    seed: int = option(0, "of everything that is drawn", at_least=0, roles=Role.SAME_RECIPE | Role.OF_ROWS)
    checkpoint_minutes: float = option(
        10.0,
        "most minutes between checkpoints within an epoch; each epoch's end has one",
        at_least=0,
        at_most=10_000,
        roles=Role.MAY_CHANGE,
    )
    tensorboard: bool = option(True, "write scalars, settings and sample clips for TensorBoard", roles=Role.MAY_CHANGE)


@dataclass(frozen=True, kw_only=True)
class MachineOptions(Group):
    """Machine"""

    device: str = option("auto", "auto, cpu, cuda or cuda:N", roles=_OF_MACHINE)
    workers: int = option(
        min(MOST_WORKERS, usable_cores()),
        "processes that check and decode videos; 0 decodes in the main one",
        at_least=0,
        roles=_OF_MACHINE,
    )
    decoder: str = option("auto", "where videos are decoded", choices=DECODERS, roles=_OF_MACHINE)
    reader: str = option(
        "clips",
        "clips: each is decoded by itself; stream: DALI seeks in the files, for long ones, see docs/videos.md",
        choices=READERS,
        roles=_ANYWHERE | Role.ANEW_IN_EVALUATION,
    )
    precision: str = option(
        "auto",
        "of the network's arithmetic; auto: bf16 or fp16 on a GPU, else fp32",
        choices=PRECISIONS,
        roles=_ANYWHERE | Role.ANEW_IN_EVALUATION,
    )
    tf32: bool = option(True, "on a GPU, multiply float32 matrices with 10 bits of mantissa", roles=_ANYWHERE)
    channels_last: bool = option(
        True, "on a GPU, keep the network's weights as channels_last_3d, as the clips are", roles=_ANYWHERE
    )
    compile: bool | str = option(
        False,
        "torch.compile the network: minutes at the start, faster steps; "
        f"{CUDA_GRAPHS}: on a GPU also with CUDA graphs, for steps that are short",
        choices=(False, True, CUDA_GRAPHS),
        roles=_ANYWHERE,
    )
    fused_adam: bool = option(True, "on a GPU, Adam in one kernel", roles=Role.MAY_CHANGE)
