"""Resolving backbones: a name becomes a full tag, a digest of the weights, and a preprocessing; and reading their weights."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from shiftline.contracts.backbones import Backbone
from shiftline.contracts.records import BackboneRecord
from shiftline.errors import ModelError
from shiftline.networks.checkpoint import fill_counters, misfit, resample_positions
from shiftline.networks.spec import ModelSpec, build_encoder
from shiftline.weights.interpolate import has_finite_values


def weights_digest(state: Mapping[str, Tensor]) -> str:
    """Return the sha256 over names, types, shapes and values, in the order of the names."""
    total = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        total.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def resolve(backbone: Backbone, *, with_weights: bool) -> BackboneRecord:
    """Find out what a backbone stands for.

    Parameters
    ----------
    with_weights : bool
        Load the pre-trained weights and digest them; otherwise only the architecture is looked at.

    Raises
    ------
    ModelError
        The name is unknown (the closest ones are listed), or the weights cannot be had.
    """
    base, names = backbone.base, backbone.names()
    record = BackboneRecord(
        base.library,
        names.architecture,
        names.weights,
        None,
        names.preprocessing,
        base.text,
        names.arguments,
        unprojected=names.unprojected,
    )
    if not with_weights or not backbone.pretrained:
        return record
    state = backbone.load()
    _check_finite(backbone, state)
    _encoder_part(backbone, state, record)  # Weights of another architecture are found now, not in the middle of a study.
    classes = len(own_head(base, record, state)[0]) if has_head(base, record, state) else None
    ids = () if classes is None else backbone.class_ids(classes)
    return dataclasses.replace(record, sha256=weights_digest(state), num_classes=classes, class_ids=ids)


def _check_finite(backbone: Backbone, state: Mapping[str, Tensor]) -> None:
    for name, tensor in state.items():
        if not has_finite_values(tensor):
            raise ModelError(f"{backbone}: the weights {name!r} hold NaN or infinite values: nothing can be trained from them.")


def backbone_spec(record: BackboneRecord, *, num_classes: int, features: str) -> ModelSpec:
    """Return how a classifier on a backbone is built; `features` other than "plain" are those of a vision-language model."""
    seen = features if record.text else "plain"
    return ModelSpec(record.library, record.architecture, record.arguments, seen, num_classes, record.preprocessing)


def _checked_state(backbone: Backbone, record: BackboneRecord) -> dict[str, Tensor]:
    """Return the pre-trained weights, which must be those that the study was planned with."""
    state = backbone.load()
    found = weights_digest(state)
    if record.sha256 is not None and found != record.sha256:
        raise ModelError(
            f"the weights of {backbone} changed: sha256 {record.sha256[:12]}... was recorded when the study was planned, "
            f"{found[:12]}... is there now. Restore the file, or delete the backbones folder of the store to plan with the new one"
            + (f"; {record.weights} names what was recorded." if "@" in str(record.weights) else ".")
        )
    return state


def encoder_state(backbone: Backbone, record: BackboneRecord, *, unprojected: bool = False) -> dict[str, Tensor]:
    """Return the pre-trained weights of the image encoder, float32, named as `build_encoder` names them.

    With `unprojected`, those of the projection are left out.

    Raises
    ------
    ModelError
        The weights are not those of the record, or of another architecture.
    """
    return _encoder_part(backbone, _checked_state(backbone, record), record, unprojected=unprojected)


def classifier_state(backbone: Backbone, record: BackboneRecord) -> dict[str, Tensor]:
    """Return pre-trained weights with the head that they bring, named as `shiftline.networks.classifier.Classifier` names them.

    Raises
    ------
    ModelError
        The weights are not those of the record, or have no linear classifier.
    """
    state = _checked_state(backbone, record)
    if not has_head(backbone.base, record, state):
        raise ModelError(f"{backbone} has no linear classifier of its own: fine-tune it, or name weights that have one.")
    weight, bias = own_head(backbone.base, record, state)
    encoder = _encoder_part(backbone, state, record)
    return {f"encoder.{name}": t for name, t in encoder.items()} | {"head.weight": weight, "head.bias": bias}


def has_head(base: Backbone, record: BackboneRecord, state: Mapping[str, Tensor]) -> bool:
    """Weights hold a linear classifier (or a 1 x 1 convolution, which is one after pooling)."""
    weights = [state.get(f"{name}.weight") for name in base.heads(record)]
    return bool(weights) and all(w is not None and w.flatten(1).shape[1] == w.shape[1] for w in weights)


def own_head(base: Backbone, record: BackboneRecord, state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return weight (classes, features) and bias of the classifier in weights, float32; the average of two heads is a head."""
    names = base.heads(record)
    weights = [state[f"{name}.weight"].float().flatten(1) for name in names]
    zeros = torch.zeros(len(weights[0]))
    biases = [state.get(f"{name}.bias", zeros).float() for name in names]
    return torch.stack(weights).mean(dim=0), torch.stack(biases).mean(dim=0)


