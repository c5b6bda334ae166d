"""Models as expressions: the base class of every operation, and walking and changing what is below an expression.

An expression is data. It can be printed, hashed, stored and compared without loading torch, and one expression is one
model wherever it stands: in two groups, two studies, or inside another expression.

An operation owns its contract. Its class says, in its own file (`shiftline.operations`): what it reads (`data`), which of its
members are mixed and what must agree between them (`check`), what its head and features are, what its job is made from
(`inputs`, `parents`), how its weights are made (`produce`) or computed when they are used (`compute`), and its formula and source.
Planning, the weight cache and the run ask it, and know no operation by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from shiftline.contracts.backbones import Backbone
from shiftline.contracts.distributions import Distribution
from shiftline.contracts.formulas import Formula
from shiftline.contracts.identity import Declaration, defaults_of, fields_of
from shiftline.contracts.reference import Reference
from shiftline.contracts.require import require
from shiftline.errors import ModelError, PlanError

if TYPE_CHECKING:
    from torch import Tensor

    from shiftline.contracts.records import BackboneRecord
    from shiftline.engine.context import Context
    from shiftline.engine.weight_cache import State, WeightCache
    from shiftline.networks.spec import ModelSpec
    from shiftline.plan.facts import Facts, Head
    from shiftline.plan.graph import Planner
    from shiftline.plan.jobs import Job
    from shiftline.store.artifacts import Draft, Store

    Cut = Callable[[Distribution], Distribution]
    Shrink = Callable[["Model"], "Model"]


class Model(Declaration):
    """Base of the expressions.

    Attributes
    ----------
    kind : str or None
        The kind of job that makes its artifact. None: its weights are computed from those of other models when they are used, and
        nothing is stored.
    prediction_kind : str
        The kind of job that predicts with it: "predict" runs its network, any other its `produce`.
    unspoken : tuple of str
        Fields that `describe` leaves out, or says in its own words.
    selects : bool
        The data that it reads are held-out data, on which something is selected.
    is_open : bool
        What it stands for is known only once a selection has been made.
    has_epochs : bool
        It goes through its data again and again, so that these may be drawn again in every epoch.
    tells_distributions_apart : bool
        It reads reference and shift to tell one from the other, and learns no classes.
    reads_images : bool
        Its images come through the training reader, whose name may be part of its key.
    shared : bool
        Several processes can work on its job together.
    mirrored : bool
        Its logits are the mean over an image and its mirror image.
    formula : Formula or None
        Its row in the table of operations.
    """

    kind: ClassVar[str | None] = None
    prediction_kind: ClassVar[str] = "predict"
    unspoken: ClassVar[tuple[str, ...]] = ()
    selects: ClassVar[bool] = False
    is_open: ClassVar[bool] = False
    has_epochs: ClassVar[bool] = False
    tells_distributions_apart: ClassVar[bool] = False
    reads_images: ClassVar[bool] = False
    shared: ClassVar[bool] = False
    mirrored: ClassVar[bool] = False
    formula: ClassVar[Formula | None] = None

    def __str__(self) -> str:
        return describe(self)

    # ---- what it is --------------------------------------------------------------------------------------------------

    @property
    def has_weights(self) -> bool:
        """It is one network with one set of weights, so that it can be trained further or combined."""
        return True

    @property
    def reads_other_data(self) -> bool:
        """It was declared to be trained on other data than the reference's train split."""
        return bool(getattr(self, "other_data", False))

    @property
    def reads_metadata(self) -> bool:
        """The groups of its examples are part of what its key stands for."""
        return False

    @property
    def needs_weights(self) -> bool:
        """The pre-trained weights of the backbones that stand directly in it are read."""
        return True

    @property
    def device_count(self) -> int:
        """Processes that it asks to share its job."""
        return 1

    @property
    def network(self) -> Model:
        """The model whose network a prediction runs."""
        return self

    def data(self, reference: Reference) -> Mapping[str, Distribution]:
        """Return the distributions that making the weights reads, by the name of the field that declares them."""
        return {}

    def data_heads(self) -> list[Model | None]:
        """Return, for each of its data, the model whose head sees them; None, or nothing, for the reference's classes."""
        return []

    def seeded(self, seed: int) -> Model:
        """Return the expression with the seed of its outermost training operations set; what they start from stays."""
        members = list(dict.fromkeys(children(self)))
        origins = {below for member in members for child in children(member) for below in distinct(child)}
        return map_children(self, lambda below: below if below in origins else below.seeded(seed))

    def variants(self) -> list[Model]:
        """Return what the expression may turn out to be: for a selection, every candidate."""
        return [self]

    def attributes(self) -> dict[str, Any]:
        """Return seed, epoch or step, and alpha, where the expression has them: columns of a results table."""
        return {"seed": getattr(self, "seed", None)}

    def training_run(self) -> Model:
        """Return the training that it is a point of: of a checkpoint its run, whichever checkpoints that keeps."""
        return self

    def describe(self) -> str:
        """Return the expression on one line."""
        words = [*map(str, backbones_of(self)), *map(describe, children(self)), *self.settings()]
        return f"{type(self).tag}({', '.join(words)})"

    def settings(self) -> Iterator[str]:
        """Yield the plain fields that differ from their defaults, as words."""
        defaults = defaults_of(type(self))
        for field in fields_of(type(self)):
            name, value = field.name, getattr(self, field.name)
            if name in self.unspoken or value == defaults.get(name, field.default) or next(_members(value), None):
                continue
            if isinstance(value, Distribution):
                yield str(value)
            else:
                yield f"{name}={f'{value:g}' if isinstance(value, float) else value}"

    # ---- what planning asks ------------------------------------------------------------------------------------------

    def check(self, facts: Facts) -> None:
        """Raise `DeclarationError` or `PlanError` where it cannot be carried out: see `shiftline.plan.facts.Facts`."""

    def record(self, facts: Facts) -> BackboneRecord:
        """Return what is known of the architecture that it ends in (of its first branch)."""
        backbone = next(backbones_of(self), None)
        return facts.record(next(children(self)) if backbone is None else backbone)

    def features_seen(self, facts: Facts) -> str:
        """Return what its head sees: "embedding" (projected, of length one), "backbone", or "plain" where there is one kind."""
        return facts.features(next(children(self)))

    def head_made(self, facts: Facts) -> Head:
        """Return what is known of its head before it is made."""
        return facts.head(next(children(self)))

    def named_keys(self) -> tuple[str, ...]:
        """Return the keys of artifacts that it names."""
        return ()

    def stored_record(self, store: Store) -> BackboneRecord | None:
        """Return what a store knows of a model that is named by its key; None for other models."""
        return None

    def trained_on(self, facts: Facts) -> tuple[Distribution, ...] | None:
        """Return what a model that is named by its key was trained and selected on; None where nobody knows."""
        return ()

    def resolve(self, planner: Planner) -> Model:
        """Return what the expression stands for now: of a selection that has been made, its winner."""
        return self

    def identity(self, facts: Facts) -> dict[str, Any]:
        """Return what its key stands for besides its declaration, its data and its parents."""
        return {}

    def inputs(self, planner: Planner) -> dict[str, list[str]]:
        """Return the keys of what its job reads besides weights and data, by what it is."""
        return {}

    def form(self, planner: Planner) -> dict[str, Any]:
        """Return what stands for it in the documents of others: the key of its weights, or an operation on such keys."""
        return {"artifact": planner.artifact(self)} if self.kind is not None else planner.canonical(self)

    def parents(self, planner: Planner) -> list[str]:
        """Return the keys of the jobs whose outputs are read to get its weights."""
        if self.kind is not None:
            return [planner.artifact(self)]
        return [key for child in children(self) for key in child.parents(planner)]

    def prediction(self, planner: Planner, distribution: Distribution) -> str:
        """Return the key of the job that predicts it on a distribution."""
        return planner.predict_network(self, distribution)

    def shrunken(self, shrink: Shrink, cut: Cut) -> Model:
        """Return a small version for `shiftline.testing.check_study`.

        Parameters
        ----------
        shrink : callable
            From a model below to its small version.
        cut : callable
            From a distribution to a few of its examples.
        """
        return map_children(self, shrink)

    def rehearse(self, facts: Facts) -> None:
        """Try what a user's class defines on a few random numbers before the first job; raise what is wrong with it."""

    # ---- how its weights are had -------------------------------------------------------------------------------------

    def produce(self, job: Job, draft: Draft, context: Context) -> None:
        """Do the work of its job: put files into ``draft.folder`` and results into ``draft.summary``."""
        raise PlanError(f"{type(self).__name__} has the kind {self.kind!r} and no method produce(job, draft, context).")

    def location(self, artifacts: Mapping[Model, str]) -> tuple[str, str] | None:
        """Return the key and the file that hold its weights; None where they are computed."""
        from shiftline.contracts.files import WEIGHTS

        return (artifacts[self], WEIGHTS) if self.kind is not None and self.has_weights else None

    def spec(self, cache: WeightCache) -> ModelSpec:
        """Return how its model is built, where its weights are computed."""
        return self.compute(cache)[1]

    def compute(self, cache: WeightCache) -> tuple[State, ModelSpec]:
        """Compute its weights from those of other models."""
        raise ModelError(f"{describe(self)} has no weights: its selection has not been made, or it averages outputs.")

    def write(self, cache: WeightCache, out: Mapping[str, Tensor]) -> None:
        """Write its weights into the tensors of a module of its kind."""
        state = cache.state(self)[0]
        for name, tensor in out.items():
            tensor.copy_(state[name])

    def encoder_identity(self) -> tuple[object, ...]:
        """Return what tells the encoders of two expressions apart: equal values have equal features."""
        return ("own", self)


