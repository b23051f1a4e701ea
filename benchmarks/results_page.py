"""What benchmarks print and write on pages: the machine, the versions, the command and Markdown tables."""

import platform
import shlex
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dali_pipes.system.cores import usable_cores

PACKAGES = {  # as they are called -> as they are installed
    "torch": "torch",
    "torchvision": "torchvision",
    "torchcodec": "torchcodec",
    "decord": "decord",
    "numba": "numba",
    "PyAV": "av",
    "OpenCV": "opencv-python-headless",
    "Pillow": "pillow",
}
ROOT = Path(__file__).resolve().parents[1]
NOT_SHOWN = ("--json", "--markdown")
"""Options of a command that change no number."""


def machine() -> dict:
    import nvidia.dali
    import torch

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "?")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    found = {"cpu": model, "cores": usable_cores(), "gpu": gpu, "python": platform.python_version()}
    return found | {"dali": nvidia.dali.__version__} | _versions()


def _versions() -> dict:
    found = {}
    for name, package in PACKAGES.items():
        try:
            found[name.lower()] = version(package)
        except PackageNotFoundError:
            continue
    return found


def machine_line() -> str:
    """A sentence for a page."""
    found = machine()
    gpu = f", {found['gpu']}" if found["gpu"] else ", no GPU"
    versions = {"Python": found["python"], "DALI": found["dali"]}
    versions |= {name: found[name.lower()] for name in PACKAGES if name.lower() in found}
    return f"{found['cpu']}, {found['cores']} cores{gpu}; {', '.join(map(' '.join, versions.items()))}."


def command_line() -> str:
    """How this program was called, from the project's folder, without the files that it writes."""
    words = iter(sys.argv[1:])
    shown = []
    for word in words:
        if word in NOT_SHOWN:
            next(words, None)
        elif word.partition("=")[0] not in NOT_SHOWN:
            shown.append(word)
    script = next((ROOT / "benchmarks").rglob(Path(sys.argv[0]).name))
    return shlex.join(["python", str(script.relative_to(ROOT)), *shown])


def text_table(head, rows) -> str:
    """A table of texts for the terminal; all columns but the first are numbers."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [
        [cells[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))]
        for cells in (head, *rows)
    ]
    return "\n".join("  ".join(line) for line in lines)


def markdown_table(head, rows) -> str:
    """A table of texts; all columns but the first are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def write_markdown(path, *parts: str) -> None:
    """The machine and the command, then the parts, as they are to stand on a page of results."""
    Path(path).write_text("\n\n".join([machine_line(), f"`{command_line()}`", *parts]) + "\n")
