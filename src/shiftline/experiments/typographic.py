"""Typographic attacks on a small scale: a wrong digit is written over a handwritten one (Goh et al. 2021; Ilharco et al. 2022)."""

from __future__ import annotations

from typing import Any

from shiftline.declare.architectures import glyph_clip
from shiftline.declare.distributions import Reference, Split
from shiftline.declare.optimisers import AdamW, Cosine
from shiftline.declare.patching import Task, patch_sequential
from shiftline.declare.recipes import PROMPTS, ZeroShot
from shiftline.declare.sweeps import HeldOut
from shiftline.declare.transforms import TextOverlay
from shiftline.manager import ExperimentManager

DIGITS = tuple("0123456789")
LETTERS = tuple("ABCDEFGHJKLMNPQRSTUVWXYZabdefghkmnprty")
"""What is written on letters, in the order of their labels."""
CONTROL = tuple("AEFHKMPR")
PREFIXES = ("the {}", "a photo of the {}", "an image of the {}")
HEIGHT = 0.5


class Typographic(ExperimentManager):
    """Does a patch that is trained on letters make a model read less of what is written on digits?

    A right digit that is written covers as much as a wrong one: the difference between the two is what the model reads. A letter is
    no answer, and covers as much too. The patch never sees a digit: letters with wrong letters written on them are its task.
    """

    name = "typographic"
    # Alpha is chosen on plain and on attacked images of the val split: models are not reported there.
    val = Split("digits", "val")
    reference = Reference(Split("digits", "train"), None, Split("digits", "test"))
    shifts = {
        "wrong digit": reference.test.shifted(TextOverlay(DIGITS, choose="wrong", height=HEIGHT)),
        "right digit": reference.test.shifted(TextOverlay(DIGITS, choose="right", height=HEIGHT)),
        "letter": reference.test.shifted(TextOverlay(CONTROL, height=HEIGHT)),
    }

    def models(self):
        clip = ZeroShot(glyph_clip(), templates=PROMPTS)
        names = tuple(f"capital letter {c.lower()}" if c.isupper() else f"letter {c}" for c in LETTERS)
        attack = TextOverlay(LETTERS, choose="wrong", height=HEIGHT)
        letters = Task(
            Split("typed-letters", "train").shifted(attack), Split("typed-letters", "val").shifted(attack),
            head=ZeroShot(glyph_clip(), templates=PREFIXES, classes=names),
        )  # fmt: skip
        settings: dict[str, Any] = {
            "epochs": 6,
            "batch_size": 64,
            "optimizer": AdamW(lr=1e-3),
            "schedule": Cosine(warmup=1),
        }
        patched = patch_sequential(clip, [letters], supported=[HeldOut(self.val)], **settings)
        digits = Task(
            self.reference.training.shifted(TextOverlay(DIGITS, choose="wrong", height=HEIGHT)),
            self.val.shifted(TextOverlay(DIGITS, choose="wrong", height=HEIGHT)),
        )
        known = patch_sequential(clip, [digits], supported=[HeldOut(self.val)], **settings)
        return {
            "zero-shot": clip,
            "patched on letters": patched,
            "patched on letters, by alpha": list(patched.candidates),
            "patched on digits": known,
        }
