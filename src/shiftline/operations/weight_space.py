"""What all operations on weights share: members of one kind, and mixing coefficients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from shiftline.contracts.models import Model, require_weights
from shiftline.contracts.require import counted, require

if TYPE_CHECKING:
    from shiftline.plan.facts import Facts

ALPHAS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class WeightOperation(Model):
    """Base of operations that mix the weights of other models: planning checks that these are of one kind.

    Attributes
    ----------
    mixes_heads : bool
        Heads are mixed too, so that classes and templates must agree as well.
    """

    mixes_heads: ClassVar[bool] = True

    @property
    def mixed(self) -> Sequence[Model]:
        """The models whose weights are mixed: they must agree in architecture, features and preprocessing."""
        raise NotImplementedError

    def check(self, facts: Facts) -> None:
        facts.require_mixable(self.mixed, heads=self.mixes_heads)


def require_alpha(owner: str, alpha: object) -> None:
    """Raise `DeclarationError` unless a mixing coefficient is from 0 to 1."""
    number = isinstance(alpha, (int, float)) and not isinstance(alpha, bool)
    require(
        number and 0 <= alpha <= 1,  # type: ignore[operator]
        f"{owner} is {alpha!r}: expected a mixing coefficient from 0 (start) to 1 (end).",
    )


def require_members(owner: str, members: Sequence[Model]) -> None:
    """Raise `DeclarationError` unless there are two models with weights or more."""
    require(len(members) >= 2, f"{owner} of {counted(len(members), 'model')}: give two or more, or use the model itself.")
    for row, member in enumerate(members):
        require_weights(f"{owner}: member {row}", member)
