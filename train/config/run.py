"""A run's folder, and the machine that it is computed on."""

import os
from dataclasses import dataclass

from dali_pipes.loader import DECODERS, READERS
from dali_pipes.system import usable_cores

from .option import Group, Role, option

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
CUDA_GRAPHS = "reduce-overhead"
"""The value of ``--compile`` that is torch.compile's mode."""
MAX_WORKERS = 8
_ANYWHERE = Role.MAY_CHANGE | Role.IN_EVALUATION
_OF_MACHINE = _ANYWHERE | Role.RESET_ON_RESUME | Role.RESET_IN_EVALUATION


def processes_of_machine() -> int:
    """Return the number of processes that torchrun started on this machine; 1 without torchrun."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


@dataclass(frozen=True, kw_only=True)
class RunOptions(Group):
    """Output and seed"""

    out: str = option(
        "runs/latest",
        "Folder for checkpoints, metrics and pictures; the files of an earlier run in it are moved to earlier-N there.",
        metavar="DIR",
        must_name="a folder or file",
        roles=_ANYWHERE | Role.SET_BY_TABLE,
    )
    seed: int = option(
        0, "Seed of everything that is drawn.", metavar="N", at_least=0, roles=Role.SAME_RECIPE | Role.SET_BY_TABLE
    )
    checkpoint_minutes: float = option(
        10.0,
        "Longest time between checkpoints within an epoch, in minutes; one is also written at the end of each epoch.",
        metavar="MINUTES",
        at_least=0,
        at_most=10_000,
        roles=Role.MAY_CHANGE,
    )
    tensorboard: bool = option(True, "Write scalars, settings and sample clips for TensorBoard.", roles=Role.MAY_CHANGE)


@dataclass(frozen=True, kw_only=True)
class MachineOptions(Group):
    """Machine"""

    device: str = option(
        "auto",
        "Device to train on: auto (a GPU if there is one), cpu, cuda or cuda:N.",
        metavar="DEVICE",
        roles=_OF_MACHINE,
    )
    workers: int = option(
        min(MAX_WORKERS, usable_cores()),
        "Processes that check videos, and decode them on the CPU. 0 decodes in the main process.",
        metavar="N",
        default_means=f"one per core, at most {MAX_WORKERS}, shared among a machine's training processes",
        at_least=0,
        roles=_OF_MACHINE,
    )
    decoder: str = option(
        "auto",
        "Where videos are decoded. auto: on the GPU if the training runs on one, its decoder shows all videos as the "
        "CPU does, and that is faster than --workers processes, by the median video's codec and size; else on the "
        "CPU, and the log says why. See docs/videos.md.",
        choices=DECODERS,
        roles=_OF_MACHINE,
    )
    reader: str = option(
        "clips",
        "How clips get out of files. clips: each is decoded by itself; stream: DALI's video reader seeks in the files, "
        "for those of many minutes. See docs/videos.md.",
        choices=READERS,
        roles=_ANYWHERE | Role.RESET_IN_EVALUATION,
    )
    precision: str = option(
        "auto",
        "Precision of the network's arithmetic. auto: on a GPU bf16, or fp16 where it lacks that; on a CPU fp32.",
        choices=PRECISIONS,
        roles=_ANYWHERE | Role.RESET_IN_EVALUATION,
    )
    compile: bool | str = option(
        False,
        "Compile the network with torch.compile: minutes at the start, for faster steps. "
        f"{CUDA_GRAPHS}: on a GPU also with CUDA graphs, for steps that are short.",
        choices=(False, True, CUDA_GRAPHS),
        roles=_ANYWHERE,
    )
    tf32: bool = option(True, "On a GPU, multiply float32 matrices as TF32, with 10 bits of mantissa.", roles=_ANYWHERE)
    channels_last: bool = option(
        True, "On a GPU, keep the network's weights in channels_last_3d, as the clips are.", roles=_ANYWHERE
    )
    fused_adam: bool = option(True, "On a GPU, run Adam as one fused kernel.", roles=Role.MAY_CHANGE)
