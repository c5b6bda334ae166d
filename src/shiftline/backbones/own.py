"""Users' own architectures, and pre-trained weights in a local file."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from shiftline.contracts.backbones import Backbone, NetworkNames
from shiftline.contracts.identity import changed_fields
from shiftline.contracts.require import require, require_choice
from shiftline.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from shiftline.contracts.backbones import Tokenizer
    from shiftline.contracts.records import BackboneRecord


class Architecture(Backbone):
    """Base of users' own architectures.

    A subclass sets a `tag`, a `revision`, fields, `size` (and `mean`, `std`, `crop`, `interpolation` where they differ), and
    defines `build`.

    Attributes
    ----------
    size : int
        Side of the images in pixels.
    mean, std : tuple of float
        Of each channel, of pixels in [0, 1].
    crop : float
        Share of the shorter side that an evaluation keeps.
    interpolation : str
        "bicubic" or "bilinear".
    """

    library = "own"
    pretrained = False
    size: ClassVar[int] = 224
    mean: ClassVar[tuple[float, float, float]] = (0.5, 0.5, 0.5)
    std: ClassVar[tuple[float, float, float]] = (0.5, 0.5, 0.5)
    crop: ClassVar[float] = 1.0
    interpolation: ClassVar[str] = "bicubic"

    def validate(self) -> None:
        require(
            type(self).build is not Architecture.build,
            f"the architecture {type(self).__name__} has no build method: write def build(self) and return a module with "
            "the attribute num_features.",
        )

    def build(self) -> nn.Module:
        """Return a `torch.nn.Module` that maps float images (B, 3, size, size) to features (B, d); shiftline adds the head.

        It has the attribute `num_features`, d.
        """
        raise NotImplementedError

    def names(self) -> NetworkNames:
        preprocessing = {
            "size": self.size,
            "mean": list(self.mean),
            "std": list(self.std),
            "interpolation": self.interpolation,
            "crop": self.crop,
        }
        return NetworkNames(f"{type(self).tag}@{type(self).revision}", None, preprocessing, changed_fields(self))

    @classmethod
    def encoder(cls, architecture: str, arguments: Mapping[str, Any], *, unprojected: bool) -> tuple[nn.Module, int]:
        encoder = architecture_named(architecture, arguments).build()
        return encoder, int(encoder.num_features)  # type: ignore[arg-type]

    def __str__(self) -> str:
        return type(self).tag


def architecture_named(name: str, arguments: Mapping[str, Any]) -> Architecture:
    """Return a user's architecture by "tag@revision": its class must have been imported.

    Raises
    ------
    ModelError
        No class with this tag and revision has been.
    """
    pending: list[type[Architecture]] = [Architecture]
    known: dict[str, type[Architecture]] = {}
    while pending:
        cls = pending.pop()
        pending += cls.__subclasses__()
        known[f"{cls.tag}@{cls.revision}"] = cls
    if name not in known:
        raise ModelError(
            f"the architecture {name!r} is a user's own, and no such class has been imported: import the file that defines it "
            "before its models are loaded."
        )
    return known[name](**arguments)


class LocalWeights(Backbone):
    """Pre-trained weights in a local file: safetensors, or a state dict that loads with ``weights_only=True``.

    Parameters
    ----------
    architecture : Backbone
        What the file holds the weights of.
    path : path
        Where to look: a file, the index of several, or the folder of a model hub's snapshot. Identity is the architecture and the
        weights' own sha256.
    weights : str
        Of a checkpoint with two sets: "ema", those averaged over training, or "raw". Which was taken is said.
    classes : tuple of str
        Identifiers of the classes of its head (WordNet ids for ImageNet's, else names), in the order of its outputs. Those that the
        file names (`class_to_idx`, `classes`, or `label_names` of a hub's config.json) unless given.
    resample_positions : bool
        Resize the position embeddings of a transformer to the architecture's number of patches (bicubic, as timm does).
    """

    tag = "local-weights"
    architecture: Backbone
    path: str = dataclasses.field(metadata={"speed_only": True})
    weights: str = dataclasses.field(default="ema", metadata={"speed_only": True})
    classes: tuple[str, ...] = dataclasses.field(default=(), metadata={"speed_only": True})
    resample_positions: bool = False

    def validate(self) -> None:
        require_choice("LocalWeights.weights", self.weights, ("ema", "raw"))
        require(
            isinstance(self.classes, tuple) and all(isinstance(name, str) for name in self.classes),
            f"LocalWeights.classes is {self.classes!r}: expected a list of class identifiers, text each.",
        )
        twice = [name for name in self.classes if self.classes.count(name) > 1]
        require(not twice, f"LocalWeights.classes has {twice[:1]} twice: each output is of another class.")
        require(
            isinstance(self.architecture, Backbone) and self.architecture.base is self.architecture,
            f"LocalWeights.architecture is a {type(self.architecture).__name__}: expected timm(...), "
            "open_clip(...), glyph_net(...) or glyph_clip().",
        )

    @property
    def base(self) -> Backbone:
        return self.architecture

    def names(self) -> NetworkNames:
        return self.architecture.names()

    def load(self) -> dict[str, Tensor]:
        from shiftline.networks.checkpoint import read_checkpoint

        own_names = self.architecture.build().state_dict() if isinstance(self.architecture, Architecture) else ()
        checkpoint = read_checkpoint(Path(self.path), weights=self.weights, own_names=own_names)
        for note in checkpoint.notes:
            warnings.warn(note, stacklevel=2)
        return checkpoint.state

    def class_ids(self, count: int) -> tuple[str, ...]:
        from shiftline.networks.checkpoint import classes_of_file

        if self.classes and len(self.classes) != count:
            raise ModelError(f"{self}: {len(self.classes)} classes are named, its head has {count} outputs: name one for each.")
        found = self.classes or classes_of_file(Path(self.path))
        return tuple(found) if len(found) == count else ()

    def text_model(self, record: BackboneRecord) -> tuple[nn.Module, Tokenizer]:
        return self.architecture.text_model(record)

    def __str__(self) -> str:
        return f"{self.architecture} from {Path(self.path).name}"
