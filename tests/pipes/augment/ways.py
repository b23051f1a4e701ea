"""The two ways of augmenting on the CPU: as kernels, and without them as DALI's graph functions."""

from dali_pipes.augment import clips, parameters

PIPELINES = clips._ClipPipelines()
"""Those of all tests without kernels: building a graph takes longer than running it."""


def without_kernels(monkeypatch) -> None:
    """Let no kernel run, as where numba does not; ``augment_clip`` then keeps other pipelines."""
    monkeypatch.setattr(parameters, "_why_not", lambda operator: "a test has none")
    monkeypatch.setattr(clips, "_clip_pipelines", PIPELINES)
