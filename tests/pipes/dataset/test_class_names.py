"""Class names: which are one, in what order they are numbered, which look alike."""

import warnings

import pytest

from dali_pipes import scan_videos
from dali_pipes.dataset.class_names import class_name, sort_class_names


def test_numbers_are_in_order_as_numbers():
    assert sort_class_names(str(number) for number in range(12)) == [str(number) for number in range(12)]
    assert sort_class_names(["10", "9", "a"]) == ["10", "9", "a"]
    assert sort_class_names(["b", "a", "b"]) == ["a", "b"]
    assert sort_class_names(["1" * 5000, "2"])[0] == "1" * 5000  # too long for a number
    assert sort_class_names(["10.0", "9.0", "2."]) == ["2.", "9.0", "10.0"]  # as a table's program may write them


def test_names_are_composed_and_without_blanks():
    assert class_name("marche\u0301 ") == "march\u00e9" and class_name("  ") == "  "
    assert class_name("s\udcffd") == "s\udcffd"  # no valid text


@pytest.mark.parametrize(
    "a, b",
    [("run", "Run"), ("high jump", "high_jump"), ("run", "run\u200b"), ("ﬁre", "fire"), ("01", "1"), ("1.0", "1")],
)
def test_names_that_look_alike_are_named_with_their_code_points(a, b):
    first, second = sorted((a, b))
    with pytest.warns(UserWarning) as caught:
        assert set(sort_class_names([a, b, "walk"])) == {a, b, "walk"}
    assert str(caught[0].message) == (
        f"the class names {ascii(first)} and {ascii(second)} look alike but differ, so they are two classes; "
        "rename one if they should be the same"
    )


def test_others_do_not():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sort_class_names(["run", "runs", "a b", "ab", "\u00e9", "e", "1", "11", "C", "C++", "C#"])


def test_labels_of_a_scan_are_one_class_however_they_are_written(class_folders):
    paths = sorted(str(path) for path in class_folders.rglob("*.avi"))
    manifest = scan_videos(zip(paths, ("marche\u0301", "march\u00e9", "2", " 2", "10"), strict=True))
    assert manifest.classes == ["10", "2", "march\u00e9"]
    assert [video.label for video in manifest.videos] == [2, 2, 1, 1, 0]
    known = scan_videos([(paths[0], "march\u00e9")], classes=["marche\u0301"])
    assert known.classes == ["marche\u0301"] and known.videos[0].label == 0
