"""The paper's formulas for delete, mix and blend, one pixel at a time (section 3.2, eqs. 1 and 2)."""

import numpy as np


def mix_by_loops(name: str, clips_BCTHW: np.ndarray, params) -> tuple[np.ndarray, np.ndarray]:
    """The mixed clips, and (B,) the label weight of A, counted."""
    mixed = np.zeros_like(clips_BCTHW)
    weights_B = np.zeros(len(clips_BCTHW))
    batch, channels, frames, height, width = clips_BCTHW.shape
    for b in range(batch):
        p = b if len(params.start_P3) > 1 else 0
        partner = None if params.partners_B is None else params.partners_B[b]
        first, last = params.inside_P2[p]
        applied = params.stop_P3[p, 0] > params.start_P3[p, 0] or params.outside_P[p] == 0
        seen_of_A = []
        for t in range(frames):
            progress = t / (frames - 1) if frames > 1 else 0.5
            lam_t = first + (last - first) * progress
            for y in range(height):
                for x in range(width):
                    place = (t, y, x)
                    inside = all(params.start_P3[p, i] <= place[i] < params.stop_P3[p, i] for i in range(3))
                    share = _share_of_A(name, inside, lam_t, lam1=first, applied=applied)
                    seen_of_A.append(share)
                    for c in range(channels):
                        a = clips_BCTHW[b, c, t, y, x]
                        other = 0.0 if partner is None else clips_BCTHW[partner, c, t, y, x]
                        mixed[b, c, t, y, x] = share * a + (1 - share) * other
        weights_B[b] = 1.0 if name.endswith("cutout") else sum(seen_of_A) / len(seen_of_A)
    return mixed, weights_B


def _share_of_A(name: str, inside: bool, lam_t: float, lam1: float, applied: bool) -> float:
    """How much of a pixel is clip A's."""
    if not applied:
        return 1.0
    if name.endswith("cutout"):  # nothing is left of A in the region
        return 0.0 if inside else 1.0
    if name.endswith("cutmixup"):  # eq. 1
        pure = 1.0 if lam1 < 0.5 else 0.0
        return lam1 if inside else pure
    if name.endswith("cutmix"):  # the region is B's
        return 0.0 if inside else 1.0
    if name == "fademixup":  # eq. 2
        return lam_t
    if name == "mixup":
        return lam1
    raise KeyError(name)
