"""Numbers that a GPU computes for the host, which does something else until they are there."""

import torch


class HostCopy:
    """A copy of a tensor to the CPU that has begun. A plain copy would also wait for all that is asked for after it."""

    def __init__(self, numbers: torch.Tensor):
        self._numbers = numbers.to("cpu", non_blocking=True)  # of a GPU, to pinned memory
        self._copied = None
        if numbers.is_cuda:
            self._copied = torch.cuda.Event()
            self._copied.record(torch.cuda.current_stream(numbers.device))

    def wait(self) -> torch.Tensor:
        """Wait until the copy is done, and return it."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._numbers
