"""How a broken contract is reported."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from shiftline.errors import ShiftlineError


class ContractError(ShiftlineError, AssertionError):
    """Something that a user wrote breaks the contract."""


def require_contract(condition: bool, message: str) -> None:
    """Raise `ContractError` unless a condition holds."""
    if not condition:
        raise ContractError(message)


@contextmanager
def as_contract_errors() -> Iterator[None]:
    """Raise what shiftline refuses as a `ContractError`."""
    try:
        yield
    except ContractError:
        raise
    except ShiftlineError as error:
        raise ContractError(str(error)) from error
