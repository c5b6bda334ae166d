"""What is given to the writer: examples, how images are stored, and what a data set says about itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from shiftline.contracts.label_spaces import LabelSpace
from shiftline.errors import DataError


@dataclass(frozen=True, slots=True)
class Inside:
    """An image that lies in a larger file: a tar, a table.

    Attributes
    ----------
    file : Path
    read : callable
        Returns the bytes of an image file.
    """

    file: Path
    read: Callable[[], bytes]

    def __call__(self) -> bytes:
        return self.read()


@dataclass(frozen=True, slots=True)
class Example:
    """One image to be written.

    Attributes
    ----------
    source : Path, bytes, ndarray of uint8 of shape (H, W, 3), or callable
        An image file, what is in one, pixels, or a function that returns one of these or a PIL image when it is written.
    label : int
    group : str
        What the accuracies of groups are taken over: a hospital, a region, a background, a sequence of frames.
    path : str
        Where it came from, relative to the root of the data.
    metadata : mapping of str to int, float or str
        Further columns of the Parquet file; every example of a split has the same ones.
    """

    source: Path | bytes | np.ndarray | Callable[[], Any]
    label: int
    group: str = ""
    path: str = ""
    metadata: Mapping[str, int | float | str] = field(default_factory=dict)


@dataclass(frozen=True)
class Description:
    """What a data set says about itself besides its images, labels and class names.

    Attributes
    ----------
    class_ids : tuple of str
        What relates its classes to those of other data sets; empty where the names do.
    space : LabelSpace or None
        How its classes cover those of the reference that it is a shift of.
    metrics : tuple of str
        Official metrics, the one to report first.
    subsets : tuple of str
        Disjoint subsets of the data set that the split consists of.
    official : mapping
        What a published metric needs besides predictions and metadata (JSON).
    listing : str
        Digest of the files that a held-out split was cut from: splits of different listings may overlap.
    """

    class_ids: tuple[str, ...] = ()
    space: LabelSpace | None = None
    metrics: tuple[str, ...] = ()
    subsets: tuple[str, ...] = ()
    official: Mapping[str, Any] = field(default_factory=dict)
    listing: str = ""


@dataclass(frozen=True)
class Encoding:
    """How images are stored.

    Attributes
    ----------
    format : str
        "original": JPEG, PNG and WebP files keep their own bytes, everything else is stored as raw pixels (lossless);
        "raw": pixels; "jpeg": encoded again.
    short_side : int or None
        Resize so that the shorter side has this many pixels (antialiased bicubic, PIL), where it is longer.
    quality : int
        Of "jpeg".
    for_training : bool
        "original" stores PNG and WebP files as raw pixels, which FFCV reads and their bytes it does not. The pixels are the same,
        and so is the fingerprint.
    """

    format: str = "original"
    short_side: int | None = None
    quality: int = 92
    for_training: bool = False

    def __post_init__(self) -> None:
        if self.format not in ("original", "raw", "jpeg"):
            raise DataError(f"the encoding {self.format!r} does not exist: choose original, raw or jpeg.")
        if self.format == "original" and self.short_side is not None:
            raise DataError('format "original" keeps the bytes of a file and cannot resize: choose raw or jpeg.')
        if self.short_side is not None and self.short_side < 1:
            raise DataError(f"the shorter side is {self.short_side} pixels: expected 1 or more.")
        if not 1 <= self.quality <= 100:
            raise DataError(f"the JPEG quality is {self.quality}: expected 1 to 100.")

    def as_json(self) -> dict[str, Any]:
        recipe: dict[str, Any] = {"form": self.format, "short_side": self.short_side}
        return recipe | ({"quality": self.quality} if self.format == "jpeg" else {})
