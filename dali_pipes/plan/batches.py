"""The samples that each batch of each process holds."""

from dataclasses import dataclass

from .sampling import ClipSampler


@dataclass(frozen=True)
class BatchSampler:
    """The endless sequence of one process's batches: which sample stands at which place.

    A step is a batch over all processes, which deal its samples out among themselves: how many they are does not change
    what a step holds. All steps of an epoch are full but the last, which holds the rest, perhaps a single sample: on a
    GPU, what is compiled or searched for one size of batch serves all others. With the sampler's ``even_steps`` they
    differ by at most one sample instead. DALI wants every batch full: slots that are left over repeat a sample and are
    marked, and the loader drops them.

    Example: 11 samples in batches of 8, or of 4 in each of 2 processes, are 8 and 3: samples 0, 2, 4, 6 and 1, 3, 5, 7;
    then 8, 10 and 9. With ``even_steps`` they are 5 and 6.
    """

    sampler: ClipSampler
    batch_size: int
    rank: int = 0
    world_size: int = 1
    start_epoch: int = 0
    start_step: int = 0

    @property
    def steps_per_epoch(self) -> int:
        """The number of steps, the same in every process, so that none waits for another's batch."""
        return -(-len(self.sampler) // (self.batch_size * self.world_size))

    def samples_of(self, step: int) -> range:
        """The samples of one step of an epoch, over all processes."""
        count = len(self.sampler)
        if self.sampler.even_steps:
            return range(*(edge * count // self.steps_per_epoch for edge in (step, step + 1)))
        return range(*(min(edge * self.batch_size * self.world_size, count) for edge in (step, step + 1)))

    def at(self, position: int) -> tuple[int, int, bool]:
        """(epoch, sample, real) at a position since the start; ``real`` is False for a repeated sample."""
        step, slot = divmod(position, self.batch_size)
        epochs, step = divmod(step + self.start_step, self.steps_per_epoch)
        samples = self.samples_of(step)
        own = samples[self.rank :: self.world_size]
        real = slot < len(own)
        return self.start_epoch + epochs, own[slot] if real else samples[0], real
