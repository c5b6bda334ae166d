"""Storing weights that are otherwise computed when they are used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shiftline.contracts.models import Model, require_weights

if TYPE_CHECKING:
    from shiftline.engine.context import Context
    from shiftline.plan.jobs import Job
    from shiftline.store.artifacts import Draft


class Materialize(Model):
    """The same weights, stored: for a combination that is used often, or exported.

    Parameters
    ----------
    of : Model
    """

    tag = "materialize"
    kind = "materialize"
    of: Model

    def validate(self) -> None:
        require_weights("materialize", self.of)

    def attributes(self) -> dict[str, Any]:
        return self.of.attributes()

    def produce(self, job: Job, draft: Draft, context: Context) -> None:
        """Write the weights of an expression."""
        from shiftline.contracts.files import WEIGHTS
        from shiftline.networks.spec import save_model

        save_model(draft.folder / WEIGHTS, *context.weights.state(self.of))


def materialize(model: Model) -> Materialize:
    """Store the weights of an expression, which are otherwise computed when they are used."""
    return Materialize(model)
