"""Users' own operations on weights: declare the members, write the formula; the rest is checked and done for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from shiftline.contracts.models import Model
from shiftline.contracts.require import require
from shiftline.operations.weight_space import WeightOperation, require_members

if TYPE_CHECKING:
    from torch import Tensor

    from shiftline.engine.context import Context
    from shiftline.plan.facts import Facts
    from shiftline.plan.jobs import Job
    from shiftline.store.artifacts import Draft


class Merge(WeightOperation):
    """Base of users' own operations on weights, made by a job of their own.

    A subclass sets a `tag`, a `revision` and fields besides `members`, and defines `merge`. Planning refuses members that differ in
    architecture, features, preprocessing, classes or templates; a run first tries `merge` on random tensors of the members' names
    and numbers of dimensions (large ones are cut), so that a mistake is found before anything is trained.

    Parameters
    ----------
    members : sequence of Model
        Two or more; a base model that others start from stands first, as a rule.
    """

    kind = "merge"
    members: tuple[Model, ...]

    def validate(self) -> None:
        require_members(type(self).__name__, self.members)
        require(
            type(self).merge is not Merge.merge,
            f"the merge {type(self).__name__} has no merge method: write def merge(self, states) and return a tensor for each name "
            "of states[0].",
        )

    @property
    def mixed(self) -> tuple[Model, ...]:
        return self.members

    def merge(self, states: Sequence[Mapping[str, Tensor]]) -> Mapping[str, Tensor]:
        """Return the merged weights.

        Parameters
        ----------
        states : sequence of mappings of str to Tensor
            The floating-point weights and buffers of each member, as float32, read from its file when a name is requested; not to
            be changed. Tied tensors come once. Integer buffers are the first member's, whatever is returned.

        Returns
        -------
        mapping of str to Tensor
            A finite tensor of the same shape for every name.
        """
        raise NotImplementedError

    def rehearse(self, facts: Facts) -> None:
        """Merge random tensors of the members' names: the formula's mistakes are found before anything is trained.

        Raises
        ------
        WeightsError
            The result drops, adds or reshapes tensors, or holds NaN.
        """
        from shiftline.networks.pretrained import backbone_spec
        from shiftline.networks.spec import build_classifier
        from shiftline.weights.merge import random_members

        head, features = facts.head(self), facts.features(self)
        spec = backbone_spec(facts.record(self), num_classes=head.count, features=features)
        self.merged(random_members(lambda: build_classifier(spec).state_dict(), len(self.members)))

    def merged(self, states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Return the merged weights, checked. Random numbers that the formula draws are those of its `seed`, 0 without one.

        Raises
        ------
        WeightsError
            The result drops, adds or reshapes tensors, or holds NaN.
        """
        import torch

        from shiftline.weights.merge import merged

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(getattr(self, "seed", 0)))
            return merged(states, self.merge, owner=type(self).__name__)

    def produce(self, job: Job, draft: Draft, context: Context) -> None:
        """Merge the members and write the result.

        Raises
        ------
        WeightsError
            The result drops, adds or reshapes tensors, or holds NaN.
        """
        from contextlib import ExitStack

        from shiftline.contracts.files import WEIGHTS
        from shiftline.networks.spec import save_model

        cache = context.weights
        spec = cache.spec(self.members[0])
        for _ in cache.stream(self.members):
            pass  # Every member is looked at before the formula is applied.
        with ExitStack() as files:
            states = [files.enter_context(cache.opened(member)) for member in self.members]
            save_model(draft.folder / WEIGHTS, self.merged(states), spec)
        draft.summary.update(members=len(self.members))
