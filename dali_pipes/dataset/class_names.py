"""Names of classes: which are the same, in what order they are numbered, and which look alike."""

import re
import unicodedata
import warnings
from collections.abc import Iterable


def class_name(text: str) -> str:
    """Return the name that a label or folder stands for: composed characters (Unicode NFC), no white space around it.

    Example: ``run`` and ``run `` are one class, and so is é however it is encoded.
    """
    return unicodedata.normalize("NFC", text).strip() or text


_WHOLE_NUMBER = re.compile(r"[0-9]{1,15}(\.0*)?")  # 3.0 is what a table's program may make of 3


def sort_class_names(names: Iterable[str]) -> list[str]:
    """Return distinct class names in order: as numbers if all are whole numbers (2 before 10), else alphabetically.

    Names that look alike are named in a warning.
    """
    distinct = set(names)
    _warn_of_lookalikes(distinct)
    if all(_WHOLE_NUMBER.fullmatch(name) for name in distinct):
        return sorted(distinct, key=lambda name: (float(name), name))
    return sorted(distinct)


def _warn_of_lookalikes(names: Iterable[str]) -> None:
    """Warn of class names that look the same.

    Numbers are compared by value, other names without case, compatibility forms, invisible characters and kinds of
    spaces.
    """
    seen: dict[str, str] = {}
    for name in sorted(names):
        folded = unicodedata.normalize("NFKC", name).casefold()
        visible = "".join(char for char in folded if unicodedata.category(char) != "Cf")
        if _WHOLE_NUMBER.fullmatch(visible):
            visible = str(int(float(visible)))
        first = seen.setdefault(re.sub(r"[\s_-]+", " ", visible), name)
        if first != name:
            warnings.warn(
                f"the class names {ascii(first)} and {ascii(name)} look alike but differ, so they are two classes; "
                "rename one if they should be the same",
                stacklevel=3,
            )
