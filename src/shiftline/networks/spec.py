"""What is needed to rebuild a model from its weights alone: the metadata of every stored checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from shiftline.contracts.backbones import library_named
from shiftline.errors import ModelError
from shiftline.networks.classifier import Classifier
from shiftline.weights.interpolate import has_finite_values


@dataclass(frozen=True)
class ModelSpec:
    """How a classifier is built.

    Attributes
    ----------
    library, architecture : str
        Who builds the encoder, and under which name.
    arguments : mapping
        What a pre-training tag would have implied: ``quick_gelu`` for open_clip.
    features : str
        What the head sees: "plain" (the encoder's output), "embedding" (scaled to length one, as CLIP's is) or "backbone" (before
        the projection of a vision-language model).
    num_classes : int
    preprocessing : mapping
        size, mean, std, interpolation, crop: see `shiftline.networks.preprocessing`.
    classes, templates : tuple of str
        The class names and the templates that a zero-shot head was written with; empty without one.
    class_ids : tuple of str
        What the outputs of a head that was taken in mean; empty where nobody says.
    """

    library: str
    architecture: str
    arguments: Mapping[str, Any]
    features: str
    num_classes: int
    preprocessing: Mapping[str, Any]
    classes: tuple[Any, ...] = ()
    templates: tuple[str, ...] = ()
    class_ids: tuple[str, ...] = ()

    def with_head_of(self, other: ModelSpec) -> ModelSpec:
        """Return the specification of this encoder under another model's head."""
        head = {"num_classes": other.num_classes, "classes": other.classes, "templates": other.templates}
        return replace(self, **head, class_ids=other.class_ids)  # type: ignore[arg-type]

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON; a head's identifiers only where there are some, so that none changes a key."""
        fields = asdict(self)
        return fields if self.class_ids else {name: value for name, value in fields.items() if name != "class_ids"}

    def to_json(self) -> str:
        return json.dumps(self.as_json(), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        fields = json.loads(text)
        fields["classes"] = tuple(tuple(c) if isinstance(c, list) else c for c in fields["classes"])
        return cls(**fields | {"templates": tuple(fields["templates"]), "class_ids": tuple(fields.get("class_ids", ()))})

    def comparable(self) -> dict[str, Any]:
        """The part that two models must share for their weights to be mixed."""
        return {
            "architecture": (self.library, self.architecture, json.dumps(dict(self.arguments), sort_keys=True)),
            "features": self.features,
            "classes": self.num_classes,
            "preprocessing": json.dumps(dict(self.preprocessing), sort_keys=True),
        }


def build_encoder(
    library: str, architecture: str, arguments: Mapping[str, Any], *, unprojected: bool = False
) -> tuple[nn.Module, int]:
    """Build an encoder with random weights.

    Parameters
    ----------
    unprojected : bool
        Leave the projection of a vision-language model out.

    Returns
    -------
    encoder, num_features

    Raises
    ------
    ModelError
        The library or the user's class is unknown here, or the projection cannot be left out.
    """
    return library_named(library).encoder(architecture, arguments, unprojected=unprojected)


def build_classifier(spec: ModelSpec) -> Classifier:
    """Build a classifier with random weights from torch's generator."""
    encoder, features = build_encoder(spec.library, spec.architecture, spec.arguments, unprojected=spec.features == "backbone")
    return Classifier(encoder, num_features=features, num_classes=spec.num_classes, normalise=spec.features == "embedding")


def save_model(path: Path, state: Mapping[str, Tensor], spec: ModelSpec) -> None:
    """Write weights as safetensors with the metadata that rebuilds the model.

    Raises
    ------
    ModelError
        A weight is NaN or infinite.
    """
    for name, tensor in state.items():
        if not has_finite_values(tensor):
            raise ModelError(f"the weights {name!r} hold NaN or infinite values: they are not stored as a result.")
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    save_file(tensors, path, metadata={"shiftline": spec.to_json()})


def load_model(path: Path) -> tuple[dict[str, Tensor], ModelSpec]:
    """Read weights and metadata.

    Raises
    ------
    ModelError
        The file is cut, or has no metadata of ours.
    """
    with WeightFile(path) as file:
        return dict(file), file.spec


class WeightFile(Mapping[str, Tensor]):
    """A stored model as a state dict whose tensors are read when they are requested, from a memory map.

    Use as a context manager: the file is let go at the end, and with it what was read.

    Raises
    ------
    ModelError
        The file is cut, or has no metadata of ours.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = safe_open(path, framework="pt").__enter__()  # type: ignore[no-untyped-call]
            metadata = self._file.metadata() or {}
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{path} cannot be read as safetensors ({error}): the file is damaged or of another kind.") from error
        if "shiftline" not in metadata:
            raise ModelError(
                f"{path} has no shiftline metadata, so that its model cannot be rebuilt. Give weights of other programs as "
                "LocalWeights(architecture, path)."
            )
        self.spec = ModelSpec.from_json(metadata["shiftline"])
        self._names = list(self._file.keys())

    def __getitem__(self, name: str) -> Tensor:
        try:
            return self._file.get_tensor(name)  # type: ignore[no-any-return]
        except SafetensorError as error:
            raise KeyError(name) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __enter__(self) -> WeightFile:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.__exit__(None, None, None)
