"""The names of the files that a run leaves in its folder."""

from collections.abc import Sequence
from pathlib import Path

LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"
CONFIG, ENVIRONMENT = "config.json", "environment.json"
TRAIN_VIDEOS, VAL_VIDEOS = "train.csv", "val.csv"
METRICS, CURVES, SAMPLES, REPORT = "metrics.csv", "curves.png", "samples.png", "report.html"
CLASS_FILES = CLASS_ACCURACY, CONFUSION, VAL_PREDICTIONS = "val_classes.csv", "val_confusion.png", "val_predictions.csv"
"""Files of the best epoch, or of an evaluation."""
PREDICTIONS, SUBMISSION = "predictions.csv", "submission.txt"
"""Files of an evaluation with --predict."""
EVALUATION_FILES = (*CLASS_FILES, PREDICTIONS, SUBMISSION)
FOLDERS = CAM, EVALUATION, ENSEMBLE, TENSORBOARD, ROBUSTNESS = "cam evaluation ensemble tensorboard robustness".split()
ROBUSTNESS_FILES = ROBUSTNESS_VIDEOS, ROBUSTNESS_SUMMARY, ROBUSTNESS_CHARTS, ROBUSTNESS_PARTS = (
    "robustness.csv",
    "robustness.json",
    "robustness.png",
    "conditions",
)
"""Files of train.robustness, in its folder; the last is a folder with what is evaluated so far."""

BEST_FILES = (BEST, *CLASS_FILES)
RUN_FILES = (
    LAST,
    PREVIOUS,
    *BEST_FILES,
    CONFIG,
    ENVIRONMENT,
    TRAIN_VIDEOS,
    VAL_VIDEOS,
    METRICS,
    CURVES,
    SAMPLES,
    REPORT,
    *FOLDERS,
)
"""All that makes way for a new run in the same folder."""


def short_names(paths: Sequence[Path]) -> list[str]:
    """The last part of each path, and as many before it as make it differ from all others."""
    names = []
    for path in paths:
        ends = ["/".join(path.parts[-count:]) for count in range(1, len(path.parts) + 1)]
        others = [other for other in paths if other != path]
        taken = [{"/".join(other.parts[-count:]) for other in others} for count in range(1, len(path.parts) + 1)]
        names.append(next((end for end, known in zip(ends, taken, strict=True) if end not in known), str(path)))
    return names
