"""The reference distribution of a study."""

from __future__ import annotations

from shiftline.contracts.distributions import Distribution, Split
from shiftline.contracts.identity import Declaration
from shiftline.contracts.require import require
from shiftline.contracts.transforms import Transform
from shiftline.errors import DeclarationError


class Reference(Declaration):
    """The reference distribution: where models are trained (train), selected (val) and reported (test, the x-axis).

    Parameters
    ----------
    train : Distribution or None
        None: nothing is trained on the reference, and models are evaluated only.
    val : Distribution or None
        None: nothing is selected unless ``best(..., on=...)`` names the data.
    test : Distribution
        Another one than `val`: a model must not be reported on what it was selected on.
    """

    tag = "reference"
    train: Distribution | None
    val: Distribution | None
    test: Distribution

    def validate(self) -> None:
        for name in ("train", "val", "test"):
            split = getattr(self, name)
            if name != "test" and split is None:
                continue
            require(
                isinstance(split, Distribution),
                f'Reference.{name} is a {type(split).__name__}: expected a distribution, for example Split("digits", "{name}").',
            )
            require(
                split.label_space is None,
                f"Reference.{name} has a label space: the reference's own classes are those of its data. Put "
                "in_label_space(...) on the shift; the reference follows.",
            )
            require(
                not split.is_fresh,
                f"Reference.{name} ({split}) is drawn again in every epoch: only a training can do that. Leave "
                "fresh=True out, and give the fresh distribution to train_on.",
            )
        require(
            self.val != self.test,
            "Reference: val and test are the same distribution. Models would be selected on the accuracy that is "
            "then reported as the x-axis. Hold out a share of the training data as val.",
        )

    def shifted(self, *transforms: Transform) -> Reference:
        """Apply transforms to all splits."""
        train, val = (None if split is None else split.shifted(*transforms) for split in (self.train, self.val))
        return Reference(train, val, self.test.shifted(*transforms))

    @property
    def labelled(self) -> Split:
        """The split whose classes, in their order, are those of the study."""
        return (self.test if self.train is None else self.train).source

    @property
    def training(self) -> Distribution:
        """The train split.

        Raises
        ------
        DeclarationError
            There is none.
        """
        if self.train is None:
            raise DeclarationError(
                "something is trained on the reference's train split, and this reference has none (train=None): it is for "
                "evaluating models that are there."
            )
        return self.train

    @property
    def selection(self) -> Distribution:
        """The val split.

        Raises
        ------
        DeclarationError
            There is none.
        """
        if self.val is None:
            raise DeclarationError(
                "something is selected on the reference's val split, and this reference has none (val=None): say what to select "
                "on, best(..., on=...), or hold out a share of the training data."
            )
        return self.val
