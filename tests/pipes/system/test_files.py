"""Reading tables, and writing files whole beside other processes."""

import os
import tempfile
from pathlib import Path

import pytest

from dali_pipes.errors import InputError
from dali_pipes.system import files
from dali_pipes.system.files import NOT_TEXT, cache_folder, check_not_replaced, read_csv, remove_drafts, replacing


@pytest.mark.parametrize(
    "content, sentence",
    [
        (b"path,label\nb.avi,c\na\0.avi,c\n", ", line 3: contains a NUL byte; save the file as text again"),
        ("path,label\na.avi,c\n".encode("utf-16"), f": {NOT_TEXT}"),
        (b"\x89PNG\0\0", f": {NOT_TEXT}"),
    ],
)
def test_nul_bytes_are_refused_by_every_python_in_the_same_words(tmp_path, content, sentence):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(InputError) as refused:
        read_csv(path, ["path", "label"], "is no table")
    assert str(refused.value) == f"{path}{sentence}"


def test_a_draft_at_work_is_not_taken_for_left_over(tmp_path):
    """Whoever writes it holds its lock; the numbers of processes would be the same in two containers."""
    path = tmp_path / "table.csv"
    (tmp_path / "below").mkdir()
    left_over = [tmp_path / f".{'0' * 12}.{'1' * 16}.draft", tmp_path / "below" / f".{'0' * 12}.{'1' * 16}.draft"]
    others = [tmp_path / ".my.draft", tmp_path / ".0.draft", tmp_path / f".{'0' * 12}.{os.getpid()}.draft"]
    for name in (*left_over, *others):
        name.touch()
    with replacing(path) as draft:
        remove_drafts(tmp_path)
        draft.write_text("whole")
        with replacing(path) as other:
            assert other != draft
            other.write_text("also whole")
        remove_drafts(tmp_path)
    assert path.read_text() == "whole"
    assert {entry for entry in tmp_path.rglob("*") if entry.is_file()} == {path, left_over[1], *others}


def test_a_draft_that_is_removed_before_it_is_locked(tmp_path, monkeypatch):
    lock, removed = files.lock, []

    def remove_first(file):
        if not removed:
            removed.append(next(tmp_path.glob("*.draft")))
            removed[0].unlink()
        lock(file)

    monkeypatch.setattr(files, "lock", remove_first)
    with replacing(tmp_path / "x") as draft:
        draft.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["x"] and removed != [draft]


def test_the_cache_of_a_user_without_a_home(monkeypatch, tmp_path):
    """Such as one that a container does not know."""

    def unknown():
        raise RuntimeError("Could not determine home directory.")

    for name in ("DALI_PIPES_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert cache_folder() == tmp_path / ".cache" / "dali_pipes"
    own = Path(tempfile.gettempdir()) / f"dali_pipes-{os.getuid()}"
    (tmp_path / ".cache" / "dali_pipes").mkdir(parents=True)
    writable = [tmp_path / ".cache" / "dali_pipes"]  # such as a container's volume, in a folder of root
    monkeypatch.setattr(os, "access", lambda path, how: path in writable)
    assert cache_folder() == tmp_path / ".cache" / "dali_pipes"
    writable.clear()
    assert cache_folder() == own
    monkeypatch.setattr(Path, "home", unknown)
    assert cache_folder() == own
    monkeypatch.setenv("DALI_PIPES_CACHE", str(tmp_path / "chosen"))
    assert cache_folder() == tmp_path / "chosen"


def test_what_is_read_is_not_replaced(tmp_path):
    (tmp_path / "a").touch()
    (tmp_path / "link").symlink_to("a")
    check_not_replaced(tmp_path / "b", [tmp_path / "a", tmp_path / "missing"])
    with pytest.raises(InputError, match="link: is an input file, which the output would overwrite"):
        check_not_replaced(tmp_path / "link", [tmp_path / "a"])
