"""Weights of model expressions: read from artifacts, combined on the fly, kept in memory while they are used."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from shiftline.declare.expressions import Model, describe
from shiftline.declare.recipes import LinearProbe, Stored, ZeroShot
from shiftline.declare.training import Checkpoint, FineTune
from shiftline.declare.weight_space import Combine, Interpolate, WithHead
from shiftline.errors import ModelError, WeightsError
from shiftline.models.classifier import Classifier
from shiftline.models.spec import ModelSpec, WeightFile, build_classifier, load_model
from shiftline.store.artifacts import Store
from shiftline.store.names import WEIGHTS, checkpoint_file
from shiftline.weights.average import combine
from shiftline.weights.interpolate import check_ends, write_interpolation

State = Mapping[str, Tensor]
Artifacts = Mapping[Model, str]
HEAD = "head."
"""What the names of a classifier's head begin with; all other names are the encoder's."""


COMPUTED = 2
"""Computed weights that are kept: the two ends of a path between soups serve every mixing coefficient."""


class ModelBank:
    """Gives modules with the weights of an expression.

    Artifacts are kept in memory up to `limit` bytes, the least recently used go first; members of combinations are read from
    a memory map, one at a time, and not kept. Modules are built once per architecture and number of classes, and their
    weights are overwritten in place: asking for the next expression of an architecture ends the use of the last.
    """

    def __init__(self, store: Store, *, device: str = "cpu", limit: int = 4 << 30) -> None:
        self.store, self.device, self.limit = store, device, limit
        self._states: OrderedDict[tuple[str, str], tuple[State, ModelSpec]] = OrderedDict()
        self._computed: OrderedDict[Model, tuple[State, ModelSpec]] = OrderedDict()
        self._modules: dict[str, Classifier] = {}
        self._checked: set[tuple[Model, Model, str]] = set()

    def state(self, model: Model, artifacts: Artifacts) -> tuple[State, ModelSpec]:
        """Return the weights of an expression (not to be changed) and how its model is built.

        Raises
        ------
        WeightsError
            What is to be mixed does not fit.
        """
        if (place := _place(model, artifacts)) is not None:
            return self._read(*place)
        if model not in self._computed:
            self._computed[model] = self._compute(model, artifacts)
        self._computed.move_to_end(model)
        while len(self._computed) > COMPUTED:
            self._computed.popitem(last=False)
        return self._computed[model]

    def _compute(self, model: Model, artifacts: Artifacts) -> tuple[State, ModelSpec]:
        if isinstance(model, Interpolate):
            start, end, spec = self._ends(model, artifacts)
            mixed = {name: torch.empty_like(tensor) for name, tensor in start.items()}
            write_interpolation(start, end, model.alpha, mixed)
            return mixed, spec
        if isinstance(model, Combine):
            return combine(self.stream(model.members, artifacts), model.weights), self.spec(model, artifacts)
        if isinstance(model, WithHead):
            (encoder, spec), (head, other) = self.state(model.encoder, artifacts), self.state(model.head, artifacts)
            _check_comparable(spec, other.with_head_of(spec), model.encoder, model.head)
            return _parted(encoder, head, HEAD), spec.with_head_of(other)
        raise ModelError(f"{describe(model)} has no weights: its selection has not been made, or it averages outputs.")

    def module(self, model: Model, artifacts: Artifacts) -> Classifier:
        """Return a module with the weights of an expression, in eval mode; mixed weights are written in place."""
        if isinstance(model, Interpolate):
            start, end, spec = self._ends(model, artifacts)
            module = self.build(spec)
            write_interpolation(start, end, model.alpha, module.state_dict())
            return module
        if isinstance(model, Combine):
            module = self.build(self.spec(model, artifacts))
            combine(self.stream(model.members, artifacts), model.weights, out=module.state_dict())
            return module
        state, spec = self.state(model, artifacts)
        module = self.build(spec)
        module.load_state_dict(state)
        return module

    def spec(self, model: Model, artifacts: Artifacts) -> ModelSpec:
        """Return how the model of an expression is built."""
        if isinstance(model, Interpolate):
            return self.spec(model.start, artifacts)
        if isinstance(model, Combine):
            return self.spec(model.members[0], artifacts)
        if isinstance(model, WithHead):
            return self.spec(model.encoder, artifacts).with_head_of(self.spec(model.head, artifacts))
        if (place := _place(model, artifacts)) is not None and place not in self._states:
            with WeightFile(self.store.file(*place)) as file:
                return file.spec
        return self.state(model, artifacts)[1]

    @contextmanager
    def opened(self, model: Model, artifacts: Artifacts) -> Iterator[State]:
        """Give the weights of an expression for one use: from the memory map of its file, where it is an artifact."""
        place = _place(model, artifacts)
        if place is None or place in self._states:
            yield self.state(model, artifacts)[0]
            return
        with WeightFile(self.store.file(*place)) as file:
            yield _OnDevice(file, self.device)

    def stream(self, models: Sequence[Model], artifacts: Artifacts) -> Iterator[State]:
        """Yield the weights of several models, each let go before the next is opened.

        Raises
        ------
        WeightsError
            They are not of one architecture, number of classes, features and preprocessing.
        """
        first = self.spec(models[0], artifacts)
        for model in models:
            _check_comparable(first, self.spec(model, artifacts), models[0], model)
            with self.opened(model, artifacts) as state:
                yield state

    def build(self, spec: ModelSpec) -> Classifier:
        """Return the module that all models of one kind share, in eval mode, with whatever weights it last had."""
        name = json.dumps(spec.comparable(), sort_keys=True)
        if name not in self._modules:
            with torch.random.fork_rng(devices=[]):
                # Decoded images have their channels last: convolutions take them as they are.
                module = build_classifier(spec).to(self.device).to(memory_format=torch.channels_last)
                self._modules[name] = module.eval()
        return self._modules[name]

    def encoder_identity(self, model: Model, artifacts: Artifacts) -> tuple[object, ...]:
        """Return what tells the encoders of two expressions apart: equal values have equal features."""
        if isinstance(model, Interpolate):
            if model.part == "head" or model.alpha == 0:
                return self.encoder_identity(model.start, artifacts)
            start, end = (self.encoder_identity(side, artifacts) for side in (model.start, model.end))
            # The ends are bit-exact: their features are those of the model that stands there.
            return end if start == end or model.alpha == 1 else ("mixed", model)
        if isinstance(model, WithHead):
            return self.encoder_identity(model.encoder, artifacts)
        if isinstance(model, LinearProbe) or (isinstance(model, FineTune) and model.trainable == "head"):
            init = model.init
            origin = self.encoder_identity(init, artifacts) if isinstance(init, Model) else ("leaf", init)
            return origin if model.features == "keep" else (*origin, model.features)
        if isinstance(model, ZeroShot):
            return ("leaf", model.model, "embedding")
        return ("own", model)

    def _ends(self, model: Interpolate, artifacts: Artifacts) -> tuple[State, State, ModelSpec]:
        (start, spec), (end, other) = self.state(model.start, artifacts), self.state(model.end, artifacts)
        if model.part == "encoder":
            end, other = _parted(end, start, HEAD), other.with_head_of(spec)
        elif model.part == "head":
            end = _parted(start, end, HEAD)
        if (model.start, model.end, model.part) not in self._checked:
            _check_comparable(spec, other, model.start, model.end)
            check_ends(start, end)
            self._checked.add((model.start, model.end, model.part))
        return start, end, spec

    def _read(self, key: str, name: str) -> tuple[State, ModelSpec]:
        if (key, name) in self._states:
            self._states.move_to_end((key, name))
            return self._states[key, name]
        state, spec = load_model(self.store.file(key, name))
        # The step to the device is taken once per artifact, not once per mixing coefficient.
        kept = {n: tensor.to(self.device) for n, tensor in state.items()}
        self._states[key, name] = (kept, spec)
        while len(self._states) > 2 and sum(_bytes(s) for s, _ in self._states.values()) > self.limit:
            self._states.popitem(last=False)
        return kept, spec


class _OnDevice(Mapping[str, Tensor]):
    """A state dict whose tensors are moved to a device when they are asked for."""

    def __init__(self, state: State, device: str) -> None:
        self.state, self.device = state, device

    def __getitem__(self, name: str) -> Tensor:
        return self.state[name].to(self.device)

    def __iter__(self) -> Iterator[str]:
        return iter(self.state)

    def __len__(self) -> int:
        return len(self.state)


def _place(model: Model, artifacts: Artifacts) -> tuple[str, str] | None:
    """Return the key and the file that hold an expression's weights; None where they are computed."""
    if isinstance(model, Checkpoint):
        return artifacts[model.run], checkpoint_file(model.run.unit, model.after)
    if isinstance(model, Stored):
        return model.key, WEIGHTS if model.after is None else checkpoint_file(model.unit, model.after)
    if model.makes is not None and model.has_weights:
        return artifacts[model], WEIGHTS
    return None


def _parted(encoder: State, head: State, prefix: str) -> dict[str, Tensor]:
    """Return the encoder of one state dict with the head of another."""
    return {
        **{name: tensor for name, tensor in encoder.items() if not name.startswith(prefix)},
        **{name: tensor for name, tensor in head.items() if name.startswith(prefix)},
    }


def _check_comparable(spec: ModelSpec, other: ModelSpec, first: Model, second: Model) -> None:
    for what, a in spec.comparable().items():
        if a != (b := other.comparable()[what]):
            raise WeightsError(
                f"{describe(first)} and {describe(second)} differ in {what}: {a} and {b}. Weights can be mixed only between "
                f"models of one {what}."
            )


def _bytes(state: State) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in state.values())
