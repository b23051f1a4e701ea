"""The processes of one training: one alone, or those that torchrun started, on one machine or several."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import Any

import torch
from torch import distributed
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from dali_pipes.errors import InputError

PATIENCE = timedelta(hours=2)
"""Longest wait of a process for the others in the middle of a step, or of an evaluation."""
ASK_EVERY_S = 0.5


@dataclass(frozen=True)
class Processes:
    """The place of this process among all processes of the training."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    """Rank among the processes of this machine; also the number of its GPU."""
    local_world_size: int = 1
    machine: int = 0
    """The number of this process's machine among all."""
    store: Any = field(default=None, repr=False, compare=False)
    """Key-value store through which processes tell each other what they did; None for a single process."""
    rounds: count = field(default_factory=count, repr=False, compare=False)
    """Counter of the uses of :meth:`local_main_process_first`; the same in all processes."""

    @property
    def is_main_process(self) -> bool:
        """Whether this is the process that prints and writes files."""
        return self.rank == 0

    def device(self, chosen: str) -> str:
        """A GPU for each process of a machine, if GPUs are meant.

        Raises:
            InputError: there are not so many GPUs.
        """
        if self.world_size > 1 and chosen.startswith("cuda:"):
            raise InputError(
                f"Invalid --device {chosen}: is one GPU, but there are {self.world_size} processes; "
                "choose cuda, which gives each process its own GPU"
            )
        on_gpu = chosen == "cuda" or chosen == "auto" and torch.cuda.is_available()
        gpus = torch.cuda.device_count()
        if on_gpu and self.local_world_size > gpus > 0:
            raise InputError(
                f"Cannot start {self.local_world_size} processes on a machine with {gpus} GPUs: each process "
                "needs its own GPU; "
                f"start torchrun with --nproc-per-node={gpus}"
            )
        return f"cuda:{self.local_rank}" if on_gpu and self.world_size > 1 else chosen

    def share(self, batch_size: int) -> int:
        """Return the number of clips of a step for each process.

        Raises:
            InputError: the batch cannot be dealt out evenly.
        """
        if batch_size % self.world_size:
            raise InputError(
                f"Invalid --batch-size {batch_size}: must be a multiple of the number of processes, {self.world_size}"
            )
        return batch_size // self.world_size

    def sum(self, numbers: torch.Tensor) -> torch.Tensor:
        """The sum over all processes, of a tensor on the CPU, in place. All must call it, at the same point.

        Raises:
            InputError: another process ended.
        """
        if self.world_size > 1:
            try:
                distributed.all_reduce(numbers)
            except RuntimeError as error:
                raise _other_ended(error) from error
        return numbers

    def sum_by_name(self, numbers: dict[str, float]) -> dict[str, float]:
        """The sum over all processes of each number, as float64. All must call it, with the same names."""
        summed = self.sum(torch.tensor(list(numbers.values()), dtype=torch.float64))
        return dict(zip(numbers, summed.tolist(), strict=True))

    def all_equal(self, number: float) -> bool:
        """Return whether all processes hold the same number. All must call it."""
        numbers = torch.zeros(self.world_size, dtype=torch.float64)
        numbers[self.rank] = number
        return bool((self.sum(numbers) == number).all())

    @contextmanager
    def local_main_process_first(self) -> Iterator[None]:
        """Let the first process of each machine read and cache, such as checked videos, before the others do.

        They wait for it as long as it takes, and it for them; torchrun ends them if it ends.
        """
        name = f"round-{next(self.rounds)}"
        if self.local_rank:
            self._wait_for(f"{name}/first of {self.machine}", 1)
        yield
        if not self.local_rank:
            self._add_one(f"{name}/first of {self.machine}")
        self._add_one(f"{name}/all")
        self._wait_for(f"{name}/all", self.world_size)

    def _add_one(self, name: str) -> None:
        if self.store is not None:
            self.store.add(name, 1)

    def _wait_for(self, name: str, count: int) -> None:
        """Wait until so many processes have added one, in short steps, so that Ctrl-C and SIGTERM are heeded."""
        try:
            while self.store is not None and self.store.add(name, 0) < count:
                time.sleep(ASK_EVERY_S)
        except RuntimeError as error:
            raise _other_ended(error) from error

    def parallel(self, model: torch.nn.Module) -> torch.nn.Module:
        """The model with gradients averaged over all processes."""
        if self.world_size == 1:
            return model
        device = next(model.parameters()).device
        return torch.nn.parallel.DistributedDataParallel(model, [device] if device.type == "cuda" else None)

    def share_buffers(self, model: torch.nn.Module) -> None:
        """Copy batch norm's running statistics of the first process, which are saved, to all others."""
        for buffer in model.buffers() if self.world_size > 1 else ():
            distributed.broadcast(buffer, 0)


def _other_ended(error: Exception) -> InputError:
    return InputError(
        f"Cannot continue: another process of this training ended ({str(error).splitlines()[0]}); see its message"
    )


@contextmanager
def join_processes() -> Iterator[Processes]:
    """Join the processes that torchrun started, by its environment; without torchrun there is one process."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield Processes()
        return
    local_rank, local_world_size, machine = (
        int(os.environ[name]) for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK")
    )
    store, rank, world_size = next(rendezvous("env://", timeout=PATIENCE))
    processes = Processes(rank, world_size, local_rank, local_world_size, machine, PrefixStore("dali_pipes", store))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    if processes.local_rank < torch.cuda.device_count():
        torch.cuda.set_device(processes.local_rank)
    distributed.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=PATIENCE)
    try:
        yield processes
    finally:
        distributed.destroy_process_group()
