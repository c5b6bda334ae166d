"""From a study to its jobs: a pure function of the declaration and of the records of data, leaves and selections."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from shiftline.declare.architectures import Leaf
from shiftline.declare.distributions import Distribution, Split
from shiftline.declare.recipes import (
    Best,
    Checkpoint,
    FineTune,
    FromScratch,
    Interpolate,
    LinearProbe,
    Model,
    Replicate,
    ZeroShot,
    children,
    describe,
    map_children,
    with_seed,
)
from shiftline.declare.study import Study
from shiftline.errors import PlanError
from shiftline.identity import SCHEMA, Declaration, canonical, digest
from shiftline.plan.checks import check_study
from shiftline.plan.jobs import REVISIONS, Job, Plan, PlannedModel
from shiftline.plan.records import LeafRecord, SplitRecord

WinnerOf = Callable[[str], int | None]
"""From the key of a select job to the position of its winner, or None while it has not been made."""


def build_plan(
    study: Study,
    *,
    splits: Mapping[Split, SplitRecord],
    leaves: Mapping[Leaf, LeafRecord],
    winner_of: WinnerOf = lambda key: None,
) -> Plan:
    """Lay out every job that a study needs.

    Raises
    ------
    DeclarationError, PlanError
        The study cannot be carried out: found here, before any time is spent.
    """
    check_study(study, splits=splits, leaves=leaves)
    return _Builder(study, splits, leaves, winner_of).build()


class _Builder:
    """Collects jobs while it walks the expressions. Every method may be called twice with equal arguments."""

    def __init__(
        self,
        study: Study,
        splits: Mapping[Split, SplitRecord],
        leaves: Mapping[Leaf, LeafRecord],
        winner_of: WinnerOf,
    ) -> None:
        self.study = study
        self.splits = splits
        self.leaves = leaves
        self.winner_of = winner_of
        self.jobs: dict[str, Job] = {}
        self.artifacts: dict[Model, str] = {}
        self._resolved: dict[Model, Model] = {}
        self._forms: dict[Model, Any] = {}
        self._distributions: dict[Distribution, Any] = {}
        self._predictions: dict[tuple[Model, Distribution], str] = {}

    def build(self) -> Plan:
        planned = []
        for named in self.study.models:
            model = self.resolve(named.expression)
            predictions = {name: self.predict(model, where) for name, where in self.study.evaluated()}
            scores = {name: self.score(key) for name, key in predictions.items()}
            form = self.form(model)
            key = form["artifact"] if set(form) == {"artifact"} else digest(form)
            planned.append(PlannedModel(named, model, key, predictions, scores, _is_deferred(model)))
        return Plan(self.study, self.jobs, tuple(planned), self.artifacts)

    def resolve(self, model: Model) -> Model:
        """Put the winner in the place of every selection that has been made."""
        if model not in self._resolved:
            below = map_children(model, self.resolve)
            self._resolved[model] = self._winner(below) if isinstance(below, (Best, Replicate)) else below
        return self._resolved[model]

    def _winner(self, model: Best | Replicate) -> Model:
        if isinstance(model, Replicate):
            # The Best below has been replaced by its winner where that is known.
            return model if isinstance(model.of, Best) else with_seed(model.of, model.seed)
        if any(_is_deferred(candidate) for candidate in model.candidates):
            return model
        position = self.winner_of(self.select(model))
        return model if position is None else model.candidates[position]

    # ---- jobs ------------------------------------------------------------------------------------------------------

    def add(self, kind: str, fields: dict[str, Any], parents: list[str], label: str, **of: Any) -> str:
        """Make the job whose identity is `fields` and its parents, unless it is there already."""
        document = {
            "schema": SCHEMA, "kind": kind, "revision": REVISIONS[kind], "parents": sorted(set(parents)), **fields,
        }  # fmt: skip
        key = digest(document)
        if key not in self.jobs:
            self.jobs[key] = Job(key, kind, document, tuple(dict.fromkeys(parents)), label, **of)
        return key

    def artifact(self, model: Model) -> str:
        """Return the key of the job that makes the weights of a trained, probed or zero-shot model."""
        if model in self.artifacts:
            return self.artifacts[model]
        kind = {ZeroShot: "zero-shot", LinearProbe: "probe"}.get(type(model), "train")
        distribution = None if kind == "zero-shot" else getattr(model, "train_on", None) or self.study.reference.train
        classes = self.splits[(distribution or self.study.reference.train).source].classes
        fields: dict[str, Any] = {
            "declaration": canonical(model, substitute=lambda below: self._substitute(below, model)),
            "classes": list(classes) if kind == "zero-shot" else len(classes),
        }
        if isinstance(model, ZeroShot) and model.classes is not None:
            fields["classes"] = len(classes)
        if distribution is not None:
            fields["declaration"]["train_on"] = self.distribution(distribution)
            fields["data"] = self._fingerprints(distribution)
        key = self.add(
            kind, fields, self._parents(getattr(model, "init", None)), describe(model),
            model=model, distribution=distribution, deferred=_is_deferred(model),
        )  # fmt: skip
        self.artifacts[model] = key
        return key

    def predict(self, model: Model, distribution: Distribution) -> str:
        pair = (model, distribution)
        if pair not in self._predictions:
            fields = {
                "model": self.form(model),
                "distribution": self.distribution(distribution),
                "data": self._fingerprints(distribution),
            }
            self._predictions[pair] = self.add(
                "predict", fields, self._parents(model), f"{describe(model)} on {distribution}",
                model=model, distribution=distribution, deferred=_is_deferred(model),
            )  # fmt: skip
        return self._predictions[pair]

    def score(self, prediction: str) -> str:
        job = self.jobs[prediction]
        return self.add(
            "score", {"metric": "accuracy"}, [prediction], job.label,
            model=job.model, distribution=job.distribution, deferred=job.deferred,
        )  # fmt: skip

    def select(self, model: Best) -> str:
        where = self.study.reference.val
        scores = [self.score(self.predict(candidate, where)) for candidate in model.candidates]
        fields = {"candidates": scores, "rule": "highest accuracy, first of ties"}
        return self.add(
            "select", fields, scores, describe(model), model=model, distribution=where,
            deferred=any(_is_deferred(candidate) for candidate in model.candidates),
        )  # fmt: skip

    # ---- forms -----------------------------------------------------------------------------------------------------

    def form(self, model: Model) -> dict[str, Any]:
        """Return what stands for a model in a document: the key of its weights, or an operation on such keys."""
        if model not in self._forms:
            self._forms[model] = self._form(model)
        return self._forms[model]

    def _form(self, model: Model) -> dict[str, Any]:
        if isinstance(model, Checkpoint):
            return {"artifact": self.artifact(model.run), "epoch": model.epoch}
        if isinstance(model, Interpolate):
            return {
                "type": "interpolate", "alpha": model.alpha, "start": self.form(model.start), "end": self.form(model.end),
            }  # fmt: skip
        if isinstance(model, Best):
            return {"best": self.select(model)}
        if isinstance(model, Replicate):
            return {"replicate": self.select(model.of), "seed": model.seed}
        return {"artifact": self.artifact(model)}

    def _substitute(self, value: Declaration, top: Model) -> Any:
        if value is top:
            return None
        if isinstance(value, Model):
            return self.form(value)
        if isinstance(value, Leaf):
            record = self.leaves[value]
            return record.architecture_identity() if isinstance(top, FromScratch) else record.identity()
        if isinstance(value, Distribution):
            return self.distribution(value)
        return None

    def distribution(self, distribution: Distribution) -> Any:
        if distribution not in self._distributions:
            self._distributions[distribution] = canonical(distribution)
        return self._distributions[distribution]

    def _fingerprints(self, distribution: Distribution) -> dict[str, str]:
        return {str(distribution.source): self.splits[distribution.source].fingerprint}

    def _parents(self, model: Model | Leaf | None) -> list[str]:
        """Keys of the jobs whose outputs are read to get a model's weights."""
        if model is None or isinstance(model, Leaf):
            return []
        if isinstance(model, Checkpoint):
            return [self.artifact(model.run)]
        if isinstance(model, Interpolate):
            return [*self._parents(model.start), *self._parents(model.end)]
        if isinstance(model, Best):
            return [self.select(model)]
        if isinstance(model, Replicate):
            return [self.select(model.of)]
        if isinstance(model, (ZeroShot, FromScratch, FineTune, LinearProbe)):
            return [self.artifact(model)]
        raise PlanError(f"{type(model).__name__} cannot be planned: expected one of the recipes of shiftline.")


def _is_deferred(model: Model | Leaf) -> bool:
    """Some selection in the expression has not been made."""
    if isinstance(model, (Best, Replicate)):
        return True
    return not isinstance(model, Leaf) and any(_is_deferred(child) for child in children(model))