def require_weights(owner: str, model: object) -> None:
    """Raise `DeclarationError` unless something is a model with one set of weights."""
    require(
        isinstance(model, Model),
        f"{owner} is a {type(model).__name__}: expected a model with a head, such as ZeroShot(...) or FineTune(...).",
    )
    assert isinstance(model, Model)
    require(
        model.has_weights,
        f"{owner} is {describe(model)}, which averages outputs: it has no weights of its own that could be trained or mixed.",
    )


def _members(value: object) -> Iterator[Model | Backbone]:
    """Yield the models and backbones in a value, those inside other declarations included."""
    if isinstance(value, (Model, Backbone)):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _members(item)
    elif isinstance(value, Declaration) and not isinstance(value, Distribution):
        for field in fields_of(type(value)):
            yield from _members(getattr(value, field.name))


def _below(model: Model) -> Iterator[Model | Backbone]:
    for field in fields_of(type(model)):
        yield from _members(getattr(model, field.name))


def children(model: Model) -> Iterator[Model]:
    """Yield the model expressions directly below a model."""
    return (below for below in _below(model) if isinstance(below, Model))


def backbones_of(model: Model) -> Iterator[Backbone]:
    """Yield the architectures and weights that stand directly in a model."""
    return (below for below in _below(model) if isinstance(below, Backbone))


