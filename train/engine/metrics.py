"""Numbers of a run: averages while training, accuracy over whole videos, the CSV and the learning curve."""

import csv
from pathlib import Path

import torch

from dali_pipes.system import replacing

COLUMNS = (
    "epoch",
    "train_loss",
    "train_top1",
    "val_loss",
    "val_top1",
    "val_top5",
    "lr",
    "clips_per_s",
    "data_wait_fraction",
    "epoch_s",
    "bad_videos",
)


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
        self.counts_V = torch.zeros(num_videos, dtype=torch.int64)

    def add(self, logits_BK: torch.Tensor, videos_B: torch.Tensor) -> None:
        """Add the softmax scores of a batch of clips to the sums of their videos."""
        self.sums_VK.index_add_(0, videos_B, logits_BK.double().softmax(dim=1).cpu())
        self.counts_V.index_add_(0, videos_B, torch.ones_like(videos_B))

    def means_VK(self) -> torch.Tensor:
        """(V, K) float64 whose rows sum to 1; those of videos that gave no clip, as none could be read, are 0."""
        return self.sums_VK / self.counts_V.clamp_min(1)[:, None]


def known_videos(scores_VK: torch.Tensor, labels_V: torch.Tensor) -> torch.Tensor:
    """(V,) bool: those that have both scores and a label."""
    return (scores_VK.sum(dim=1) > 0) & (labels_V >= 0)


def summarise(scores_VK: torch.Tensor, labels_V: torch.Tensor) -> dict[str, float]:
    """Return loss and top-1 and top-5 accuracy in percent, over the videos that have both scores and a label."""
    known = known_videos(scores_VK, labels_V)
    scores_VK, labels_V = scores_VK[known], labels_V[known]
    likelihood = scores_VK.gather(1, labels_V[:, None]).clamp_min(1e-12)
    return {
        "val_loss": float(-likelihood.log().mean()),
        "val_top1": 100 * float(topk_correct(scores_VK, labels_V, 1).double().mean()),
        "val_top5": 100 * float(topk_correct(scores_VK, labels_V, 5).double().mean()),
    }


def confusion(scores_VK: torch.Tensor, labels_V: torch.Tensor) -> torch.Tensor:
    """(K, K) int64: how many videos of each class (row) were taken for each class (column)."""
    known, classes = known_videos(scores_VK, labels_V), scores_VK.shape[1]
    cells = labels_V[known] * classes + scores_VK[known].argmax(dim=1)
    return torch.bincount(cells, minlength=classes * classes).view(classes, classes)


def mean_class_accuracy(confusion_KK: torch.Tensor) -> float:
    """The mean of the accuracies of classes that have videos, in percent: the VIPriors challenge's measure."""
    videos_K = confusion_KK.sum(dim=1)
    return 100 * float((confusion_KK.diagonal()[videos_K > 0] / videos_K[videos_K > 0]).double().mean())


def write_csv(path: Path, rows: list[dict]) -> None:
    """Write one row per epoch, atomically; what an epoch does not have stays empty."""
    with replacing(path) as draft, open(draft, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()})


def draw_curves(path: Path, rows: list[dict]) -> None:
    """Draw loss and accuracy over the epochs, as a PNG."""
    from matplotlib.figure import Figure  # not pyplot, which would set a notebook's way of drawing

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
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


def write_class_accuracy(path: Path, confusion_KK: torch.Tensor, classes: list[str]) -> None:
    """A CSV line per class: videos, how many were right, accuracy in percent, what they were most often taken for."""
    with replacing(path) as draft, open(draft, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(["class", "videos", "correct", "accuracy", "most_often_taken_for"])
        for index, (name, row) in enumerate(zip(classes, confusion_KK.tolist(), strict=True)):
            others = [0 if other == index else count for other, count in enumerate(row)]
            accuracy = f"{100 * row[index] / sum(row):.6g}" if sum(row) else ""
            writer.writerow(
                [name, sum(row), row[index], accuracy, classes[others.index(max(others))] if any(others) else ""]
            )


def figure_text(name: str) -> str:
    """A name as matplotlib shows it: no mathematics, no raw bytes."""
    return name.encode("utf-8", "replace").decode().replace("$", r"\$")


def draw_confusion(path: Path, confusion_KK: torch.Tensor, classes: list[str]) -> None:
    """The confusion matrix as a PNG: rows are classes, columns what they were taken for, in shares of the row."""
    from matplotlib.figure import Figure  # not pyplot, which would set a notebook's way of drawing

    count = len(classes)
    side = 3.5 + 0.45 * min(count, 12) + 0.16 * max(0, count - 12)
    shares_KK = confusion_KK / confusion_KK.sum(dim=1, keepdim=True).clamp_min(1)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares_KK.numpy(), cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, fraction=0.046, label="share of the class's videos")
    size = 9 if count <= 20 else 6
    names = [figure_text(name) for name in classes]
    axes.set_xticks(range(count), names, rotation=90, fontsize=size)
    axes.set_yticks(range(count), names, fontsize=size)
    axes.set(xlabel="taken for", ylabel="class")
    for row, column in confusion_KK.nonzero().tolist() if count <= 30 else ():
        colour = "white" if shares_KK[row, column] > 0.6 else "black"
        axes.text(
            column, row, str(int(confusion_KK[row, column])), ha="center", va="center", color=colour, fontsize=size - 1
        )
    with replacing(path) as draft:
        figure.savefig(draft, dpi=110, format="png", bbox_inches="tight")
