"""What is needed to rebuild a model from its weights alone: the metadata of every stored checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from shiftline.errors import ModelError
from shiftline.models.classifier import Classifier


@dataclass(frozen=True)
class ModelSpec:
    """How a classifier is built.

    Attributes
    ----------
    library, architecture : str
        Who builds the encoder, and under which name.
    arguments : mapping
        What a pre-training tag would have implied: ``quick_gelu`` for open_clip.
    normalise : bool
        Features are scaled to length one.
    num_classes : int
    preprocessing : mapping
        size, mean, std, interpolation, crop: see `shiftline.models.preprocessing`.
    classes, templates : tuple of str
        The class names and the templates that a zero-shot head was written with; empty without one.
    """

    library: str
    architecture: str
    arguments: Mapping[str, Any]
    normalise: bool
    num_classes: int
    preprocessing: Mapping[str, Any]
    classes: tuple[Any, ...] = ()
    templates: tuple[str, ...] = ()

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        fields = json.loads(text)
        fields["classes"] = tuple(tuple(c) if isinstance(c, list) else c for c in fields["classes"])
        return cls(**fields | {"templates": tuple(fields["templates"])})

    def comparable(self) -> dict[str, Any]:
        """The part that two models must share for their weights to be mixed."""
        return {
            "architecture": (self.library, self.architecture, json.dumps(dict(self.arguments), sort_keys=True)),
            "features": "normalised" if self.normalise else "plain",
            "classes": self.num_classes,
            "preprocessing": json.dumps(dict(self.preprocessing), sort_keys=True),
        }


def build_encoder(library: str, architecture: str, arguments: Mapping[str, Any]) -> tuple[nn.Module, int]:
    """Build an encoder with random weights.

    Returns
    -------
    encoder, num_features
    """
    if library == "timm":
        import timm

        encoder = timm.create_model(architecture, pretrained=False, num_classes=0, **arguments)
        return encoder, encoder.num_features if not hasattr(encoder, "head_hidden_size") else encoder.head_hidden_size
    if library == "open_clip":
        import open_clip

        model = open_clip.create_model(
            architecture, pretrained=None, force_quick_gelu=bool(arguments.get("quick_gelu")), load_weights=False
        )
        return model.visual, int(open_clip.get_model_config(architecture)["embed_dim"])
    if library == "shiftline":
        from shiftline.models.glyph_nets import glyph_net

        encoder = glyph_net("trunk" if architecture == "glyph-clip" else architecture)
        return encoder, int(encoder.num_features)  # type: ignore[arg-type]
    raise ModelError(f"the library {library!r} is unknown: expected timm, open_clip or shiftline.")


def build_classifier(spec: ModelSpec) -> Classifier:
    """Build a classifier with random weights from torch's generator."""
    encoder, features = build_encoder(spec.library, spec.architecture, spec.arguments)
    return Classifier(encoder, num_features=features, num_classes=spec.num_classes, normalise=spec.normalise)


def save_model(path: Path, state: Mapping[str, Tensor], spec: ModelSpec) -> None:
    """Write weights as safetensors with the metadata that rebuilds the model.

    Raises
    ------
    ModelError
        A weight is NaN or infinite.
    """
    for name, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
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
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path} cannot be read as safetensors ({error}): the file is damaged or of another kind."
        ) from error
    if "shiftline" not in metadata:
        raise ModelError(
            f"{path} has no shiftline metadata, so that its model cannot be rebuilt. Give weights of other programs as "
            "LocalWeights(architecture, path)."
        )
    return state, ModelSpec.from_json(metadata["shiftline"])