def distinct(*models: Model) -> Iterator[Model]:
    """Yield models and every expression below them, each once."""
    seen: set[Model] = set()
    pending = list(models)
    while pending:
        model = pending.pop()
        if model not in seen:
            seen.add(model)
            yield model
            pending += children(model)


def map_children(model: Model, change: Callable[[Model], Model]) -> Model:
    """Return the model with `change` applied to the expressions directly below it."""

    def changed(value: Any) -> Any:
        if isinstance(value, Model):
            return change(value)
        if isinstance(value, tuple):
            return tuple(changed(item) for item in value)
        if isinstance(value, Declaration) and not isinstance(value, (Distribution, Backbone)):
            return _with_changed_fields(value, changed)
        return value

    return _with_changed_fields(model, changed)  # type: ignore[no-any-return]


def _with_changed_fields(declaration: Declaration, changed: Callable[[Any], Any]) -> Any:
    changes = {}
    for field in fields_of(type(declaration)):
        value = getattr(declaration, field.name)
        if (new := changed(value)) != value:
            changes[field.name] = new
    return declaration.replace(**changes) if changes else declaration


def describe(model: Model | Backbone) -> str:
    """Return an expression on one line, with the settings that differ from their defaults."""
    if not isinstance(model, Model):
        return str(model)
    # Expressions share their members: each is put into words once.
    found: str | None = model.__dict__.get("_described")
    if found is None:
        found = model.describe()
        object.__setattr__(model, "_described", found)
    return found
