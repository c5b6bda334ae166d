"""From a study to its jobs: a pure function of the declaration and of the records of data, backbones and selections."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from shiftline.contracts.backbones import Backbone
from shiftline.contracts.distributions import Distribution
from shiftline.contracts.identity import SCHEMA, Declaration, canonical, digest
from shiftline.contracts.metrics import Metric, accuracy
from shiftline.contracts.models import Model, children, describe, map_children
from shiftline.contracts.records import data_identity
from shiftline.errors import PlanError
from shiftline.plan.checks import check_study, metrics_of
from shiftline.plan.facts import Facts
from shiftline.plan.jobs import PREDICT, REPLICATE, SCORE, Job, Plan, PlannedModel, PlannedScore
from shiftline.plan.spaces import Projection, scorings

WinnerOf = Callable[[str], int | None]
"""From the key of a selection's job to the index of its winner, or None while it has not been made."""


def build_plan(facts: Facts, *, winner_of: WinnerOf = lambda key: None) -> Plan:
    """Lay out every job that a study needs.

    Raises
    ------
    DeclarationError, PlanError
        The study cannot be carried out: found here, before any time is spent.
    """
    check_study(facts)
    return Planner(facts, winner_of).build()


def final_keys(job: Job, facts: Facts, *, winner_of: WinnerOf) -> list[str]:
    """Return the keys that a job with a provisional key has once selections are known, in the order in which they are made.

    None where the winner is a model that other jobs make; several for a replicate, whose trainings are known only then.
    """
    planner = Planner(facts, winner_of)
    model = job.model
    assert model is not None
    if job.kind == REPLICATE:
        before = set(planner.jobs)
        planner.form(planner.resolve(model))
        return [key for key in planner.jobs if key not in before]
    if job.distribution is not None and job.is_evaluation:
        prediction = planner.predict(planner.resolve(model), job.distribution)
        if job.metric is None:
            return [prediction]
        return [planner.score(prediction, job.metric, job.projection, job.document.get("subset"))]
    return planner.artifacts_of(model)


