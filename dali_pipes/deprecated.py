"""Old names of public functions' arguments and attributes: they work for one release and warn with the new name."""

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

Target = TypeVar("Target", bound=Callable)


def warn_renamed(old: str, new: str, stacklevel: int = 3) -> None:
    """Warn that ``old`` is now called ``new``; by default at the caller of the function that calls this one."""
    message = f"{old} is now called {new}; the old name will be removed in the next release"
    warnings.warn(message, FutureWarning, stacklevel=stacklevel)


def renamed_arguments(**new_of_old: str) -> Callable[[Target], Target]:
    """Decorate a function or class whose keyword arguments have new names, so that it still takes the old ones.

    Args:
        **new_of_old: old name -> new name.
    """

    def decorate(target: Target) -> Target:
        function: Any = vars(target)["__init__"] if isinstance(target, type) else target

        @functools.wraps(function)
        def call(*args: Any, **arguments: Any) -> Any:
            for old in new_of_old.keys() & arguments.keys():
                warn_renamed(f"{target.__name__}({old}=...)", new_of_old[old])
                arguments[new_of_old[old]] = arguments.pop(old)
            return function(*args, **arguments)

        if not isinstance(target, type):
            return call  # type: ignore[return-value]
        target.__init__ = call  # type: ignore[misc]
        return target

    return decorate


def renamed_attribute(old: str, new: str) -> Any:
    """Return a property that reads the attribute ``new`` under its old name."""

    def read(owner: Any) -> Any:
        warn_renamed(f"{type(owner).__name__}.{old}", new)
        return getattr(owner, new)

    return property(read, doc=f"The old name of ``{new}``.")
