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

from shiftline.declare.architectures import Architecture
from shiftline.errors import ModelError
from shiftline.models.classifier import Classifier
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
        size, mean, std, interpolation, crop: see `shiftline.models.preprocessing`.
    classes, templates : tuple of str
        The class names and the templates that a zero-shot head was written with; empty without one.
    """

    library: str
    architecture: str
    arguments: Mapping[str, Any]
    features: str
    num_classes: int
    preprocessing: Mapping[str, Any]
    classes: tuple[Any, ...] = ()
    templates: tuple[str, ...] = ()

    def with_head_of(self, other: ModelSpec) -> ModelSpec:
        """Return the specification of this encoder under another model's head."""
        return replace(self, num_classes=other.num_classes, classes=other.classes, templates=other.templates)

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
            "features": self.features,
            "classes": self.num_classes,
            "preprocessing": json.dumps(dict(self.preprocessing), sort_keys=True),
        }


def build_encoder(
    library: str, architecture: str, arguments: Mapping[str, Any], *, backbone: bool = False
) -> tuple[nn.Module, int]:
    """Build an encoder with random weights.

    Parameters
    ----------
    backbone : bool
        Leave the projection of a vision-language model out.

    Returns
    -------
    encoder, num_features

    Raises
    ------
    ModelError
        The library or the user's class is unknown here, or the projection cannot be left out.
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
        encoder, features = model.visual, int(open_clip.get_model_config(architecture)["embed_dim"])
        return (encoder, _remove_projection(encoder, features, architecture)) if backbone else (encoder, features)
    if library == "shiftline" and architecture == "random-clip":
        from shiftline.models.random_clip import EMBEDDING, build_random_clip

        tower: nn.Module = build_random_clip().visual  # type: ignore[assignment]
        return (tower, _remove_projection(tower, EMBEDDING, architecture)) if backbone else (tower, EMBEDDING)
    if library == "shiftline":
        from shiftline.models.glyph_nets import glyph_net

        encoder = glyph_net("trunk" if architecture == "glyph-clip" else architecture)
        if backbone:
            features, encoder.projection = encoder.projection.in_features, nn.Identity()  # type: ignore[union-attr, assignment]
            return encoder, int(features)  # type: ignore[call-overload]
        return encoder, int(encoder.num_features)  # type: ignore[arg-type]
    if library == "own":
        encoder = own_architecture(architecture, arguments).build()  # type: ignore[attr-defined]
        return encoder, int(encoder.num_features)
    raise ModelError(f"the library {library!r} is unknown: expected timm, open_clip, shiftline or own.")


def _remove_projection(encoder: nn.Module, features: int, architecture: str) -> int:
    """Take the projection of an open_clip image tower out, in place; return the width of what is left."""
    projection = getattr(encoder, "proj", None)
    if isinstance(projection, nn.Parameter):
        encoder.proj = None  # type: ignore[assignment]
        return int(projection.shape[0])
    if hasattr(encoder, "trunk") and hasattr(encoder, "head"):
        layer = getattr(encoder.head, "proj", None)
        if layer is None:
            return features
        linear = [module for module in layer.modules() if isinstance(module, nn.Linear)]
        encoder.head.proj = nn.Identity()  # type: ignore[union-attr]
        return linear[0].in_features
    raise ModelError(f'{architecture} gives its features only after the projection: use features="embedding".')


def own_architecture(name: str, arguments: Mapping[str, Any]) -> Architecture:
    """Return a user's architecture by "tag@revision": its class must have been imported.

    Raises
    ------
    ModelError
        No class with this tag and revision has been.
    """
    pending, known = [Architecture], {}
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


def build_classifier(spec: ModelSpec) -> Classifier:
    """Build a classifier with random weights from torch's generator."""
    encoder, features = build_encoder(
        spec.library, spec.architecture, spec.arguments, backbone=spec.features == "backbone"
    )
    return Classifier(
        encoder, num_features=features, num_classes=spec.num_classes, normalise=spec.features == "embedding"
    )


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
    """A stored model as a state dict whose tensors are read when they are asked for, from a memory map.

    Use as a context manager: the file is let go at the end, and with it what was read.

    Raises
    ------
    ModelError
        The file is cut, or has no metadata of ours.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = safe_open(path, framework="pt").__enter__()
            metadata = self._file.metadata() or {}
        except (SafetensorError, OSError) as error:
            raise ModelError(
                f"{path} cannot be read as safetensors ({error}): the file is damaged or of another kind."
            ) from error
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
