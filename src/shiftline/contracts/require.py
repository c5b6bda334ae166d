"""Conditions on declared values: each raises one `DeclarationError` that says what was expected."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable

from shiftline.errors import DeclarationError


def require(condition: bool, message: str) -> None:
    """Raise `DeclarationError` with a message unless a condition holds."""
    if not condition:
        raise DeclarationError(message)


def require_choice(owner: str, value: object, choices: Iterable[str]) -> None:
    """Raise `DeclarationError` unless a value is one of the choices, which are listed."""
    choices = tuple(choices)
    hint = f" They are text: write {str(value)!r}, with its quotes." if str(value) in choices else ""
    require(value in choices, f"{owner} is {value!r}: choose one of {', '.join(choices)}.{hint}")


def require_numbers(owner: str, values: Iterable[object]) -> None:
    """Raise `DeclarationError` unless all values are finite numbers."""
    for value in values:
        plain = isinstance(value, (int, float)) and not isinstance(value, bool)
        require(plain and math.isfinite(value), f"{owner} holds {value!r}: expected finite numbers.")  # type: ignore[arg-type]


def require_positive(owner: str, value: float, what: str = "number") -> None:
    """Raise `DeclarationError` unless a number is above 0."""
    require(value > 0, f"{owner} is {value}: expected a positive {what}.")


def require_at_least(owner: str, value: float, least: float, what: str = "") -> None:
    """Raise `DeclarationError` unless a number is `least` or more."""
    require(value >= least, f"{owner} is {value}: expected {least:g}{f' {what}' if what else ''} or more.")


def require_share(owner: str, value: float, what: str = "") -> None:
    """Raise `DeclarationError` unless a number is from 0 to 1."""
    require(0 <= value <= 1, f"{owner} is {value}: expected {f'{what}, ' if what else ''}0 to 1.")


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: "1 job", "2 jobs"."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def near(name: object, known: Iterable[str]) -> str:
    """Return the end of a sentence about a name that is not known: ": did you mean that?", or a full stop."""
    found = difflib.get_close_matches(str(name), list(known), n=1)
    return f": did you mean {found[0]}?" if found else "."
