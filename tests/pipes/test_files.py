"""Reading tables."""

import pytest

from dali_pipes.errors import InputError
from dali_pipes.files import NOT_TEXT, read_csv


@pytest.mark.parametrize(
    "content, sentence",
    [
        (b"path,label\nb.avi,c\na\0.avi,c\n", ", line 3: holds a NUL byte"),
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
