"""Weight interpolation (WiSE-FT, Wortsman et al. 2022)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from shiftline.contracts.formulas import Formula
from shiftline.contracts.models import Model, require_weights
from shiftline.contracts.require import require_choice
from shiftline.operations.weight_space import ALPHAS, WeightOperation, require_alpha

if TYPE_CHECKING:
    from torch import Tensor

    from shiftline.engine.weight_cache import State, WeightCache
    from shiftline.networks.spec import ModelSpec
    from shiftline.plan.facts import Facts

SUBSETS = ("all", "encoder", "head")


class Interpolate(WeightOperation):
    """Weight interpolation (WiSE-FT, Wortsman et al. 2022): ``(1 - alpha) * start + alpha * end``, tensor by tensor.

    Parameters
    ----------
    start, end : Model
        Of one architecture, features and preprocessing; with `subset` "all" or "head" of one head too.
    alpha : float
        Mixing coefficient, 0 to 1; both ends are bit-exact.
    subset : str
        Which tensors are mixed: "all"; "encoder" or "head" leave the other tensors as they are at the start.
    """

    tag = "interpolate"
    formula = Formula(
        "(1 − α) θ₀ + α θ₁",
        source="Wortsman et al. 2022 (WiSE-FT)",
        members="both ends, kept over α",
        restrictions='0 ≤ α ≤ 1; exact bits at both ends; subset="encoder" needs no common classes',
    )
    start: Model
    end: Model
    alpha: float
    subset: str = "all"

    def validate(self) -> None:
        require_weights("Interpolate.start", self.start)
        require_weights("Interpolate.end", self.end)
        require_alpha("Interpolate.alpha", self.alpha)
        require_choice("Interpolate.subset", self.subset, SUBSETS)

    @property
    def mixed(self) -> tuple[Model, Model]:
        return self.start, self.end

    def check(self, facts: Facts) -> None:
        facts.require_mixable(self.mixed, heads=self.subset != "encoder")

    def attributes(self) -> dict[str, Any]:
        return {"alpha": self.alpha, "seed": self.end.attributes().get("seed")}

    def encoder_identity(self) -> tuple[object, ...]:
        if self.subset == "head" or self.alpha == 0:
            return self.start.encoder_identity()
        start, end = self.start.encoder_identity(), self.end.encoder_identity()
        # The ends are bit-exact: their features are those of the model that stands there.
        return end if start == end or self.alpha == 1 else ("mixed", self)

    def spec(self, cache: WeightCache) -> ModelSpec:
        return cache.spec(self.start)

    def compute(self, cache: WeightCache) -> tuple[State, ModelSpec]:
        import torch

        start, end = self._ends(cache)
        out = {name: torch.empty_like(tensor) for name, tensor in start.items()}
        self._write(start, end, out)
        return out, cache.spec(self.start)

    def write(self, cache: WeightCache, out: Mapping[str, Tensor]) -> None:
        self._write(*self._ends(cache), out)

    def _write(self, start: State, end: State, out: Mapping[str, Tensor]) -> None:
        from shiftline.weights.interpolate import write_interpolation

        write_interpolation(start, end, self.alpha, out)

    def _ends(self, cache: WeightCache) -> tuple[State, State]:
        from shiftline.weights.interpolate import check_ends

        (start, spec), (end, other) = cache.state(self.start), cache.state(self.end)
        if self.subset == "encoder":
            end, other = cache.with_head(end, start), other.with_head_of(spec)
        elif self.subset == "head":
            end = cache.with_head(start, end)
        if cache.not_yet(("ends", self.start, self.end, self.subset)):
            cache.require_comparable(spec, other, self.start, self.end)
            check_ends(start, end)
        return start, end


@Formula("Interpolate at α = 0, 0.1, ... 1", "Wortsman et al. 2022 (WiSE-FT)", "both ends, kept over α")
def interpolations(start: Model, end: Model, alphas: Iterable[float] = ALPHAS, *, subset: str = "all") -> list[Model]:
    """Interpolate at each mixing coefficient: 0, 0.1, ... 1 unless told otherwise; see `Interpolate`."""
    return [Interpolate(start, end, alpha, subset) for alpha in alphas]
