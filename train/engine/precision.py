"""Precision, memory layout and compilation of the network; what is fastest on a GPU is on by default."""

import contextlib
import os
import shutil

import torch

from dali_pipes.errors import InputError

from ..config.options import Config

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def choose_precision(precision: str, device: torch.device) -> str:
    """Return ``fp32``, ``bf16`` or ``fp16``; ``auto`` is bf16 on Ampere GPUs and newer, fp16 on others, fp32 on a CPU.

    Raises:
        InputError: the device cannot.
    """
    if device.type == "cpu":
        if precision not in ("auto", "fp32"):
            raise InputError(f"Invalid --precision {precision}: needs a GPU; choose fp32 or auto on a CPU")
        return "fp32"
    has_bf16 = torch.cuda.get_device_capability(device) >= (8, 0)
    if precision == "bf16" and not has_bf16:
        raise InputError(
            f"Invalid --precision bf16: is not supported by {torch.cuda.get_device_name(device)}; choose fp16 or fp32"
        )
    return ("bf16" if has_bf16 else "fp16") if precision == "auto" else precision


def prepare(model: torch.nn.Module, config: Config, device: torch.device) -> None:
    """Set the switches of the process, and the model's memory layout; compile it if that is asked for."""
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high" if config.tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = config.tf32
        torch.backends.cudnn.benchmark = True  # batches have one size, but for the last of an epoch
    if config.channels_last and device.type == "cuda":  # on a CPU it makes the first steps take ten times as long
        for parameter in model.parameters():
            if parameter.ndim == 5:
                parameter.data = parameter.data.to(memory_format=torch.channels_last_3d)
    compile_if_chosen(model, config)


def compile_if_chosen(model: torch.nn.Module, config: Config) -> None:
    """Compile the network in place, so that its weights keep their names.

    With CUDA graphs an output holds until the next run, and so do gradients: each must be used before that.

    Raises:
        InputError: there is no compiler.
    """
    if config.compile:
        if not (os.environ.get("CC") or any(map(shutil.which, ("cc", "gcc", "clang")))):
            raise InputError(
                "Invalid --compile: needs a C compiler such as gcc, which is not installed (nor in the project's "
                "Docker image); install one, or leave out --compile"
            )
        # for each size by itself: else full batches would run what was made for any size after the first smaller one
        model.compile(mode=config.compile if isinstance(config.compile, str) else None, dynamic=False)


def autocast(config: Config, device: torch.device) -> contextlib.AbstractContextManager:
    """Return a context in which the network computes in the chosen precision."""
    if config.precision not in DTYPES:
        return contextlib.nullcontext()
    return torch.autocast(device.type, DTYPES[config.precision])


def scaler_for(config: Config) -> torch.amp.GradScaler:
    """Return a scaler that keeps small gradients of fp16 from vanishing; it does nothing in other precisions."""
    return torch.amp.GradScaler("cuda", enabled=config.precision == "fp16")
