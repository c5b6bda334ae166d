"""Typographic attacks on a small scale: a wrong digit is written over a handwritten one (Goh et al. 2021; Ilharco et al. 2022)."""

from __future__ import annotations

from typing import Any

import shiftline as sl

DIGITS = tuple("0123456789")
LETTERS = tuple("ABCDEFGHJKLMNPQRSTUVWXYZabdefghkmnprty")
"""What is written on letters, in the order of their labels."""
CONTROL = tuple("AEFHKMPR")
PREFIXES = ("the {}", "a photo of the {}", "an image of the {}")
HEIGHT = 0.5


class Typographic(sl.ExperimentManager):
    """Does a patch that is trained on letters make a model read less of what is written on digits?

    A right digit that is written covers as much as a wrong one: the difference between the two is what the model reads. A letter is
    no answer, and covers as much too. The patch never sees a digit: letters with wrong letters written on them are its task.
    """

    name = "typographic"
    # Alpha is chosen on plain and on attacked images of the val split: models are not reported there.
    val = sl.Split("digits", "val")
    reference = sl.Reference(sl.Split("digits", "train"), None, sl.Split("digits", "test"))
    shifts = {
        "wrong digit": reference.test.shifted(sl.TextOverlay(DIGITS, choose="wrong", height=HEIGHT)),
        "right digit": reference.test.shifted(sl.TextOverlay(DIGITS, choose="right", height=HEIGHT)),
        "letter": reference.test.shifted(sl.TextOverlay(CONTROL, height=HEIGHT)),
    }

    def models(self) -> dict[str, Any]:
        clip = sl.ZeroShot(sl.glyph_clip(), templates=sl.PROMPTS)
        names = tuple(f"capital letter {c.lower()}" if c.isupper() else f"letter {c}" for c in LETTERS)
        attack = sl.TextOverlay(LETTERS, choose="wrong", height=HEIGHT)
        letters = sl.Task(
            sl.Split("typed-letters", "train").shifted(attack),
            sl.Split("typed-letters", "val").shifted(attack),
            head=sl.ZeroShot(sl.glyph_clip(), templates=PREFIXES, classes=names),
        )
        settings: dict[str, Any] = {"epochs": 6, "batch_size": 64, "optimizer": sl.AdamW(lr=1e-3), "schedule": sl.Cosine(warmup=1)}
        patched = sl.patch_sequential(clip, [letters], supported=[sl.HeldOut(self.val)], **settings)
        digits = sl.Task(
            self.reference.training.shifted(sl.TextOverlay(DIGITS, choose="wrong", height=HEIGHT)),
            self.val.shifted(sl.TextOverlay(DIGITS, choose="wrong", height=HEIGHT)),
        )
        known = sl.patch_sequential(clip, [digits], supported=[sl.HeldOut(self.val)], **settings)
        return {
            "zero-shot": clip,
            "patched on letters": patched,
            "patched on letters, by alpha": list(patched.candidates),
            "patched on digits": known,
        }
