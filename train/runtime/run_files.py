"""The names of the files that a run leaves in its folder."""

LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"
CONFIG, ENVIRONMENT = "config.json", "environment.json"
TRAIN_VIDEOS, VAL_VIDEOS = "train.csv", "val.csv"
METRICS, CURVES, SAMPLES, REPORT = "metrics.csv", "curves.png", "samples.png", "report.html"
CLASS_FILES = CLASS_ACCURACY, CONFUSION, VAL_PREDICTIONS = "val_classes.csv", "val_confusion.png", "val_predictions.csv"
"""Files of the best epoch, or of an evaluation."""
PREDICTIONS, SUBMISSION = "predictions.csv", "submission.txt"
"""Files of an evaluation with --predict."""
EVALUATION_FILES = (*CLASS_FILES, PREDICTIONS, SUBMISSION)
FOLDERS = CAM, EVALUATION, ENSEMBLE, TENSORBOARD = "cam", "evaluation", "ensemble", "tensorboard"

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