def _encoder_part(
    backbone: Backbone, state: Mapping[str, Tensor], record: BackboneRecord, *, unprojected: bool = False
) -> dict[str, Tensor]:
    with torch.random.fork_rng(devices=[]):
        encoder, _ = build_encoder(record.library, record.architecture, record.arguments, unprojected=unprojected)
    wanted = encoder.state_dict()
    if record.text:
        state = {name.removeprefix("visual."): t for name, t in state.items() if name.startswith("visual.")}
    state = fill_counters(state, wanted)
    if getattr(backbone, "resample_positions", False):
        state = resample_positions(state, wanted)
    if wrong := misfit(state, wanted):
        raise ModelError(
            f"{backbone}: the weights are not those of {record.architecture}: {wrong}. Name the architecture that the file was "
            "written with."
        )
    # The classifier of the pre-training classes is not part of the encoder.
    return {name: t.float() if t.is_floating_point() else t for name, t in state.items() if name in wanted}


def text_model(backbone: Backbone, record: BackboneRecord) -> tuple[nn.Module, Callable[..., Tensor]]:
    """Return the whole vision-language model with its weights, and its tokenizer.

    Raises
    ------
    ModelError
        There is no text tower, or the weights are not those of the record.
    """
    model, tokenizer = backbone.text_model(record)
    state = _checked_state(backbone, record)
    try:
        model.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in state.items()})
    except RuntimeError as error:
        raise ModelError(
            f"{backbone}: the weights are not those of {record.architecture}: {str(error).splitlines()[-1]}"
        ) from error
    return model.eval(), tokenizer


# ---- what backbones are made of ----------------------------------------------------------------------------------------


def downloaded(backbone: Backbone, load: Callable[[], nn.Module]) -> dict[str, Tensor]:
    """Return the weights of a model that its library downloads.

    Raises
    ------
    ModelError
        They cannot be had.
    """
    try:
        return load().state_dict()
    except Exception as error:
        raise ModelError(
            f"the weights of {backbone!r} cannot be had ({type(error).__name__}: {str(error).splitlines()[0][:200]}): they "
            "are downloaded on first use. Without a network, put the file here and declare "
            "LocalWeights(architecture, path)."
        ) from error


def closest(name: str, known: Iterable[str]) -> str:
    """Return the names most like a mistyped one, for a message."""
    near = difflib.get_close_matches(name, list(known), n=5, cutoff=0.4)
    return f"did you mean {', '.join(near)}?" if near else "no known name is like it."


def clip_preprocessing(size: int) -> dict[str, Any]:
    """Return the preprocessing of OpenAI's CLIP at a size."""
    import open_clip

    mean, std = list(open_clip.OPENAI_DATASET_MEAN), list(open_clip.OPENAI_DATASET_STD)
    return {"size": size, "mean": mean, "std": std, "interpolation": "bicubic", "crop": 1.0}


def squashed(backbone: Backbone, mode: str) -> dict[str, Any]:
    """Return what is recorded of how images become square: nothing for the usual centre crop."""
    if mode not in ("center", "shortest", "squash"):
        raise ModelError(f"{backbone} pads images to a square (mode {mode!r}), which shiftline does not do: choose another model.")
    return {"squash": True} if mode == "squash" else {}


def without_projection(encoder: nn.Module, features: int, architecture: str) -> int:
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
