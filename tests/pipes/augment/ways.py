"""The two ways of augmenting on the CPU: as kernels, and without them as DALI's graph functions."""

from dali_pipes.augment import clips, parameters


def without_kernels(monkeypatch) -> None:
    """Let no kernel run, as where numba does not; ``augment_clip`` forgets the pipelines that it keeps."""
    monkeypatch.setattr(parameters, "_why_not", lambda operator: "a test has none")
    monkeypatch.setattr(clips, "_clip_pipelines", clips._ClipPipelines())
