"""From a study to its jobs: a pure function of the declaration and of the records of data, leaves and selections."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from shiftline.declare.architectures import Leaf
from shiftline.declare.distributions import Distribution, Split
from shiftline.declare.expressions import Model, children, describe, map_children
from shiftline.declare.metrics import WILDS, reads_metadata
from shiftline.declare.output_space import Ensemble
from shiftline.declare.recipes import Stored, ZeroShot, cached_features
from shiftline.declare.study import Study
from shiftline.declare.support import SupportModel
from shiftline.declare.sweeps import Best, HeldOut, Unresolved
from shiftline.declare.training import Checkpoint, FromScratch
from shiftline.declare.weight_space import FisherAverage, GreedySoup
from shiftline.errors import PlanError
from shiftline.identity import SCHEMA, Declaration, canonical, digest
from shiftline.plan.checks import check_predicted, check_study, metrics_of, reads_other_data
from shiftline.plan.jobs import REVISIONS, Job, Plan, PlannedModel, PlannedScore
from shiftline.plan.records import LeafRecord, SplitRecord, data_identity
from shiftline.plan.spaces import Projection, scorings

READ_BY_NAME = ("train", "own", "batch-norm", "domain-tuning", "domain-fold")
"""Kinds of jobs whose images come through the training reader."""
WinnerOf = Callable[[str], int | None]
"""From the key of a select job to the position of its winner, or None while it has not been made."""


def build_plan(
    study: Study,
    *,
    splits: Mapping[Split, SplitRecord],
    leaves: Mapping[Leaf | Stored, LeafRecord],
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


def final_keys(
    job: Job,
    study: Study,
    *,
    splits: Mapping[Split, SplitRecord],
    leaves: Mapping[Leaf | Stored, LeafRecord],
    winner_of: WinnerOf,
) -> list[str]:
    """Return the keys that a job with a provisional key has once selections are known, in the order in which they are made.

    None where the winner is a model that other jobs make; several for a replicate, whose trainings are known only then.
    """
    builder = _Builder(study, splits, leaves, winner_of)
    model = job.model
    assert model is not None
    if isinstance(model, Best) and job.kind == "select":
        below = map_children(model, builder.resolve)
        assert isinstance(below, Best)
        return [builder.select(below)]
    resolved = builder.resolve(model)
    if job.kind == "replicate":
        before = set(builder.jobs)
        builder.form(resolved)
        return [key for key in builder.jobs if key not in before]
    if job.kind in ("predict", "ensemble", "score"):
        assert job.distribution is not None
        prediction, document = builder.predict(resolved, job.distribution), job.document
        if job.kind != "score":
            return [prediction]
        return [builder.score(prediction, document["metric"], job.projection, document.get("part"))]
    return [builder.artifact(resolved)] if resolved.makes is not None else []


class _Builder:
    """Collects jobs while it walks the expressions. Every method may be called twice with equal arguments."""

    def __init__(
        self,
        study: Study,
        splits: Mapping[Split, SplitRecord],
        leaves: Mapping[Leaf | Stored, LeafRecord],
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
        self._deferred: dict[Model, bool] = {}
        self._distributions: dict[Distribution, Any] = {}
        self._predictions: dict[tuple[Model, Distribution], str] = {}
        self.scorings = scorings(study, splits)

    def build(self) -> Plan:
        planned = []
        for named in self.study.models:
            model = self.resolve(named.expression)
            predictions = {name: self.predict(model, where.predicted) for name, where in self.study.evaluated()}
            scores = tuple(self.scores(predictions))
            form = self.form(model)
            key = form["artifact"] if set(form) == {"artifact"} else digest(form)
            other_data = reads_other_data(named.expression, self.study.reference, self.leaves)
            planned.append(PlannedModel(named, model, key, predictions, scores, self.deferred(model), other_data))
        return Plan(self.study, self.jobs, tuple(planned), self.artifacts)

    def resolve(self, model: Model) -> Model:
        """Put the winner in the place of every selection that has been made."""
        if model not in self._resolved:
            below = map_children(model, self.resolve)
            self._resolved[model] = self._winner(below) if isinstance(below, (Best, Unresolved)) else below
        return self._resolved[model]

    def _winner(self, model: Best | Unresolved) -> Model:
        if isinstance(model, Unresolved):
            # The selection below has been replaced by its winner where that is known.
            return model if self.deferred(model.of) else model.resolved(model.of)
        if any(self.deferred(below) for below in children(model)):
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
        """Return the key of the job that makes a model's weights (or features, or Fisher information)."""
        if model in self.artifacts:
            return self.artifacts[model]
        kind, reference = model.makes, self.study.reference
        if kind is None:
            raise PlanError(
                f"{type(model).__name__} cannot be planned: it makes nothing and is no operation of shiftline."
            )
        data = model.data(reference)
        declaration = canonical(model, substitute=lambda below: self._substitute(below, model))
        declaration.update({name: self.distribution(d) for name, d in data.items() if name in declaration})
        fields: dict[str, Any] = {"declaration": declaration, **self._classes(model, data)}
        if data:
            fields["data"] = self._fingerprints(*data.values())
        if isinstance(model, SupportModel):
            # Which classes the shift has decides which reference examples are looked at.
            fields["classes"] = [digest(list(self.splits[d.source].ids)) for d in data.values()]
        if getattr(model, "groups", None) == "metadata":
            fields["metadata"] = [self.splits[d.source].metadata for d in data.values()]
        if self.study.reader != "auto" and kind in READ_BY_NAME and data:
            # Readers differ by some grey levels: weights that were asked for of one are not those of another.
            fields["reader"] = self.study.reader
        parents = [key for child in children(model) for key in self._parents(child)]
        for name, keys in self._inputs(model).items():
            fields[name] = keys
            parents += keys
        key = self.add(
            kind, fields, parents, describe(model), model=model, distribution=next(iter(data.values()), None),
            deferred=self.deferred(model),
        )  # fmt: skip
        self.artifacts[model] = key
        return key

    def _classes(self, model: Model, data: Mapping[str, Distribution]) -> dict[str, Any]:
        if model.makes not in ("zero-shot", "published", "train", "probe", "dfr", "own"):
            return {}
        where = next((distribution.source for distribution in data.values()), self.study.reference.labelled)
        names = self.splits[where].classes
        if isinstance(model, ZeroShot):
            return {"classes": list(names) if model.classes is None else len(model.classes)}
        return {"classes": len(names)}

    def _inputs(self, model: Model) -> dict[str, list[str]]:
        """Return the keys of what a job reads besides weights and data, by what it is."""
        reference = self.study.reference
        if (features := cached_features(model, reference)) is not None:
            return {"features": [self.artifact(features)]}
        if isinstance(model, GreedySoup):
            where = model.on or reference.selection
            return {"scores": [self.score(self.predict(member, where)) for member in model.members]}
        if isinstance(model, FisherAverage):
            made = [self.artifact(fisher) for fisher in model.fishers(reference)]
            return {"fishers": made or list(model.estimates)}
        return {}

    def predict(self, model: Model, distribution: Distribution) -> str:
        pair = (model, distribution)
        if pair not in self._predictions:
            check_predicted(model, distribution, self.study, self.splits, self.leaves)
            label = f"{describe(model)} on {distribution}"
            if isinstance(model, Ensemble):
                kind, parents = "ensemble", [self.predict(member, distribution) for member in model.members]
                fields: dict[str, Any] = {"members": parents, "weights": list(model.weights), "space": model.space}
            else:
                kind, parents = "predict", self._parents(model)
                fields = {
                    "model": self.form(model), "distribution": self.distribution(distribution),
                    "data": self._fingerprints(distribution),
                }  # fmt: skip
            self._predictions[pair] = self.add(
                kind, fields, parents, label, model=model, distribution=distribution, deferred=self.deferred(model)
            )
        return self._predictions[pair]

    def scores(self, predictions: Mapping[str, str]) -> Iterator[PlannedScore]:
        """Yield every number of a model: on each distribution, and on the reference in the label space of each shift."""
        seen: set[tuple[str, str, str]] = set()
        sources = {name: where.source for name, where in self.study.evaluated()}
        parts = {
            name: self.artifact(where.support) for name, where in self.study.evaluated() if where.support is not None
        }
        for name, scoring in self.scorings.items():
            asked = [(name, scoring.own)]
            if scoring.reference is not None:
                asked.append(("reference", scoring.reference))
            for where, projection in asked:
                classes = None if projection is None else projection.count
                metrics = metrics_of(self.splits[sources[where]], self.study.metrics, classes=classes)
                if projection is not None:
                    # Official evaluations know their own classes only.
                    metrics = tuple(metric for metric in metrics if not metric.startswith(WILDS))
                primary = metrics[0]
                for metric in metrics:
                    if (where, scoring.space, metric) not in seen:
                        seen.add((where, scoring.space, metric))
                        key = self.score(predictions[where], metric, projection, parts.get(where))
                        yield PlannedScore(where, metric, scoring.space, metric == primary, key)

    def score(
        self, prediction: str, metric: str = "accuracy", projection: Projection | None = None, part: str | None = None
    ) -> str:
        """Return the key of a score; with the key of a part, of its examples only."""
        job = self.jobs[prediction]
        fields: dict[str, Any] = {"metric": metric} | ({} if part is None else {"part": part})
        if projection is not None:
            fields["space"] = projection.identity()
        if reads_metadata(metric):
            assert job.distribution is not None
            fields["metadata"] = self.splits[job.distribution.source].metadata
        return self.add(
            "score", fields, [prediction, *([] if part is None else [part])], job.label,
            model=job.model, distribution=job.distribution, deferred=job.deferred, projection=projection,
        )  # fmt: skip

    def select(self, model: Best) -> str:
        where = model.on or (HeldOut(self.study.reference.selection),)
        scores = [
            [self.score(self.predict(held.variant(candidate), held.distribution), model.metric) for held in where]
            for candidate in model.candidates
        ]
        fields = {"candidates": scores, "rule": model.rule, "metric": model.metric}
        parents = [key for row in scores for key in row]
        return self.add(
            "select", fields, parents, describe(model), model=model, distribution=where[0].distribution,
            deferred=any(self.deferred(below) for below in children(model)),
        )  # fmt: skip

    # ---- forms -----------------------------------------------------------------------------------------------------

    def form(self, model: Model) -> dict[str, Any]:
        """Return what stands for a model in a document: the key of its weights, or an operation on such keys."""
        if model not in self._forms:
            self._forms[model] = self._form(model)
        return self._forms[model]

    def _form(self, model: Model) -> dict[str, Any]:
        if isinstance(model, Checkpoint):
            return {"artifact": self.artifact(model.run), model.run.unit: model.after}
        if isinstance(model, Stored):
            return {"artifact": model.key} | ({} if model.after is None else {model.unit: model.after})
        if isinstance(model, Best):
            return {"select": self.select(model)}
        if model.makes is not None:
            return {"artifact": self.artifact(model)}
        return canonical(model, substitute=lambda below: self._substitute(below, model))  # type: ignore[no-any-return]

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

    def _fingerprints(self, *distributions: Distribution) -> dict[str, str]:
        return {str(d.source): data_identity(d, self.splits[d.source]) for d in distributions}

    def _parents(self, model: Model) -> list[str]:
        """Return the keys of the jobs whose outputs are read to get a model's weights."""
        if isinstance(model, Checkpoint):
            return [self.artifact(model.run)]
        if isinstance(model, Stored):
            return [model.key]
        if isinstance(model, Best):
            return [self.select(model)]
        if isinstance(model, Unresolved):
            return [self._placeholder(model)]
        if model.makes is not None:
            return [self.artifact(model)]
        return [key for child in children(model) for key in self._parents(child)]

    def _placeholder(self, model: Unresolved) -> str:
        """Return the key of what stands for trainings of a winner that is not known yet."""
        below: Model = model
        while isinstance(below, Unresolved):
            below = below.of  # What lies between is no model of its own.
        return self.add(
            "replicate", {"recipe": describe(model)}, self._parents(below), describe(model), model=model, deferred=True
        )

    def deferred(self, model: Model) -> bool:
        """Some selection in the expression has not been made."""
        if model not in self._deferred:
            selection = isinstance(model, (Best, Unresolved))
            self._deferred[model] = selection or any(self.deferred(child) for child in children(model))
        return self._deferred[model]
