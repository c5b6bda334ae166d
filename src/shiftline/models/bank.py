"""Weights of model expressions: read from artifacts, mixed on the fly, kept in memory while they are used."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor

from shiftline.declare.recipes import (
    Checkpoint,
    FineTune,
    FromScratch,
    Interpolate,
    LinearProbe,
    Model,
    ZeroShot,
    describe,
)
from shiftline.errors import ModelError, WeightsError
from shiftline.models.classifier import Classifier
from shiftline.models.spec import ModelSpec, build_classifier, load_model
from shiftline.store.artifacts import Store
from shiftline.weights.interpolate import check_ends, write_interpolation

State = Mapping[str, Tensor]
WEIGHTS = "model.safetensors"


def checkpoint_file(epoch: int) -> str:
    """Name of the weights of an epoch in the artifact of a training."""
    return f"epoch-{epoch:04d}.safetensors"


class ModelBank:
    """Gives modules with the weights of an expression.

    Artifacts are kept in memory up to `limit` bytes, the least recently used go first. Modules are built once per
    architecture and number of classes, and their weights are overwritten in place: asking for the next expression of an
    architecture ends the use of the last.
    """

    def __init__(self, store: Store, *, device: str = "cpu", limit: int = 4 << 30) -> None:
        self.store, self.device, self.limit = store, device, limit
        self._states: OrderedDict[tuple[str, str], tuple[State, ModelSpec]] = OrderedDict()
        self._modules: dict[str, Classifier] = {}
        self._checked: set[tuple[Model, Model]] = set()

    def state(self, model: Model, artifacts: Mapping[Model, str]) -> tuple[State, ModelSpec]:
        """Return the weights of an expression (not to be changed) and how its model is built.

        Raises
        ------
        WeightsError
            The ends of an interpolation do not fit.
        """
        if isinstance(model, Checkpoint):
            return self._read(artifacts[model.run], checkpoint_file(model.epoch))
        if isinstance(model, Interpolate):
            start, end, spec = self._ends(model, artifacts)
            mixed = {name: torch.empty_like(tensor) for name, tensor in start.items()}
            write_interpolation(start, end, model.alpha, mixed)
            return mixed, spec
        if isinstance(model, (ZeroShot, FromScratch, FineTune, LinearProbe)):
            return self._read(artifacts[model], WEIGHTS)
        raise ModelError(f"{describe(model)} has no weights yet: its selection has not been made.")

    def module(self, model: Model, artifacts: Mapping[Model, str]) -> Classifier:
        """Return a module with the weights of an expression, in eval mode; an interpolation is written in place."""
        if isinstance(model, Interpolate):
            start, end, spec = self._ends(model, artifacts)
            module = self._module(spec)
            write_interpolation(start, end, model.alpha, module.state_dict())
            return module
        state, spec = self.state(model, artifacts)
        module = self._module(spec)
        module.load_state_dict(state)
        return module

    def spec(self, model: Model, artifacts: Mapping[Model, str]) -> ModelSpec:
        """Return how the model of an expression is built."""
        if isinstance(model, Interpolate):
            return self.spec(model.start, artifacts)
        return self.state(model, artifacts)[1]

    def encoder_identity(self, model: Model, artifacts: Mapping[Model, str]) -> tuple[object, ...]:
        """Return what tells the encoders of two expressions apart: equal values have equal features."""
        if isinstance(model, Interpolate) and model.alpha in (0, 1):
            # The ends are bit-exact: their features are those of the model that stands there.
            return self.encoder_identity(model.end if model.alpha else model.start, artifacts)
        if isinstance(model, Interpolate):
            start = self.encoder_identity(model.start, artifacts)
            end = self.encoder_identity(model.end, artifacts)
            return start if start == end else ("mixed", model)
        if isinstance(model, LinearProbe) or (isinstance(model, FineTune) and model.trainable == "head"):
            return (
                self.encoder_identity(model.init, artifacts) if isinstance(model.init, Model) else ("leaf", model.init)
            )
        if isinstance(model, ZeroShot):
            return ("leaf", model.model)
        return ("own", model)

    def _ends(self, model: Interpolate, artifacts: Mapping[Model, str]) -> tuple[State, State, ModelSpec]:
        (start, spec), (end, other) = self.state(model.start, artifacts), self.state(model.end, artifacts)
        if (model.start, model.end) not in self._checked:
            for what, a in spec.comparable().items():
                if a != (b := other.comparable()[what]):
                    raise WeightsError(
                        f"the ends of {describe(model)} differ in {what}: {a} and {b}. Weights can be mixed only between "
                        f"models of one {what}."
                    )
            check_ends(start, end)
            self._checked.add((model.start, model.end))
        return start, end, spec

    def _module(self, spec: ModelSpec) -> Classifier:
        name = spec.to_json()
        if name not in self._modules:
            with torch.random.fork_rng(devices=[]):
                # Decoded images have their channels last: convolutions take them as they are.
                module = build_classifier(spec).to(self.device).to(memory_format=torch.channels_last)
                self._modules[name] = module.eval()
        return self._modules[name]

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


def _bytes(state: State) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in state.values())
