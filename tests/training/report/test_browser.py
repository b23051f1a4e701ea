"""The report in a real browser, if there is one: ``apt-get install chromium``."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.training.report_pages import NAMES, START, many_classes, plant
from tests.videos import write_lossless
from train.report import page as report

BROWSER = next(
    filter(None, map(shutil.which, "chromium chromium-browser google-chrome google-chrome-stable chrome".split())), None
)
WIDTHS_PX = 1200, 420
pytestmark = pytest.mark.skipif(not BROWSER, reason="there is no Chromium: apt-get install chromium")


def browse(page: Path, *options: str) -> tuple[str, list[str]]:
    """What the browser writes, and the lines of its console. It reaches no network."""
    profile = page.parent / f"profile of {page.stem}"
    command = [
        BROWSER,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--no-first-run",
        "--disable-dev-shm-usage",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--enable-logging=stderr",
        f"--user-data-dir={profile}",
        *options,
        page.as_uri(),
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout, [line for line in result.stderr.splitlines() if ":CONSOLE" in line]


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """Of three runs: with many classes, with names that are hard to show, and with videos."""
    folder = tmp_path_factory.mktemp("report")
    videos = [write_lossless(folder / f"{number}.avi", 9 + number) for number in range(4)]
    long = ["x" * 200, *NAMES]
    predictions = [(f"/gone/{name}.avi", name, long[0], 0.5) for name in long]
    predictions += [(video, long[0], name, 0.6) for video, name in zip(videos, NAMES, strict=False)]
    start = START | {"command": ["y" * 300], "packages": {"z" * 200: "1"}}
    runs = [
        many_classes(folder / "many"),
        plant(folder / ("long" * 40), *[{}] * 9, predictions=predictions, classes=long, data="d" * 300, starts=[start]),
        plant(folder / "videos", {}, predictions=[(video, "a", "b", 0.5) for video in videos]),
    ]
    assert report.main([*map(str, runs), "-o", str(folder / "page.html")]) == 0
    return folder / "page.html"


def test_the_page_draws_and_the_browser_has_nothing_to_say(page):
    picture = page.with_suffix(".png")
    for theme in ("light", "dark"):
        dark = ["--blink-settings=preferredColorScheme=0"] if theme == "dark" else []
        _, console = browse(page, f"--screenshot={picture}", "--window-size=1200,3000", *dark)
        assert not console
        image = cv2.imread(str(picture))
        assert image.shape == (3000, 1200, 3)
        corner = image[-1, 0].astype(int)
        assert (corner > 200).all() if theme == "light" else (corner < 60).all()
        differs = (np.abs(image - corner) > 60).any(axis=2)
        assert 0.01 < differs.mean() < 0.6
        assert all(part.any() for part in np.array_split(differs, 10))


def test_nothing_is_wider_than_the_window_and_all_pictures_are_drawn(page):
    """Each width is that of a frame in a page around it, as a window cannot be as narrow as a telephone."""
    frames = "".join(
        f'<iframe style="width: {width}px; height: 900px" srcdoc="{html.escape(page.read_text())}"></iframe>'
        for width in WIDTHS_PX
    )
    script = """
    window.onload = () => { document.title = JSON.stringify([...document.querySelectorAll("iframe")].map(frame => {
        const page = frame.contentDocument, root = page.documentElement
        for (const folded of page.querySelectorAll("details")) folded.open = true
        const texts = [...page.querySelectorAll(".charts svg text")]
        const charts = [...page.querySelectorAll(".charts svg")].map(chart => chart.getBoundingClientRect())
        return {window: frame.contentWindow.innerWidth, width: root.scrollWidth, height: root.scrollHeight,
                pictures: [...page.images].map(image => image.complete && image.naturalWidth > 0),
                charts: charts.map(box => [Math.round(box.width), Math.round(box.height)]),
                text: Math.min(...texts.map(text => text.getBoundingClientRect().height)),
                scripts: page.scripts.length}
    })) }"""
    around = page.with_name("around.html")
    around.write_text(f"<!DOCTYPE html><style>iframe {{ border: 0 }}</style>{frames}<script>{script}</script>")
    shown, _ = browse(around, "--dump-dom")
    for width, found in zip(
        WIDTHS_PX, json.loads(html.unescape(re.search("<title>(.*)</title>", shown)[1])), strict=True
    ):
        assert found["window"] == found["width"] == width
        assert found["pictures"] and all(found["pictures"]) and found["scripts"] == 0
        assert len(found["charts"]) == 6
        for chart_width, height in found["charts"]:
            assert 300 < chart_width < width and 0.5 < height / chart_width < 0.7
        assert found["text"] > 9  # the axes can be read
