"""Linear combinations of weights: averages, soups, stochastic weight averaging, task arithmetic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from shiftline.contracts.formulas import Formula
from shiftline.contracts.identity import canonical, canonical_json
from shiftline.contracts.models import Model, describe
from shiftline.contracts.require import require, require_numbers
from shiftline.operations.training import Trained
from shiftline.operations.weight_space import WeightOperation, require_members

if TYPE_CHECKING:
    from torch import Tensor

    from shiftline.engine.weight_cache import State, WeightCache
    from shiftline.networks.spec import ModelSpec


class Combine(WeightOperation):
    """A linear combination of weights, with coefficients that sum to one.

    Averages, soups, task arithmetic and parallel patching are of this form. Nothing is stored: the weights are added up, one member
    at a time, when they are used; `materialize(...)` stores them.

    Parameters
    ----------
    members : sequence of Model
        Two or more, of one architecture, features, preprocessing and head.
    weights : sequence of float
        One per member, of sum 1; negative ones are allowed.
    """

    tag = "combine"
    unspoken = ("weights",)
    members: tuple[Model, ...]
    weights: tuple[float, ...]

    def validate(self) -> None:
        require_members("Combine", self.members)
        require(
            len(self.members) == len(self.weights),
            f"Combine has {len(self.members)} members and {len(self.weights)} weights: give one weight per member.",
        )
        require_numbers("Combine.weights", self.weights)
        require(
            abs(sum(self.weights) - 1) < 1e-6,
            f"Combine.weights sum to {sum(self.weights):g}: expected 1, because a network's weights have a scale. Use "
            "average(models, weights=...), which divides by the sum.",
        )

    @property
    def mixed(self) -> tuple[Model, ...]:
        return self.members

    def describe(self) -> str:
        if len(self.members) > 3 and len(set(self.weights)) == 1:
            return f"average of {len(self.members)} ({describe(self.members[0])}, ...)"
        terms = (f"{w:.3g} {describe(m)}" for w, m in zip(self.weights, self.members, strict=True))
        return f"combine({', '.join(terms)})"

    def spec(self, cache: WeightCache) -> ModelSpec:
        return cache.spec(self.members[0])

    def compute(self, cache: WeightCache) -> tuple[State, ModelSpec]:
        from shiftline.weights.average import combine

        return combine(cache.stream(self.members), self.weights), self.spec(cache)

    def write(self, cache: WeightCache, out: Mapping[str, Tensor]) -> None:
        from shiftline.weights.average import combine

        combine(cache.stream(self.members), self.weights, out=out)


@Formula("Σ wᵢ θᵢ / Σ wᵢ", members="one", restrictions="Σ wᵢ ≠ 0")
def average(models: Sequence[Model], *, weights: Sequence[float] | None = None) -> Combine:
    """Average weights; `weights` are divided by their sum.

    Raises
    ------
    DeclarationError
        There are fewer than two models, another number of weights, or they sum to 0.
    """
    models = tuple(models)
    require_members("average", models)
    shares = tuple(1.0 for _ in models) if weights is None else tuple(weights)
    require_numbers("average(weights=...)", shares)
    require(len(shares) == len(models), f"average has {len(models)} models and {len(shares)} weights: give one weight per model.")
    total = sum(shares)
    require(abs(total) > 1e-9, f"the weights {list(shares)} sum to 0: no average has them. Give weights with another sum.")
    return Combine(models, tuple(share / total for share in shares))


@Formula("Σ θᵢ / n", "Wortsman et al. 2022 (soups)", "one", "poor for random heads or very different learning rates")
def uniform_soup(models: Iterable[Model]) -> Combine:
    """The plain average of several fine-tuned models (Wortsman et al. 2022); their order makes no difference.

    Models with random heads, or of very different learning rates, make poor soups.
    """
    ordered = sorted(models, key=lambda model: canonical_json(canonical(model)))
    require_members("uniform_soup", ordered)
    return average(ordered)


@Formula("Σ θₜ / n over epochs of one run", "Izmailov et al. 2018", "one", "batch norm: see `with_batch_norm`")
def swa(run: Trained, after: Iterable[int]) -> Combine:
    """Stochastic weight averaging (Izmailov et al. 2018): the average of one run's checkpoints.

    Where the network has batch norm, re-estimate its statistics: ``with_batch_norm(swa(...))``.
    """
    require(
        isinstance(run, Trained),
        f"swa of a {type(run).__name__}: expected a training, FromScratch(...) or FineTune(...), whose checkpoints are averaged.",
    )
    return average(run.checkpoints(after))


@Formula("θ₀ + Σ λᵢ (θᵢ − θ₀)", "Ilharco et al. 2023", "one")
def task_arithmetic(base: Model, tasks: Sequence[tuple[Model, float]]) -> Combine:
    """Add scaled task vectors (Ilharco et al. 2023): ``base + sum_i scale_i * (task_i - base)``.

    Positive scales learn, negative ones forget.
    """
    require(bool(tasks), "task_arithmetic of no task: give pairs (fine-tuned model, scale).")
    scales = [scale for _, scale in tasks]
    require_numbers("task_arithmetic", scales)
    return Combine((base, *(model for model, _ in tasks)), (1.0 - sum(scales), *scales))


@Formula("θ₀ − λ (θ₁ − θ₀)", "Ilharco et al. 2023", "one")
def negation(base: Model, task: Model, *, scale: float = 1.0) -> Combine:
    """Forget a task: ``base - scale * (task - base)`` (Ilharco et al. 2023)."""
    return task_arithmetic(base, [(task, -scale)])


@Formula("θ_c + λ (θ_b − θ_a)", "Ilharco et al. 2023", "one")
def analogy(a: Model, b: Model, c: Model, *, scale: float = 1.0) -> Combine:
    """``c + scale * (b - a)``: a is to b as c is to the result (Ilharco et al. 2023)."""
    return Combine((c, b, a), (1.0, scale, -scale))
