"""Words written on images: typographic attacks (Goh et al. 2021), and the watermark of ImageNet-W (Li et al. 2023)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from shiftline.contracts.identity import speed_only
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


class Watermark(FloatTransform):
    """Write a translucent white line across the image: ImageNet-W's shortcut, after ``.crop(224)`` on its networks' own pixels.

    Parameters
    ----------
    font : path
        A file of a font that has the text: ImageNet-W's is SourceHanSerifSC-ExtraLight.otf. Its sha256 is its identity.
    text : str
    opacity : float
        Above 0 and at most 1.
    sha256 : str
        Of the font file; found out from it unless given.
    """

    tag = "watermark"
    font: str = speed_only(default="")
    text: str = "捷径捷径捷径"
    opacity: float = 0.5
    sha256: str = ""

    def validate(self) -> None:
        require(bool(self.text.strip()), "Watermark.text is empty: expected a text.")
        require(0 < self.opacity <= 1, f"Watermark.opacity is {self.opacity}: expected above 0 and at most 1.")
        if not self.font:
            require(bool(self.sha256), "Watermark needs a font: font=path of a file of one that has the text.")
            return
        require(Path(self.font).is_file(), f"Watermark.font: the file {self.font} does not exist (looked in {Path.cwd()}).")
        found = hashlib.sha256(Path(self.font).read_bytes()).hexdigest()
        require(self.sha256 in ("", found), f"Watermark.font: {self.font} has the sha256 {found[:12]}..., not {self.sha256[:12]}.")
        object.__setattr__(self, "sha256", found)

    def change(self, images: Tensor, labels: Tensor, ids: Tensor) -> Tensor:
        import torch

        from shiftline.data.lettering import line_of_text

        tall, wide = images.shape[-2:]
        # As published: letters of 36 pixels on 224, 1 % from the left, 40 % from the top.
        size = max(1, round(min(tall, wide) * 36 / 224))
        ink = line_of_text(self.font, self.text, size, (tall, wide), (0.01, 0.4))
        share = self.opacity * torch.from_numpy(ink).to(images)
        return images + share * (1 - images)
