"""Operations on weights: every one is an expression over models of one architecture."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from shiftline.declare.distributions import Distribution, Reference
from shiftline.declare.expressions import Model, describe, require, require_numbers, require_weights
from shiftline.declare.training import Trained
from shiftline.identity import canonical

ALPHAS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
PARTS = ("all", "encoder", "head")


class Interpolate(Model):
    """Weight interpolation (WiSE-FT, Wortsman et al. 2022): ``(1 - alpha) * start + alpha * end``, tensor by tensor.

    `part` says which tensors are mixed: "all"; "encoder" or "head" leave the other part as it is at the start.
    """

    tag = "interpolate"
    start: Model
    end: Model
    alpha: float
    part: str = "all"

    def validate(self) -> None:
        require_weights("Interpolate.start", self.start)
        require_weights("Interpolate.end", self.end)
        require_alpha("Interpolate.alpha", self.alpha)
        require(self.part in PARTS, f"Interpolate.part is {self.part!r}: choose one of {', '.join(PARTS)}.")

    def attributes(self) -> dict[str, Any]:
        return {"alpha": self.alpha, "seed": self.end.attributes().get("seed")}


class Combine(Model):
    """A linear combination of weights, with coefficients that sum to one.

    Averages, soups, task arithmetic and parallel patching are of this form. Coefficients may be negative. Nothing is stored:
    the weights are added up, one member at a time, when they are used; `keep(...)` stores them.
    """

    tag = "combine"
    unspoken = ("weights",)
    members: tuple[Model, ...]
    weights: tuple[float, ...]

    def validate(self) -> None:
        _require_members("Combine", self.members)
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

    def describe(self) -> str:
        shares = set(self.weights)
        if len(self.members) > 3 and len(shares) == 1:
            return f"average of {len(self.members)} ({describe(self.members[0])}, ...)"
        terms = (f"{w:.3g} {describe(m)}" for w, m in zip(self.weights, self.members, strict=True))
        return f"combine({', '.join(terms)})"


class GreedySoup(Model):
    """A greedy soup (Wortsman et al. 2022): members by falling accuracy, kept where held-out accuracy does not fall.

    Attributes
    ----------
    members : tuple of Model
        Where accuracies tie, in this order.
    on : Distribution, optional
        Held-out data: the reference's val split unless given.
    """

    tag = "greedy-soup"
    makes = "greedy-soup"
    members: tuple[Model, ...]
    on: Distribution | None = None

    def validate(self) -> None:
        _require_members("greedy_soup", self.members)
        require(
            self.on is None or isinstance(self.on, Distribution),
            f"greedy_soup(on=...) is a {type(self.on).__name__}: expected a distribution.",
        )

    def data(self, reference: Reference) -> Mapping[str, Distribution]:
        return {"on": self.on or reference.selection}

    def describe(self) -> str:
        return f"greedy soup of {len(self.members)} ({describe(self.members[0])}, ...)"


class FisherAverage(Model):
    """Fisher-weighted average (Matena & Raffel 2022): ``sum_i w_i F_i theta_i / sum_i w_i F_i``, parameter by parameter.

    F_i is member i's diagonal Fisher information on training data, in eval mode, at least `floor`. Where no member has
    more than the floor, and for buffers, this is the plain average.

    Attributes
    ----------
    examples : int
        Training images that the Fisher is estimated on, drawn by id.
    target : str
        "expected" takes the expectation over the model's own predicted classes (a backward pass per class), "sampled" draws one
        class from it, "empirical" takes the true label.
    """

    tag = "fisher-average"
    makes = "fisher-average"
    members: tuple[Model, ...]
    weights: tuple[float, ...]
    examples: int = 256
    target: str = "sampled"
    floor: float = 1e-6
    train_on: Distribution | None = None
    other_data: bool = False
    estimates: tuple[str, ...] = ()

    def validate(self) -> None:
        _require_members("fisher_average", self.members)
        require(
            not self.estimates or len(self.estimates) == len(self.members),
            f"fisher_average has {len(self.members)} members and {len(self.estimates)} estimates: give one per member, or none.",
        )
        require(
            len(self.members) == len(self.weights),
            f"fisher_average has {len(self.members)} members and {len(self.weights)} weights: give one per member.",
        )
        require_numbers("fisher_average.weights", self.weights)
        require(
            min(self.weights) > 0,
            f"fisher_average.weights are {list(self.weights)}: expected positive numbers, or leave the member out.",
        )
        require(self.examples >= 1, f"fisher_average(examples={self.examples}): expected 1 or more.")
        targets = ("expected", "sampled", "empirical")
        require(
            self.target in targets,
            f"fisher_average(target={self.target!r}): choose one of {', '.join(targets)}.",
        )
        require(self.floor > 0, f"fisher_average(floor={self.floor}): expected a positive number.")

    def data(self, reference: Reference) -> Mapping[str, Distribution]:
        return {} if self.estimates else {"train_on": self.train_on or reference.training}

    def fishers(self, reference: Reference) -> list[Fisher]:
        """Return what has to be estimated first, member by member."""
        if self.estimates:
            return []
        where = self.train_on or reference.training
        return [Fisher(member, where, self.examples, self.target) for member in self.members]

    def describe(self) -> str:
        return f"fisher average of {len(self.members)} ({describe(self.members[0])}, ...)"


class Fisher(Model):
    """The diagonal Fisher information of a model on some examples. Made by `FisherAverage`."""

    tag = "fisher"
    makes = "fisher"
    of: Model
    on: Distribution
    examples: int
    target: str

    @property
    def has_weights(self) -> bool:
        return False

    def data(self, reference: Reference) -> Mapping[str, Distribution]:
        return {"on": self.on}


class ReestimateBatchNorm(Model):
    """A model with batch-norm statistics computed anew on training data (cumulative averages), its parameters as they are."""

    tag = "batch-norm"
    makes = "batch-norm"
    of: Model
    train_on: Distribution | None = None
    batch_size: int = 64
    other_data: bool = False

    def validate(self) -> None:
        require_weights("reestimate_batch_norm", self.of)
        require(self.batch_size >= 2, f"reestimate_batch_norm(batch_size={self.batch_size}): expected 2 or more.")

    def data(self, reference: Reference) -> Mapping[str, Distribution]:
        return {"train_on": self.train_on or reference.training}

    def attributes(self) -> dict[str, Any]:
        return self.of.attributes()


class WithHead(Model):
    """The encoder of one model under the head of another, for instance a patched encoder under a task's zero-shot head."""

    tag = "with-head"
    encoder: Model
    head: Model

    def validate(self) -> None:
        require_weights("WithHead.encoder", self.encoder)
        require_weights("WithHead.head", self.head)

    def attributes(self) -> dict[str, Any]:
        return self.encoder.attributes()


