"""Planted folders of runs, and a report's page taken apart."""

import base64
import csv
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np

from train.config.options import small
from train.engine.metrics import write_csv

VOID = "meta img br hr input link".split()
ROW = {
    "train_loss": 1.5,
    "train_top1": 30.0,
    "val_loss": 1.25,
    "val_top1": 50.0,
    "val_top5": 90.0,
    "lr": 1e-3,
    "clips_per_s": 9.0,
    "data_wait_fraction": 0.1,
    "epoch_s": 60.0,
    "bad_videos": 0,
}
START = {
    "started": "2026-01-31T12:00:00+00:00",
    "command": ["train/run.py", "--out", "x y"],
    "python": "3.11.2",
    "git": {"commit": "0123456789abcdef", "changed": []},
    "packages": {"torch": "2.9", "av": "17.0"},
    "device": "cpu, 2 threads",
    "processes": 1,
    "machine": "Linux",
}

NAMES = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "a$b^{$",
    "&amp; & &lt;",
    "{{ 7 * 7 }}{% raw %}",
    "' onmouseover='alert(1)",
    "</style></details>-->",
    "new\nline",
    "\u202ereversed",
    "-- url(http://x.y/z) @import",
]


class Page(HTMLParser):
    """A page's elements, its tables as rows of (text, class), and its text."""

    def __init__(self, path: Path):
        super().__init__()
        self.html = path.read_text(encoding="utf-8")
        self.tags, self.open, self.tables, self.pieces = [], [], [], []
        self.feed(self.html)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append(["", dict(attributes).get("class", "")])
            self.row_class = next(found for name, found in reversed(self.tags) if name == "tr").get("class", "")
            self.tables[-1][-1][-1][1] += self.row_class

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "style":
            return
        self.pieces.append(data)
        if "table" in self.open and ("td" in self.open or "th" in self.open):
            self.tables[-1][-1][-1][0] += data

    @property
    def text(self) -> str:
        return " ".join("".join(self.pieces).split())

    def table(self, first_title: str) -> list[list[tuple[str, str]]]:
        """The first table whose first title this is."""
        return next(
            [[(text.strip(), kind) for text, kind in row] for row in table]
            for table in self.tables
            if table[0][0][0] == first_title
        )

    def of_class(self, name: str) -> list[dict]:
        return [found for _, found in self.tags if found.get("class") == name]

    def strips(self) -> list[np.ndarray]:
        """RGB."""
        found = [attributes for tag, attributes in self.tags if tag == "img" and attributes["alt"].startswith("frames")]
        return [decoded(attributes["src"]) for attributes in found]


def decoded(uri: str) -> np.ndarray:
    head, data = uri.split(",")
    assert head == "data:image/jpeg;base64"
    return cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def plant(folder: Path, *rows: dict, predictions=None, classes=("a", "b"), starts=(START,), **settings) -> Path:
    """A run's folder; ``rows`` differ from ROW, None takes a cell away; predictions are (path, label, guess, p)."""
    folder.mkdir(parents=True)
    replace(small(), **settings).save(folder / "config.json")
    (folder / "environment.json").write_text(json.dumps(starts))
    if rows:
        made = [{"epoch": number} | ROW | row for number, row in enumerate(rows, 1)]
        write_csv(folder / "metrics.csv", [{k: v for k, v in row.items() if v is not None} for row in made])
    if predictions is not None:
        options = {"newline": "", "encoding": "utf-8", "errors": "surrogateescape"}
        for name, header, lines in (
            ("val_classes.csv", ["class", "videos"], [(name, 0) for name in classes]),
            ("val_predictions.csv", ["path", "label", "class_1", "probability_1"], predictions),
        ):
            with open(folder / name, "w", **options) as file:
                writer = csv.writer(file)
                writer.writerows([header, *lines])
    return folder


def assert_stands_alone(page: Page) -> None:
    """No reference leads out of the page, and each inside leads to the one element with that name."""
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base", "form", "audio", "video", "source")
        for name, value in attributes.items():
            if name in ("src", "href", "xlink:href", "srcset", "poster", "action", "data"):
                assert value.startswith("data:image/") or (value[0] == "#" and value[1:] in ids), (tag, name, value)
            if name in ("style", "clip-path", "fill", "stroke", "filter", "mask"):
                assert {found.strip("\"'") for found in re.findall(r"url\((.*?)\)", value)} <= {
                    f"#{name}" for name in ids
                }
    (style,) = re.findall("<style.*?</style>", page.html, flags=re.DOTALL)
    assert "url(" not in style and "@import" not in style
    (policy,) = (found["content"] for tag, found in page.tags if tag == "meta" and "http-equiv" in found)
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def many_classes(folder: Path) -> Path:
    """101 classes of 4 videos, of which class k has k % 3 taken for the next; 7 has all, 5 of them."""
    classes = [f"class {number}" for number in range(101)]
    predictions = []
    for number, name in enumerate(classes):
        for video in range(4 if number != 7 else 5):
            guess = classes[(number + 1) % 101] if video < number % 3 or number == 7 else name
            predictions.append((f"/gone/{name}/{video}.avi", name, guess, 0.5 + video / 100))
    return plant(folder, {}, {}, predictions=predictions, classes=classes)
