"""The weight cache: weights of model expressions, read from artifacts, computed on the fly, kept while they are used."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from shiftline.contracts.models import Model, describe
from shiftline.errors import WeightsError
from shiftline.networks.classifier import Classifier
from shiftline.networks.spec import ModelSpec, WeightFile, build_classifier, load_model
from shiftline.store.artifacts import Store

State = Mapping[str, Tensor]
HEAD = "head."
"""What the names of a classifier's head begin with; all other names are the encoder's."""
COMPUTED = 2
"""Computed weights that are kept: the two ends of a path between soups serve every mixing coefficient."""


class WeightCache:
    """Gives modules with the weights of an expression; how these are computed is the expression's own (`Model.compute`).

    Artifacts are kept in memory up to `limit` bytes, the least recently used go first; members of combinations are read from
    a memory map, one at a time, and not kept. Modules are built once per architecture and number of classes, and their
    weights are overwritten in place: asking for the next expression of an architecture ends the use of the last.

    Attributes
    ----------
    artifacts : mapping of Model to str
        Keys of the artifacts that hold weights: those of the plan at work.
    """

    def __init__(self, store: Store, artifacts: Mapping[Model, str], *, device: str = "cpu", limit: int = 4 << 30) -> None:
        self.store, self.artifacts, self.device, self.limit = store, artifacts, device, limit
        self._states: OrderedDict[tuple[str, str], tuple[State, ModelSpec]] = OrderedDict()
        self._computed: OrderedDict[Model, tuple[State, ModelSpec]] = OrderedDict()
        self._modules: dict[str, Classifier] = {}
        self._noted: set[Hashable] = set()

    def state(self, model: Model) -> tuple[State, ModelSpec]:
        """Return the weights of an expression (not to be changed) and how its model is built.

        Raises
        ------
        WeightsError
            What is to be mixed does not fit.
        """
        if (location := model.location(self.artifacts)) is not None:
            return self._read(*location)
        if model not in self._computed:
            self._computed[model] = model.compute(self)
        self._computed.move_to_end(model)
        while len(self._computed) > COMPUTED:
            self._computed.popitem(last=False)
        return self._computed[model]

    def module(self, model: Model) -> Classifier:
        """Return a module with the weights of an expression, in eval mode; computed weights are written in place."""
        if model.location(self.artifacts) is None:
            module = self.build(self.spec(model))
            model.write(self, module.state_dict())
            return module
        state, spec = self.state(model)
        module = self.build(spec)
        module.load_state_dict(state)
        return module

    def spec(self, model: Model) -> ModelSpec:
        """Return how the model of an expression is built."""
        location = model.location(self.artifacts)
        if location is None:
            return model.spec(self)
        if location in self._states:
            return self._states[location][1]
        with WeightFile(self.store.file(*location)) as file:
            return file.spec

    @contextmanager
    def opened(self, model: Model) -> Iterator[State]:
        """Give the weights of an expression for one use: from the memory map of its file, where it is an artifact."""
        location = model.location(self.artifacts)
        if location is None or location in self._states:
            yield self.state(model)[0]
            return
        with WeightFile(self.store.file(*location)) as file:
            yield _OnDevice(file, self.device)

    def stream(self, models: Sequence[Model]) -> Iterator[State]:
        """Yield the weights of several models, each let go before the next is opened.

        Raises
        ------
        WeightsError
            They are not of one architecture, number of classes, features and preprocessing.
        """
        first = self.spec(models[0])
        for model in models:
            self.require_comparable(first, self.spec(model), models[0], model)
            with self.opened(model) as state:
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

    # ---- what operations are made of -----------------------------------------------------------------------------------

    def not_yet(self, mark: Hashable) -> bool:
        """Return whether something is requested the first time: checks of ends are made once, not once per alpha."""
        first = mark not in self._noted
        self._noted.add(mark)
        return first

    @staticmethod
    def with_head(encoder: State, head: State) -> dict[str, Tensor]:
        """Return the encoder of one state dict with the head of another."""
        return {
            **{name: tensor for name, tensor in encoder.items() if not name.startswith(HEAD)},
            **{name: tensor for name, tensor in head.items() if name.startswith(HEAD)},
        }

    @staticmethod
    def require_comparable(spec: ModelSpec, other: ModelSpec, first: Model, second: Model) -> None:
        """Raise `WeightsError` where the weights of two models cannot be mixed."""
        for what, a in spec.comparable().items():
            if a != (b := other.comparable()[what]):
                raise WeightsError(
                    f"{describe(first)} and {describe(second)} differ in {what}: {a} and {b}. Weights can be mixed only between "
                    f"models of one {what}."
                )

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
    """A state dict whose tensors are moved to a device when they are requested."""

    def __init__(self, state: State, device: str) -> None:
        self.state, self.device = state, device

    def __getitem__(self, name: str) -> Tensor:
        return self.state[name].to(self.device)

    def __iter__(self) -> Iterator[str]:
        return iter(self.state)

    def __len__(self) -> int:
        return len(self.state)


def _bytes(state: State) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in state.values())
