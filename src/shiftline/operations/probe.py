"""Heads that are fitted on cached features: linear probes, and last-layer re-weighting (DFR)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from shiftline.contracts.backbones import Backbone
from shiftline.contracts.distributions import Distribution
from shiftline.contracts.formulas import Formula
from shiftline.contracts.models import Model, describe, map_children
from shiftline.contracts.reference import Reference
from shiftline.contracts.require import require_at_least, require_choice, require_positive
from shiftline.errors import DataError, DeclarationError
from shiftline.operations.features import Features
from shiftline.operations.start import check_start, encoder_from, features_from, require_start, require_train_on, set_features

if TYPE_CHECKING:
    import numpy as np

    from shiftline.contracts.models import Cut, Shrink
    from shiftline.engine.cached_features import CachedFeatures
    from shiftline.engine.context import Context
    from shiftline.plan.facts import Facts, Head
    from shiftline.plan.graph import Planner
    from shiftline.plan.jobs import Job
    from shiftline.store.artifacts import Draft


class LinearProbe(Model):
    """Fit only a linear head, by L2-regularised logistic regression on standardised features (scikit-learn).

    Features are computed once; the solution is unique, so there is no seed.

    Parameters
    ----------
    init : Model or Backbone
        Whose encoder is kept.
    inverse_l2 : float
        scikit-learn's C, above 0.
    max_iterations : int
        Of the solver, 1 or more.
    features : str, optional
        What the head sees: "keep", "backbone" (before a vision-language model's projection) or "embedding" (after it, scaled to
        length one). Unless given: "keep" for a model; "backbone" for a backbone.
    train_on : Distribution, optional
        The reference's train split unless given. Anything but (a subset of) it needs ``other_data=True``.
    other_data : bool
        The fit reads other data than the reference's train split: marked in every table, refused as baseline.
    """

    tag = "linear-probe"
    kind = "probe"
    unspoken = ("other_data", "features")
    init: Model | Backbone
    _: dataclasses.KW_ONLY
    inverse_l2: float = 1.0
    max_iterations: int = 1000
    features: str | None = None
    train_on: Distribution | None = None
    other_data: bool = False

    def validate(self) -> None:
        name = type(self).__name__
        require_start(self)
        set_features(self, new_head=True)
        require_train_on(self)
        require_positive(f"{name}.inverse_l2", self.inverse_l2)
        require_at_least(f"{name}.max_iterations", self.max_iterations, 1)

    def settings(self) -> Iterator[str]:
        yield from super().settings()
        if self.features != "keep":
            yield f"features={self.features}"

    def data(self, reference: Reference) -> Mapping[str, Distribution]:
        return {"train_on": self.train_on or reference.training}

    def seeded(self, seed: int) -> Model:
        return self

    def describe(self) -> str:
        return super().describe() + (" [reads other data]" if self.other_data else "")

    def check(self, facts: Facts) -> None:
        check_start(self, facts)

    def features_seen(self, facts: Facts) -> str:
        return features_from(self, facts)

    def head_made(self, facts: Facts) -> Head:
        return facts.new_head()

    def identity(self, facts: Facts) -> dict[str, Any]:
        (train_on,) = self.data(facts.reference).values()
        return {"classes": len(facts.source(train_on).classes)}

    def inputs(self, planner: Planner) -> dict[str, list[str]]:
        (train_on,) = self.data(planner.study.reference).values()
        return {"features": [planner.artifact(Features(self.init, str(self.features), train_on))]}

    def encoder_identity(self) -> tuple[object, ...]:
        return encoder_from(self)

    def shrunken(self, shrink: Shrink, cut: Cut) -> Model:
        own = cut(self.train_on) if self.other_data and self.train_on is not None else None
        return map_children(self, shrink).replace(train_on=own)  # type: ignore[no-any-return]

    def example_weights(self, found: CachedFeatures, job: Job, context: Context) -> np.ndarray | None:
        """Return what each example counts in the fit; None where all count the same."""
        return None

    def produce(self, job: Job, draft: Draft, context: Context) -> None:
        """Fit the head and write it with the encoder that it was fitted on."""
        import torch

        from shiftline.contracts.files import WEIGHTS
        from shiftline.data.views import open_view
        from shiftline.engine.cached_features import cached
        from shiftline.engine.heads import fit_head
        from shiftline.engine.initial import initial_classifier
        from shiftline.networks.classifier import set_head
        from shiftline.networks.spec import save_model

        found = cached(job, context)
        assert found is not None
        assert job.distribution is not None
        view = open_view(job.distribution, context.data, fingerprint=job.fingerprint(job.distribution))
        weights = self.example_weights(found, job, context)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            classifier, spec = initial_classifier(
                self.init, context, num_classes=len(view.classes), features=str(self.features), new_head=True
            )
        weight, bias, converged = fit_head(
            found.features.double().numpy(),
            found.labels.numpy(),
            num_classes=len(view.classes),
            inverse_l2=self.inverse_l2,
            max_iterations=self.max_iterations,
            weights=weights,
        )
        set_head(classifier, torch.from_numpy(weight), torch.from_numpy(bias))
        save_model(draft.folder / WEIGHTS, classifier.state_dict(), spec)
        draft.summary.update(examples=len(view), converged=converged)


class DFR(LinearProbe):
    """Deep feature re-weighting (Kirichenko et al. 2023): fit the last layer again, every group counting the same.

    Features are standardised, example weights are ``n / (G * n_g)``, and the head is an L2-regularised logistic regression;
    the scaler is folded into it.

    Parameters
    ----------
    init : Model or Backbone
        Whose encoder is kept.
    inverse_l2 : float
        scikit-learn's C, above 0.
    groups : str
        "class", or "metadata": the group that the data were written with (a WILDS set's metadata), times the class.
    max_iterations, features, train_on, other_data
        As in `LinearProbe`: iterations of the solver, 1 or more; what the head sees; the data that it is fitted on, which have to
        be (a subset of) the reference's train split unless `other_data` is set.
    """

    tag = "dfr"
    kind = "dfr"
    formula = Formula(
        "logistic regression on standardised features, weights n / (G n_g)",
        "Kirichenko et al. 2023",
        "features",
        "classes without examples are never predicted",
    )
    _: dataclasses.KW_ONLY
    inverse_l2: float = 0.2
    groups: str = "class"

    @property
    def reads_metadata(self) -> bool:
        return self.groups == "metadata"

    def validate(self) -> None:
        require_choice("DFR.groups", self.groups, ("class", "metadata"))
        super().validate()

    def check(self, facts: Facts) -> None:
        super().check(facts)
        if self.groups == "metadata":
            (train_on,) = self.data(facts.reference).values()
            facts.require_grouped(describe(self), train_on)
        elif len(facts.classes) < 2:
            raise DeclarationError(f"{describe(self)}: re-weighting groups needs two classes or more.")

    def example_weights(self, found: CachedFeatures, job: Job, context: Context) -> np.ndarray:
        """Return weights under which every group counts the same.

        Raises
        ------
        DataError
            The data were written without groups, or again with others.
        """
        import numpy as np

        from shiftline.data.views import groups_of
        from shiftline.engine.heads import group_weights

        assert job.distribution is not None
        source, labels = job.distribution.source, found.labels.numpy()
        now = context.data.open(source).record.metadata
        if job.document.get("metadata", [now]) != [now]:
            raise DataError(f"{source} was written again with other groups since the study was planned: run the study again.")
        if self.groups == "class":
            return group_weights(labels)
        said = groups_of(context.data, source)[found.ids.numpy()]
        return group_weights(np.array([f"{label} {group}" for label, group in zip(labels, said, strict=True)]))
