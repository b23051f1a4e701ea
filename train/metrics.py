"""Numbers of a run: averages while training, accuracy over whole videos, the CSV and the learning curve."""

import csv
from pathlib import Path

import torch

from dali_pipes.files import replacing

COLUMNS = ("epoch", "train_loss", "train_top1", "val_loss", "val_top1", "val_top5", "lr", "clips_per_s", "data_wait_fraction",
           "epoch_s", "bad_videos")  # fmt: skip


def topk_correct(scores_BK: torch.Tensor, labels_B: torch.Tensor, k: int) -> torch.Tensor:
    """(B,) bool: whether the label is among the k highest scores; k is cut to the number of classes."""
    top = scores_BK.topk(min(k, scores_BK.shape[1]), dim=1).indices
    return (top == labels_B[:, None]).any(dim=1)


def top1_credit(scores_BK: torch.Tensor, targets_BK: torch.Tensor) -> torch.Tensor:
    """(2,): the target weight of the highest scores, summed, and the most that it could have been.

    Their ratio is the accuracy of training clips that hold several classes: 1 if every clip is taken for the class that
    has most of it. Of clips with one class it is the plain accuracy.
    """
    credit_B1 = targets_BK.gather(1, scores_BK.argmax(dim=1, keepdim=True))
    return torch.stack([credit_B1.sum(), targets_BK.amax(dim=1).sum()])


class VideoScores:
    """Softmax scores summed over the clips of each video, so that every video counts once (paper section 4.1)."""

    def __init__(self, num_videos: int, num_classes: int):
        self.sums_VK = torch.zeros(num_videos, num_classes, dtype=torch.float64)
        self.labels_V = torch.zeros(num_videos, dtype=torch.int64)
        self.counts_V = torch.zeros(num_videos, dtype=torch.int64)

    def add(self, logits_BK: torch.Tensor, labels_B: torch.Tensor, videos_B: torch.Tensor) -> None:
        self.sums_VK.index_add_(0, videos_B, logits_BK.double().softmax(dim=1).cpu())
        self.labels_V[videos_B] = labels_B.cpu()
        self.counts_V.index_add_(0, videos_B, torch.ones_like(videos_B))

    def summary(self) -> dict[str, float]:
        """Loss and top-1 and top-5 accuracy in percent, over the videos seen."""
        seen = self.counts_V > 0
        scores_VK, labels_V = self.sums_VK[seen] / self.counts_V[seen, None], self.labels_V[seen]
        likelihood = scores_VK.gather(1, labels_V[:, None]).clamp_min(1e-12)
        return {
            "val_loss": float(-likelihood.log().mean()),
            "val_top1": 100 * float(topk_correct(scores_VK, labels_V, 1).double().mean()),
            "val_top5": 100 * float(topk_correct(scores_VK, labels_V, 5).double().mean()),
        }


def write_csv(path: Path, rows: list[dict]) -> None:
    """One row per epoch, atomically; what an epoch does not have stays empty."""
    with replacing(path) as draft, open(draft, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()})


def draw_curves(path: Path, rows: list[dict]) -> None:
    """Loss and accuracy over the epochs, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for axes, names, title in (
        (left, ("train_loss", "val_loss"), "loss"),
        (right, ("train_top1", "val_top1", "val_top5"), "accuracy, %"),
    ):
        for name in names:
            points = [(row["epoch"], row[name]) for row in rows if name in row]
            axes.plot(*zip(*points, strict=True), marker=".", label=name.replace("_", " ")) if points else None
        axes.set(title=title, xlabel="epoch")
        axes.grid(alpha=0.3)
        axes.legend()
    right.set_ylim(0, 101)
    with replacing(path) as draft:
        figure.savefig(draft, dpi=110, format="png")
    plt.close(figure)