class Planner:
    """Collects jobs while it walks the expressions, and asks each what it needs. Every method may be called twice."""

    def __init__(self, facts: Facts, winner_of: WinnerOf) -> None:
        self.facts = facts
        self.study = facts.study
        self.winner_of = winner_of
        self.jobs: dict[str, Job] = {}
        self.artifacts: dict[Model, str] = {}
        self._resolved: dict[Model, Model] = {}
        self._forms: dict[Model, dict[str, Any]] = {}
        self._deferred: dict[Model, bool] = {}
        self._distributions: dict[Distribution, Any] = {}
        self._predictions: dict[tuple[Model, Distribution], str] = {}

    def build(self) -> Plan:
        """Return the plan of the study."""
        planned = []
        spaces = scorings(self.study, self.facts.splits)
        for named in self.study.models:
            model = self.resolve(named.expression)
            predictions = {name: self.predict(model, where.predicted) for name, where in self.study.evaluated()}
            scores = tuple(self._scores(predictions, spaces))
            form = self.form(model)
            key = form["artifact"] if set(form) == {"artifact"} else digest(form)
            other_data = self.facts.reads_other_data(named.expression)
            unverified = not self.facts.head(model).is_verified
            planned.append(
                PlannedModel(
                    named, model, key, form.get("artifact", ""), predictions, scores, self.deferred(model), other_data, unverified
                )
            )
        return Plan(self.facts, self.jobs, tuple(planned), self.artifacts)

    # ---- selections --------------------------------------------------------------------------------------------------

    def resolve(self, model: Model) -> Model:
        """Put the winner in the place of every selection that has been made."""
        if model not in self._resolved:
            self._resolved[model] = map_children(model, self.resolve).resolve(self)
        return self._resolved[model]

    def deferred(self, model: Model) -> bool:
        """Some selection in the expression has not been made."""
        if model not in self._deferred:
            self._deferred[model] = model.is_open or any(self.deferred(child) for child in children(model))
        return self._deferred[model]

    def artifacts_of(self, model: Model) -> list[str]:
        """Return the keys of what a job of a model makes now that selections are known."""
        below = map_children(model, self.resolve)
        if below.is_open:
            return below.parents(self)
        return [self.artifact(below)] if below.kind is not None else []

    def placeholder(self, model: Model, parents: list[str]) -> str:
        """Return the key of what stands for trainings of a winner that is not known yet; nothing is stored under it."""
        return self.add(REPLICATE, 1, {"recipe": describe(model)}, parents, describe(model), model=model, deferred=True)

    # ---- jobs --------------------------------------------------------------------------------------------------------

    def add(self, kind: str, revision: int, fields: dict[str, Any], parents: list[str], label: str, **of: Any) -> str:
        """Make the job whose identity is `fields` and its parents, unless it is there already."""
        document = {"schema": SCHEMA, "kind": kind, "revision": revision, "parents": sorted(set(parents)), **fields}
        key = digest(document)
        if key not in self.jobs:
            self.jobs[key] = Job(key, kind, document, tuple(dict.fromkeys(parents)), label, **of)
        return key

    def artifact(self, model: Model) -> str:
        """Return the key of the job that makes a model's weights (or features, or Fisher information)."""
        if model in self.artifacts:
            return self.artifacts[model]
        if model.kind is None:
            raise PlanError(
                f"{type(model).__name__} cannot be planned: it makes nothing. Give the class a kind and a method "
                "produce(job, draft, context), or a method compute(cache)."
            )
        data = model.data(self.study.reference)
        declaration = self.canonical(model)
        fields: dict[str, Any] = {"declaration": {n: v for n, v in declaration.items() if n not in data}}
        fields |= model.identity(self.facts)
        if data:
            fields["data"] = self._data(data)
        if model.reads_metadata:
            fields["metadata"] = [self.facts.source(d).metadata for d in data.values()]
        if self.study.reader != "auto" and model.reads_images and data:
            # Readers differ by some grey levels: weights that were requested of one are not those of another.
            fields["reader"] = self.study.reader
        parents = [key for child in children(model) for key in child.parents(self)]
        for name, keys in model.inputs(self).items():
            fields[name] = keys
            parents += keys
        self.artifacts[model] = self.add(
            model.kind,
            type(model).revision,
            fields,
            parents,
            describe(model),
            model=model,
            distribution=next(iter(data.values()), None),
            deferred=self.deferred(model),
            shared=model.shared,
        )
        return self.artifacts[model]

    def predict(self, model: Model, distribution: Distribution) -> str:
        """Return the key of a model's prediction on a distribution."""
        if (model, distribution) not in self._predictions:
            self._predictions[model, distribution] = model.prediction(self, distribution)
        return self._predictions[model, distribution]

    def predict_network(self, model: Model, distribution: Distribution) -> str:
        """Return the key of a prediction that runs a model's network."""
        self.facts.require_predictable(model, distribution)
        fields: dict[str, Any] = {"model": self.form(model), "data": self._data({"on": distribution})}
        # As everywhere in keys, the default is left out.
        if (precision := self.facts.study.precision) != "32":
            fields["precision"] = precision
        return self._evaluation(PREDICT, 3, fields, model.parents(self), model, distribution, shared=True)

    def predict_from(self, model: Model, members: Sequence[Model], distribution: Distribution, fields: dict[str, Any]) -> str:
        """Return the key of a prediction that is computed from those of some members, by the model's `produce`."""
        keys = [self.predict(member, distribution) for member in members]
        fields = {"members": keys, **fields}
        return self._evaluation(model.prediction_kind, type(model).revision, fields, keys, model, distribution, light=True)

    def score(
        self, prediction: str, metric: Metric | None = None, projection: Projection | None = None, subset: str | None = None
    ) -> str:
        """Return the key of a score; with the key of a subset by support, of its examples only."""
        job, metric = self.jobs[prediction], metric or accuracy()
        assert job.model is not None
        assert job.distribution is not None
        fields: dict[str, Any] = {"metric": canonical(metric)} | ({} if subset is None else {"subset": subset})
        if projection is not None:
            fields["space"] = projection.identity()
        if metric.reads_metadata:
            fields["metadata"] = self.facts.source(job.distribution).metadata
        parents = [prediction, *([] if subset is None else [subset])]
        return self._evaluation(
            SCORE, 4, fields, parents, job.model, job.distribution, light=True, projection=projection, metric=metric
        )

    def select(self, model: Model, scores: list[list[str]], where: Distribution, fields: dict[str, Any]) -> str:
        """Return the key of the job by which a model finds its winner, from the scores of its candidates."""
        assert model.kind is not None
        return self.add(
            model.kind,
            type(model).revision,
            {"candidates": scores, **fields},
            [key for row in scores for key in row],
            describe(model),
            model=model,
            distribution=where,
            deferred=any(self.deferred(below) for below in children(model)),
            light=True,
        )

    def _evaluation(
        self,
        kind: str,
        revision: int,
        fields: dict[str, Any],
        parents: list[str],
        model: Model,
        distribution: Distribution,
        **of: Any,
    ) -> str:
        label = f"{describe(model)} on {distribution}"
        of |= {"model": model, "distribution": distribution, "deferred": self.deferred(model), "is_evaluation": True}
        return self.add(kind, revision, fields, parents, label, **of)

    def _scores(self, predictions: Mapping[str, str], spaces: Mapping[str, Any]) -> Iterator[PlannedScore]:
        """Yield every number of a model: on each distribution, and on all references in the label space of each shift."""
        seen: set[tuple[str, str, Metric]] = set()
        sources = {name: where.source for name, where in self.study.evaluated()}
        subsets = {name: self.artifact(where.support) for name, where in self.study.evaluated() if where.support is not None}
        for name, scoring in spaces.items():
            wanted = [(name, scoring.own)]
            if scoring.reference is not None:
                wanted += [(reference, scoring.reference) for reference in ("reference", *dict(self.study.references))]
            for where, projection in wanted:
                classes = None if projection is None else projection.count
                metrics = metrics_of(self.facts.splits[sources[where]], self.study.metrics, classes=classes)
                if projection is not None:
                    # Official evaluations know their own classes only.
                    metrics = tuple(metric for metric in metrics if not metric.own_classes_only)
                primary = metrics[0]
                for metric in metrics:
                    if (where, scoring.space, metric) not in seen:
                        seen.add((where, scoring.space, metric))
                        key = self.score(predictions[where], metric, projection, subsets.get(where))
                        yield PlannedScore(where, metric, scoring.space, metric == primary, key)

    # ---- canonical forms ---------------------------------------------------------------------------------------------

    def form(self, model: Model) -> dict[str, Any]:
        """Return what stands for a model in a document: the key of its weights, or an operation on such keys."""
        if model not in self._forms:
            self._forms[model] = model.form(self)
        return self._forms[model]

    def canonical(self, model: Model) -> dict[str, Any]:
        """Return the canonical form of a model with what stands for the models, backbones and distributions below it."""

        def substitute(value: Declaration) -> Any:
            if value is model:
                return None
            if isinstance(value, Model):
                return self.form(value)
            if isinstance(value, Backbone):
                record = self.facts.backbones[value]
                return record.identity() if model.needs_weights else record.architecture_identity()
            return self._distribution(value) if isinstance(value, Distribution) else None

        return canonical(model, substitute=substitute)  # type: ignore[no-any-return]

    def _distribution(self, distribution: Distribution) -> Any:
        if distribution not in self._distributions:
            self._distributions[distribution] = canonical(distribution)
        return self._distributions[distribution]

    def _data(self, data: Mapping[str, Distribution]) -> dict[str, Any]:
        """Return what a job reads: by role, the distribution and the fingerprint of its source."""
        return {
            role: {"of": self._distribution(d), "fingerprint": data_identity(d, self.facts.source(d))} for role, d in data.items()
        }