class Keep(Model):
    """The same weights, stored: for a combination that is used often, or exported."""

    tag = "keep"
    makes = "keep"
    of: Model

    def validate(self) -> None:
        require_weights("keep", self.of)

    def attributes(self) -> dict[str, Any]:
        return self.of.attributes()


def interpolations(start: Model, end: Model, alphas: Iterable[float] = ALPHAS, *, part: str = "all") -> list[Model]:
    """Interpolate at each mixing coefficient: 0, 0.1, ... 1 unless told otherwise."""
    return [Interpolate(start, end, alpha, part) for alpha in alphas]


def average(models: Sequence[Model], *, weights: Sequence[float] | None = None) -> Combine:
    """Average weights; `weights` are divided by their sum.

    Raises
    ------
    DeclarationError
        There are fewer than two models, another number of weights, or they sum to 0.
    """
    models = tuple(models)
    _require_members("average", models)
    shares = tuple(1.0 for _ in models) if weights is None else tuple(weights)
    require_numbers("average(weights=...)", shares)
    require(
        len(shares) == len(models),
        f"average has {len(models)} models and {len(shares)} weights: give one weight per model.",
    )
    total = sum(shares)
    require(
        abs(total) > 1e-9, f"the weights {list(shares)} sum to 0: no average has them. Give weights with another sum."
    )
    return Combine(models, tuple(share / total for share in shares))


