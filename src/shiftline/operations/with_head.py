"""The encoder of one model under the head of another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shiftline.contracts.formulas import Formula
from shiftline.contracts.models import Model, require_weights
from shiftline.operations.weight_space import WeightOperation

if TYPE_CHECKING:
    from shiftline.engine.weight_cache import State, WeightCache
    from shiftline.networks.spec import ModelSpec
    from shiftline.plan.facts import Facts, Head


class WithHead(WeightOperation):
    """The encoder of one model under the head of another, for instance a patched encoder under a task's zero-shot head.

    Parameters
    ----------
    encoder, head : Model
        Of one architecture, features and preprocessing.
    """

    tag = "with-head"
    mixes_heads = False
    formula = Formula("encoder of one, head of the other", members="both")
    encoder: Model
    head: Model

    def validate(self) -> None:
        require_weights("WithHead.encoder", self.encoder)
        require_weights("WithHead.head", self.head)

    @property
    def mixed(self) -> tuple[Model, Model]:
        return self.encoder, self.head

    def attributes(self) -> dict[str, Any]:
        return self.encoder.attributes()

    def head_made(self, facts: Facts) -> Head:
        return facts.head(self.head)

    def encoder_identity(self) -> tuple[object, ...]:
        return self.encoder.encoder_identity()

    def spec(self, cache: WeightCache) -> ModelSpec:
        return cache.spec(self.encoder).with_head_of(cache.spec(self.head))

    def compute(self, cache: WeightCache) -> tuple[State, ModelSpec]:
        (encoder, spec), (head, other) = cache.state(self.encoder), cache.state(self.head)
        cache.require_comparable(spec, other.with_head_of(spec), self.encoder, self.head)
        return cache.with_head(encoder, head), spec.with_head_of(other)
