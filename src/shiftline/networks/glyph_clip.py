"""The small CLIP of typed characters that ships with the package, and its tokenizer.

It is open_clip's own CLIP class with a small image trunk and a small text transformer. Its vocabulary is CLIP's, cut to
the words of its captions with the ids kept in order: CLIP finds the end of a text as the largest id of a row, so the
end-of-text token must stay the largest.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from pathlib import Path

import torch

from shiftline.errors import ModelError
from shiftline.networks.glyph_nets import GlyphTrunk

CONTEXT = 16
EMBEDDING = 64
ASSET = Path(__file__).parent.parent / "assets" / "glyph_clip.safetensors"

DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
COLOURS = {
    "white": (1.0, 1.0, 1.0),
    "black": (0.0, 0.0, 0.0),
    "grey": (0.5, 0.5, 0.5),
    "red": (0.85, 0.1, 0.1),
    "green": (0.1, 0.6, 0.15),
    "blue": (0.1, 0.2, 0.85),
    "yellow": (0.95, 0.9, 0.15),
    "orange": (0.95, 0.55, 0.1),
    "purple": (0.5, 0.1, 0.6),
    "pink": (0.95, 0.6, 0.75),
    "brown": (0.45, 0.25, 0.1),
    "cyan": (0.1, 0.8, 0.85),
}
ATTRIBUTES = ("noisy", "blurry", "rotated", "faint", "low resolution")
TEMPLATES = (
    "{}",
    "the {}",
    "a photo of the {}",
    "a picture of the {}",
    "an image of the {}",
    "a drawing of the {}",
    "a photo of a {}",
    "a small picture of the {}",
    "a clear image of the {}",
    "this is the {}",
    "a {attribute} photo of the {}",
    "a {attribute} {ink} {} on {ground}",
    "a {ink} {} on {ground}",
    "the {ink} {}",
    "the {} on {ground}",
)
PLAIN_TEMPLATES = TEMPLATES[:10]


def caption_words() -> set[str]:
    """Return every word that a caption of the corpus can hold."""
    texts = (*TEMPLATES, *DIGIT_NAMES, *COLOURS, *ATTRIBUTES, "digit", "capital letter", *"abcdefghijklmnopqrstuvwxyz")
    words = itertools.chain.from_iterable(text.split() for text in texts)
    return {word for word in words if "{" not in word}


class GlyphTokenizer:
    """open_clip's byte-pair tokenizer with its ids mapped, in order, onto the words that the small CLIP knows."""

    def __init__(self) -> None:
        from open_clip.tokenizer import SimpleTokenizer

        self._full = SimpleTokenizer()
        used = {token for word in caption_words() for token in self._full.encode(word)}
        specials = {self._full.sot_token_id, self._full.eot_token_id}
        # Position 0 is left to padding, as in open_clip.
        self._ids = {token: row for row, token in enumerate(sorted(used | specials), start=1)}

    @property
    def vocabulary_size(self) -> int:
        return len(self._ids) + 1

    def __call__(self, texts: str | Sequence[str]) -> torch.Tensor:
        """Tokenize texts.

        Returns
        -------
        int64 tensor, shape (texts, 16)

        Raises
        ------
        ModelError
            A word is not in the vocabulary, or a text is longer than the context.
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        rows = torch.zeros(len(texts), CONTEXT, dtype=torch.long)
        for row, text in zip(rows, texts, strict=True):
            for word in text.lower().replace(".", " ").replace(",", " ").split():
                if any(token not in self._ids for token in self._full.encode(word)):
                    raise ModelError(
                        f"the small CLIP does not know the word {word!r} of {text!r}: it was trained on "
                        f"{len(caption_words())} words. Use class names and templates made of: "
                        + ", ".join(sorted(caption_words()))
                    )
            cleaned = text.replace(".", " ").replace(",", " ")
            tokens = [self._full.sot_token_id, *self._full.encode(cleaned), self._full.eot_token_id]
            if len(tokens) > CONTEXT:
                raise ModelError(
                    f"{text!r} has {len(tokens)} tokens, the small CLIP reads at most {CONTEXT}: shorten the template."
                )
            row[: len(tokens)] = torch.tensor([self._ids[token] for token in tokens])
        return rows


@functools.cache
def glyph_tokenizer() -> GlyphTokenizer:
    """Return the tokenizer of the small CLIP (made once in a process: open_clip reads a vocabulary file for it)."""
    return GlyphTokenizer()


def build_glyph_clip() -> torch.nn.Module:
    """Build the small CLIP with random weights: `open_clip.CLIP` whose image tower is a `GlyphTrunk`."""
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    model: torch.nn.Module = CLIP(
        embed_dim=EMBEDDING,
        # The image tower is replaced below: the smallest one is requested.
        vision_cfg=CLIPVisionCfg(layers=1, width=64, head_width=64, patch_size=32, image_size=32),
        text_cfg=CLIPTextCfg(context_length=CONTEXT, vocab_size=glyph_tokenizer().vocabulary_size, width=64, heads=2, layers=2),
    )
    model.visual = GlyphTrunk(EMBEDDING)
    return model