def uniform_soup(models: Iterable[Model]) -> Combine:
    """The plain average of several fine-tuned models (Wortsman et al. 2022); their order makes no difference.

    Models with random heads, or of very different learning rates, make poor soups.
    """
    ordered = sorted(models, key=lambda model: json.dumps(canonical(model), sort_keys=True))
    _require_members("uniform_soup", ordered)
    return average(ordered)


def greedy_soup(models: Iterable[Model], *, on: Distribution | None = None) -> GreedySoup:
    """Add models in the order of their held-out accuracy, as long as it does not fall (Wortsman et al. 2022)."""
    return GreedySoup(tuple(models), on)


def swa(run: Trained, after: Iterable[int]) -> Combine:
    """Stochastic weight averaging (Izmailov et al. 2018): the average of one run's checkpoints.

    Where the network has batch norm, re-estimate its statistics: ``with_batch_norm(swa(...))``.
    """
    require(
        isinstance(run, Trained),
        f"swa of a {type(run).__name__}: expected a training, FromScratch(...) or FineTune(...), whose checkpoints are averaged.",
    )
    return average(run.checkpoints(after))


def fisher_average(
    models: Sequence[Model], *, weights: Sequence[float] | None = None, **settings: Any
) -> FisherAverage:
    """Average weights by their Fisher information: see `FisherAverage` for the settings."""
    models = tuple(models)
    return FisherAverage(models, tuple(weights) if weights is not None else (1.0,) * len(models), **settings)


def task_arithmetic(base: Model, tasks: Sequence[tuple[Model, float]]) -> Combine:
    """Add scaled task vectors (Ilharco et al. 2023): ``base + sum_i scale_i * (task_i - base)``.

    Positive scales learn, negative ones forget.
    """
    require(bool(tasks), "task_arithmetic of no task: give pairs (fine-tuned model, scale).")
    scales = [scale for _, scale in tasks]
    require_numbers("task_arithmetic", tuple(scales))
    return Combine((base, *(model for model, _ in tasks)), (1.0 - sum(scales), *scales))


def negation(base: Model, task: Model, *, scale: float = 1.0) -> Combine:
    """Forget a task: ``base - scale * (task - base)`` (Ilharco et al. 2023)."""
    return task_arithmetic(base, [(task, -scale)])


def analogy(a: Model, b: Model, c: Model, *, scale: float = 1.0) -> Combine:
    """``c + scale * (b - a)``: a is to b as c is to the result (Ilharco et al. 2023)."""
    return Combine((c, b, a), (1.0, scale, -scale))


def with_batch_norm(model: Model, **settings: Any) -> list[Model]:
    """The model as it is, and with batch-norm statistics estimated anew: it may help or hurt, so both are kept."""
    return [model, ReestimateBatchNorm(model, **settings)]


def keep(model: Model) -> Keep:
    """Store the weights of an expression, which are otherwise computed when they are used."""
    return Keep(model)


def require_alpha(owner: str, alpha: object) -> None:
    """Raise `DeclarationError` unless a mixing coefficient is from 0 to 1."""
    number = isinstance(alpha, (int, float)) and not isinstance(alpha, bool)
    require(
        number and 0 <= alpha <= 1,  # type: ignore[operator]
        f"{owner} is {alpha!r}: expected a mixing coefficient from 0 (start) to 1 (end).",
    )


def _require_members(owner: str, members: Sequence[Model]) -> None:
    require(
        len(members) >= 2,
        f"{owner} of {len(members)} model{'' if len(members) == 1 else 's'}: give two or more, or use the model itself.",
    )
    for row, member in enumerate(members):
        require_weights(f"{owner}: member {row}", member)
