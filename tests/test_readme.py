"""The README's example runs as printed, and its commands are the ones CI uses."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_the_example_runs_as_printed(tmp_path, class_folders):
    (example,) = re.findall(r"```python\n(.+?)```", README, flags=re.DOTALL)
    assert len(example.strip().splitlines()) <= 16
    (tmp_path / "example.py").write_text(example)
    (tmp_path / "videos").symlink_to(class_folders)
    result = subprocess.run([sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-2000:]
    assert "torch.Size([5, 3, 32, 112, 112])" in result.stdout


def test_ci_runs_the_readmes_test_command():
    commands = re.findall(r'^pip install -e "\.\[.+?\]" && .+$', README, flags=re.MULTILINE)
    assert len(commands) == 2 and commands[1].endswith("&& pytest")
    assert "README.md" in (ROOT / ".ci" / "run").read_text()


def test_every_option_in_the_readme_exists():
    from dataclasses import fields

    from train.config import Config, flag

    known = {flag(item.name) for item in fields(Config)} | {"--help", "--shm-size", "--gpus"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README)) <= known
