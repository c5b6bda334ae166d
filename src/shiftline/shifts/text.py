"""Words written on images: typographic attacks (Goh et al. 2021)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shiftline.contracts.require import require, require_choice
from shiftline.errors import DataError
from shiftline.shifts.floating import FloatTransform

if TYPE_CHECKING:
    from torch import Tensor


class TextOverlay(FloatTransform):
    """Write a word on the image, white with a black edge, somewhere drawn per (seed, example id).

    Parameters
    ----------
    texts : tuple of str
        With "right" and "wrong": one per class, in the order of the labels.
    choose : str
        Which of them: "any"; the text of the example's own class with "right", of another one with "wrong", which is a
        typographic attack.
    height : float
        Of the letters, as a share of the image's height, above 0 and at most 1.
    seed : int
    """

    tag = "text-overlay"
    texts: tuple[str, ...]
    choose: str = "any"
    height: float = 0.2
    seed: int = 0

    def validate(self) -> None:
        require(
            bool(self.texts) and all(isinstance(text, str) and text.strip() for text in self.texts),
            f"TextOverlay.texts is {self.texts!r}: expected one text or more, none of them empty.",
        )
        require_choice("TextOverlay.choose", self.choose, ("any", "right", "wrong"))
        require(
            self.choose != "wrong" or len(self.texts) >= 2, 'TextOverlay(choose="wrong") needs one text per class, two or more.'
        )
        require(0 < self.height <= 1, f"TextOverlay.height is {self.height}: expected above 0 and at most 1.")

    def change(self, images: Tensor, labels: Tensor, ids: Tensor) -> Tensor:
        from shiftline.data.lettering import write_words
        from shiftline.data.randomness import uniform

        if self.choose != "any" and len(labels) and int(labels.max()) >= len(self.texts):
            raise DataError(
                f"TextOverlay(choose={self.choose!r}) has {len(self.texts)} texts, an example has the label {int(labels.max())}: "
                "give one text per class, in the order of the labels."
            )
        words = [self.texts[word] for word in self.chosen(labels, ids).tolist()]
        positions = uniform("text-overlay place", self.seed, ids, draws=2)
        return write_words(images, words, positions, height=self.height)

    def chosen(self, labels: Tensor, ids: Tensor) -> Tensor:
        """Return the index in `texts` of the word that is written on each image, int64, shape (B,)."""
        from shiftline.data.randomness import uniform

        if self.choose == "right":
            return labels
        count = len(self.texts)
        u = uniform("text-overlay", self.seed, ids)[:, 0]
        if self.choose == "any":
            return (u * count).long()
        return (labels + 1 + (u * (count - 1)).long()) % count
