"""A property whose value is computed once, even if several threads read it at the same time."""

from functools import cached_property
from threading import RLock
from typing import Any, TypeVar

T = TypeVar("T")


class computed_once(cached_property[T]):
    """`functools.cached_property` with a lock: the first thread computes the value, the others wait for it.

    Since Python 3.12 the standard library's has no lock, so two threads would load the same model twice.
    """

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        self._computing = RLock()

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
        with self._computing:
            return super().__get__(instance, owner)
