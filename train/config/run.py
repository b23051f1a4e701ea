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
        "Folder for checkpoints, metrics and images. Files of an earlier run in DIR are moved to DIR/earlier-N.",
        metavar="DIR",
        must_name="a folder or file",
        roles=_ANYWHERE | Role.SET_BY_TABLE,
    )
    seed: int = option(
        0, "Seed of all random numbers.", metavar="N", at_least=0, roles=Role.SAME_RECIPE | Role.SET_BY_TABLE
    )
    checkpoint_minutes: float = option(
        10.0,
        "Maximum time between checkpoints within an epoch, in minutes. A checkpoint is also written at the end of each "
        "epoch.",
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
        "Device to train on: auto, cpu, cuda or cuda:N. auto: cuda if there is a GPU, otherwise cpu; cuda: a GPU, or "
        "with torchrun one GPU per process; cuda:N: the GPU with number N.",
        metavar="DEVICE",
        roles=_OF_MACHINE,
    )
    workers: int = option(
        min(MAX_WORKERS, usable_cores()),
        "Number of worker processes of each training process. They check videos, and decode them on the CPU. 0: decode "
        "in the training process.",
        metavar="N",
        default_means=f"one per CPU core, at most {MAX_WORKERS} per machine, divided among training processes",
        at_least=0,
        roles=_OF_MACHINE,
    )
    decoder: str = option(
        "auto",
        "Where videos are decoded. cpu: on the CPU, with PyAV; gpu: on the GPU of --device, with DALI; auto: gpu if "
        "training runs on a GPU, if this GPU decodes all videos to the same frames as the CPU, and if it is probably "
        "faster than --workers processes; otherwise cpu. The speed is estimated from the codec and frame size of the "
        "video with the median frame size. If auto chooses cpu although training runs on a GPU, the log says why. See "
        "docs/videos.md.",
        choices=DECODERS,
        roles=_OF_MACHINE,
    )
    reader: str = option(
        "clips",
        "How clips are read from files. clips: decode each clip separately; stream: use DALI's video reader, which "
        "seeks in the files (for files of many minutes). See docs/videos.md.",
        choices=READERS,
        roles=_ANYWHERE | Role.RESET_IN_EVALUATION,
    )
    precision: str = option(
        "auto",
        "Floating-point precision of the network. auto: bf16 on a GPU (fp16 if the GPU does not support bf16), fp32 on "
        "a CPU.",
        choices=PRECISIONS,
        roles=_ANYWHERE | Role.RESET_IN_EVALUATION,
    )
    compile: bool | str = option(
        False,
        "Compile the network with torch.compile. This takes minutes at the start. Steps may be faster; the gain was "
        f"not measured. {CUDA_GRAPHS}: on a GPU, also use CUDA graphs, for networks whose steps are short.",
        choices=(False, True, CUDA_GRAPHS),
        roles=_ANYWHERE,
    )
    tf32: bool = option(True, "On a GPU, use TF32 (10 bits of mantissa) for float32 matrix products.", roles=_ANYWHERE)
    channels_last: bool = option(
        True,
        "On a GPU, use the memory format channels_last_3d for the network's weights, as for the clips.",
        roles=_ANYWHERE,
    )
    fused_adam: bool = option(True, "On a GPU, run Adam as one fused kernel.", roles=Role.MAY_CHANGE)
