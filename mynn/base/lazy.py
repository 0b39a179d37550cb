"""Properties that are computed when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

Value = TypeVar("Value")


class lazy(Generic[Value]):
    """A property that is computed once and kept; two threads that ask at once both compute it.

    `functools.cached_property` has one lock for all instances, up to Python 3.11: they would wait
    for each other, and the child of a fork for a thread that it does not have.

    Example:
        >>> class Circle:
        ...     @lazy
        ...     def area(self) -> float:
        ...         print("computed")
        ...         return 3.14
        >>> circle = Circle()
        >>> circle.area + circle.area
        computed
        6.28
    """

    def __init__(self, function: Callable[[Any], Value]) -> None:
        self.function = function
        self.name = function.__name__
        self.__doc__ = function.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> lazy[Value]: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> Value: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """The value, which from then on lies in the instance itself."""
        if instance is None:
            return self
        value = vars(instance)[self.name] = self.function(instance)
        return value
