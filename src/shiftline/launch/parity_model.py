"""The model that `data parity` names."""

from __future__ import annotations

from dataclasses import dataclass

from shiftline.errors import ModelError


@dataclass(frozen=True)
class ParityModel:
    """A model of timm or open_clip; with random weights where no tag of weights is named."""

    library: str
    architecture: str
    weights: str | None


def parse_model(text: str) -> ParityModel:
    """Read ``LIBRARY:ARCHITECTURE[:WEIGHTS]``.

    Raises
    ------
    ModelError
        It names no model in this way.
    """
    words = text.split(":")
    library, architecture, weights = (*words, "", "")[:3]
    if library not in ("timm", "open_clip") or not 2 <= len(words) <= 3 or not all(words):
        raise ModelError(
            f"{text!r} names no model: expected timm:ARCHITECTURE or open_clip:ARCHITECTURE for random weights, with :TAG for "
            "pre-trained ones."
        )
    return ParityModel(library, architecture, weights or None)
