"""The row of an operation in the table of docs/models.md, which `scripts/write_tables.py` writes from the code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Formula:
    """What an operation computes: the attribute `formula` of its class, or a decorator of the function that makes it.

    Attributes
    ----------
    text : str
    source : str
        Where it was published.
    members : str
        What is in memory besides the result.
    restrictions : str
    """

    text: str
    source: str = ""
    members: str = ""
    restrictions: str = ""

    def __call__(self, function: F) -> F:
        setattr(function, "formula", self)  # noqa: B010 - functions have no such attribute for type checkers.
        return function
