"""Resolving leaves: a name becomes a full tag, a digest of the weights, and a preprocessing."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from shiftline.declare.architectures import (
    Architecture,
    GlyphClip,
    GlyphNet,
    Leaf,
    LocalWeights,
    OpenClip,
    RandomClip,
    Timm,
)
from shiftline.errors import ModelError
from shiftline.identity import canonical
from shiftline.models.glyph_clip import ASSET, build_glyph_clip, glyph_tokenizer
from shiftline.models.random_clip import SIDE, build_random_clip
from shiftline.models.spec import ModelSpec, build_encoder
from shiftline.plan.records import LeafRecord
from shiftline.weights.interpolate import has_finite_values

GLYPH_PREPROCESSING = {"size": 32, "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "crop": 1.0}


def weights_digest(state: Mapping[str, Tensor]) -> str:
    """Return the sha256 over names, types, shapes and values, in the order of the names."""
    total = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        total.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def resolve_leaf(leaf: Leaf, *, with_weights: bool) -> LeafRecord:
    """Find out what a leaf stands for.

    Parameters
    ----------
    with_weights : bool
        Load the pre-trained weights and digest them; otherwise only the architecture is looked at.

    Raises
    ------
    ModelError
        The name is unknown (the closest ones are listed), or the weights cannot be had.
    """
    architecture = architecture_of(leaf)
    arguments: dict[str, Any] = {}
    if isinstance(architecture, Timm):
        library, (name, tag, preprocessing), text = "timm", _timm_names(architecture), False
    elif isinstance(architecture, OpenClip):
        library, name, tag, text = "open_clip", architecture.name, architecture.pretrained, True
        preprocessing = _open_clip_preprocessing(architecture)
        arguments = {"quick_gelu": _quick_gelu(architecture)}
    elif isinstance(architecture, GlyphClip):
        library, name, tag, preprocessing, text = "shiftline", "glyph-clip", "typed", GLYPH_PREPROCESSING, True
    elif isinstance(architecture, RandomClip):
        library, name, tag, text = "shiftline", "random-clip", f"seed {architecture.seed}", True
        preprocessing = clip_preprocessing(SIDE)
    elif isinstance(architecture, GlyphNet):
        library, name, tag, preprocessing, text = "shiftline", architecture.name, None, GLYPH_PREPROCESSING, False
    elif isinstance(architecture, Architecture):
        library, name, tag, text = "own", f"{type(architecture).tag}@{type(architecture).revision}", None, False
        preprocessing = {
            "size": architecture.size, "mean": list(architecture.mean), "std": list(architecture.std),
            "interpolation": architecture.interpolation, "crop": architecture.crop,
        }  # fmt: skip
        arguments = {k: v for k, v in canonical(architecture).items() if k not in ("type", "revision")}
    else:
        raise ModelError(f"{type(leaf).__name__} is no leaf that can be resolved.")
    record = LeafRecord(
        library, name, tag, None, preprocessing, text, arguments, backbone=not text or _has_backbone(architecture)
    )
    if not with_weights or isinstance(leaf, (GlyphNet, Architecture)):
        return record
    state = pretrained_state(leaf)
    _check_finite(leaf, state)
    _encoder_part(leaf, state, record)  # Weights of another architecture are found now, not in the middle of a study.
    classes = (
        len(state[f"{classifier_names(record)[0]}.weight"])
        if library == "timm" and has_classifier(record, state)
        else None
    )
    return dataclasses.replace(record, sha256=weights_digest(state), num_classes=classes)


def _has_backbone(architecture: Leaf) -> bool:
    """The features before the projection can be had: a transformer's can, those of CLIP's ResNets cannot."""
    if not isinstance(architecture, OpenClip):
        return True
    import open_clip

    vision = open_clip.get_model_config(architecture.name)["vision_cfg"]
    return not isinstance(vision.get("layers"), list)


def _check_finite(leaf: Leaf, state: Mapping[str, Tensor]) -> None:
    for name, tensor in state.items():
        if not has_finite_values(tensor):
            raise ModelError(
                f"{leaf}: the weights {name!r} hold NaN or infinite values: nothing can be trained from them."
            )


def architecture_of(leaf: Leaf) -> Leaf:
    """Return the architecture of a leaf, which for local weights is declared beside the file."""
    return leaf.architecture if isinstance(leaf, LocalWeights) else leaf


def leaf_spec(record: LeafRecord, *, num_classes: int, features: str) -> ModelSpec:
    """Return how a classifier on a leaf is built; `features` other than "plain" are those of a vision-language model."""
    seen = features if record.text else "plain"
    return ModelSpec(record.library, record.architecture, record.arguments, seen, num_classes, record.preprocessing)


def _checked_state(leaf: Leaf, record: LeafRecord) -> dict[str, Tensor]:
    """Return the pre-trained weights, which must be those that the study was planned with."""
    state = pretrained_state(leaf)
    found = weights_digest(state)
    if record.sha256 is not None and found != record.sha256:
        raise ModelError(
            f"the weights of {leaf} changed: sha256 {record.sha256[:12]}... was recorded when the study was planned, "
            f"{found[:12]}... is there now. Restore the file, or delete the leaves folder of the store to plan with the new one."
        )
    return state


def encoder_state(leaf: Leaf, record: LeafRecord, *, backbone: bool = False) -> dict[str, Tensor]:
    """Return the pre-trained weights of the image encoder, float32, named as `build_encoder` names them.

    With `backbone`, those of the projection are left out.

    Raises
    ------
    ModelError
        The weights are not those of the record, or of another architecture.
    """
    return _encoder_part(leaf, _checked_state(leaf, record), record, backbone=backbone)


def classifier_state(leaf: Leaf, record: LeafRecord) -> dict[str, Tensor]:
    """Return pre-trained weights with the head that they bring, named as `shiftline.models.classifier.Classifier` names them.

    Raises
    ------
    ModelError
        The weights are not those of the record, or have no linear classifier.
    """
    state = _checked_state(leaf, record)
    if not has_classifier(record, state):
        raise ModelError(f"{leaf} has no linear classifier of its own: fine-tune it, or name weights that have one.")
    weight, bias = classifier_of(record, state)
    encoder = _encoder_part(leaf, state, record)
    return {f"encoder.{name}": t for name, t in encoder.items()} | {"head.weight": weight, "head.bias": bias}


AVERAGED_HEADS = ("efficientformerv2",)
"""Architectures of timm whose logits are the mean of two heads on the same features; others with two heads are refused."""


def classifier_names(record: LeafRecord) -> tuple[str, ...]:
    """Return where timm says that the classifier of an architecture is; none where it is no linear layer on the features."""
    import timm

    name = f"{record.architecture}.{record.weights}" if record.weights else record.architecture
    config = timm.models.get_pretrained_cfg(name, allow_unregistered=False)
    places = config.to_dict().get("classifier") if config is not None else None
    if isinstance(places, str):
        return (places,)
    return tuple(places or ()) if record.architecture.startswith(AVERAGED_HEADS) else ()


def has_classifier(record: LeafRecord, state: Mapping[str, Tensor]) -> bool:
    """The weights of a timm model hold a linear classifier (or a 1 x 1 convolution, which is one after pooling)."""
    weights = [state.get(f"{name}.weight") for name in classifier_names(record)]
    return bool(weights) and all(w is not None and w.flatten(1).shape[1] == w.shape[1] for w in weights)


def classifier_of(record: LeafRecord, state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return weight (classes, features) and bias of a timm model's classifier, float32; the average of two heads is a head."""
    names = classifier_names(record)
    weights = [state[f"{name}.weight"].float().flatten(1) for name in names]
    zeros = torch.zeros(len(weights[0]))
    biases = [state.get(f"{name}.bias", zeros).float() for name in names]
    return torch.stack(weights).mean(dim=0), torch.stack(biases).mean(dim=0)


def _encoder_part(
    leaf: Leaf, state: Mapping[str, Tensor], record: LeafRecord, *, backbone: bool = False
) -> dict[str, Tensor]:
    with torch.random.fork_rng(devices=[]):
        encoder, _ = build_encoder(record.library, record.architecture, record.arguments, backbone=backbone)
    wanted = encoder.state_dict()
    if record.text:
        state = {name.removeprefix("visual."): t for name, t in state.items() if name.startswith("visual.")}
    missing = sorted(name for name in wanted if name not in state or state[name].shape != wanted[name].shape)
    if missing:
        raise ModelError(
            f"{leaf}: the weights are not those of {record.architecture}: {len(missing)} of {len(wanted)} tensors are missing or "
            f"of another shape, for example {missing[0]!r}. Name the architecture that the file was written with."
        )
    # The classifier of the pre-training classes is not part of the encoder.
    return {name: t.float() if t.is_floating_point() else t for name, t in state.items() if name in wanted}


def text_model(leaf: Leaf, record: LeafRecord) -> tuple[nn.Module, Callable[..., Tensor]]:
    """Return the whole vision-language model with its weights, and its tokenizer.

    Raises
    ------
    ModelError
        There is no text tower, or the weights are not those of the record.
    """
    architecture = architecture_of(leaf)
    if isinstance(architecture, GlyphClip):
        model, tokenizer = build_glyph_clip(), glyph_tokenizer()
    elif isinstance(architecture, RandomClip):
        import open_clip

        model, tokenizer = build_random_clip(), open_clip.get_tokenizer("ViT-B-32")
    elif isinstance(architecture, OpenClip):
        import open_clip

        model = open_clip.create_model(
            architecture.name,
            pretrained=None,
            force_quick_gelu=bool(record.arguments["quick_gelu"]),
            load_weights=False,
        )
        tokenizer = open_clip.get_tokenizer(architecture.name)
    else:
        raise ModelError(f"{leaf} has no text tower: expected open_clip(...) or glyph_clip().")
    state = _checked_state(leaf, record)
    try:
        model.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in state.items()})
    except RuntimeError as error:
        raise ModelError(
            f"{leaf}: the weights are not those of {record.architecture}: {str(error).splitlines()[-1]}"
        ) from error
    return model.eval(), tokenizer


def pretrained_state(leaf: Leaf) -> dict[str, Tensor]:
    """Return the pre-trained weights as they are stored.

    Raises
    ------
    ModelError
        They cannot be downloaded, the file is missing or damaged, or is a pickle of objects.
    """
    if isinstance(leaf, LocalWeights):
        return _read_local(leaf)
    if isinstance(leaf, GlyphClip):
        return load_file(ASSET)
    if isinstance(leaf, RandomClip):
        return build_random_clip(leaf.seed).state_dict()
    if isinstance(leaf, Timm):
        import timm

        name, tag, _ = _timm_names(leaf)
        return _downloaded(leaf, lambda: timm.create_model(f"{name}.{tag}" if tag else name, pretrained=True))
    if isinstance(leaf, OpenClip):
        import open_clip

        _open_clip_preprocessing(leaf)
        return _downloaded(leaf, lambda: open_clip.create_model(leaf.name, pretrained=leaf.pretrained))
    raise ModelError(f"{leaf} has no pre-trained weights.")


def _downloaded(leaf: Leaf, load: Callable[[], nn.Module]) -> dict[str, Tensor]:
    try:
        return load().state_dict()
    except Exception as error:
        raise ModelError(
            f"the weights of {leaf!r} cannot be had ({type(error).__name__}: {str(error).splitlines()[0][:200]}): they "
            "are downloaded on first use. Without a network, put the file here and declare "
            "LocalWeights(architecture, path)."
        ) from error


def _read_local(leaf: LocalWeights) -> dict[str, Tensor]:
    path = Path(leaf.path)
    if not path.is_file():
        raise ModelError(f"LocalWeights: {path} does not exist. Give the path of a .safetensors or a state-dict file.")
    try:
        state = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except SafetensorError as error:
        raise ModelError(f"LocalWeights: {path} is damaged ({error}).") from error
    except Exception as error:
        raise ModelError(
            f"LocalWeights: {path} is not a plain state dict ({type(error).__name__}): a pickle of objects can run code "
            "when it is loaded and is refused. In the program that wrote it, save model.state_dict() with safetensors."
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise ModelError(f"LocalWeights: {path} holds no state dict: expected names with tensors.")
    return state


def closest(name: str, known: Iterable[str]) -> str:
    """Return the names most like a mistyped one, for a message."""
    near = difflib.get_close_matches(name, list(known), n=5, cutoff=0.4)
    return f"did you mean {', '.join(near)}?" if near else "no known name is like it."


def _timm_names(leaf: Timm) -> tuple[str, str | None, dict[str, Any]]:
    """Return architecture, tag (the default one where none is given) and preprocessing."""
    import timm

    name, _, tag = leaf.name.partition(".")
    known = timm.list_models()
    if name not in known:
        raise ModelError(f"timm has no model {name!r}: {closest(name, known)}")
    if tag:
        tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{name}.*")]
        if tag not in tags:
            raise ModelError(f"timm has no weights {leaf.name!r}: {name} has the tags {', '.join(tags) or 'none'}.")
    config = timm.models.get_pretrained_cfg(f"{name}.{tag}" if tag else name, allow_unregistered=False)
    settings = config.to_dict() if config is not None else {}
    size = settings.get("input_size") or (3, 224, 224)
    preprocessing = {
        "size": size[-1],
        "mean": list(settings.get("mean") or (0.485, 0.456, 0.406)),
        "std": list(settings.get("std") or (0.229, 0.224, 0.225)),
        "interpolation": settings.get("interpolation") or "bicubic",
        "crop": float(settings.get("crop_pct") or 0.875),
    } | _squashed(leaf, settings.get("crop_mode") or "center")
    return name, tag or settings.get("tag") or None, preprocessing


def _open_clip_preprocessing(leaf: OpenClip) -> dict[str, Any]:
    import open_clip

    known = open_clip.list_models()
    if leaf.name not in known:
        raise ModelError(f"open_clip has no model {leaf.name!r}: {closest(leaf.name, known)}")
    tags = open_clip.list_pretrained_tags_by_model(leaf.name)
    if leaf.pretrained not in tags:
        raise ModelError(
            f"open_clip has no weights {leaf.pretrained!r} for {leaf.name}: it has {', '.join(tags) or 'none'}."
        )
    settings = open_clip.get_pretrained_cfg(leaf.name, leaf.pretrained) or {}
    size = open_clip.get_model_config(leaf.name)["vision_cfg"]["image_size"]
    return {
        "size": size if isinstance(size, int) else size[0],
        "mean": list(settings.get("mean") or open_clip.OPENAI_DATASET_MEAN),
        "std": list(settings.get("std") or open_clip.OPENAI_DATASET_STD),
        "interpolation": settings.get("interpolation") or "bicubic",
        "crop": 1.0,
    } | _squashed(leaf, settings.get("resize_mode") or "shortest")


def clip_preprocessing(size: int) -> dict[str, Any]:
    """Return the preprocessing of OpenAI's CLIP at a size."""
    import open_clip

    return {
        "size": size, "mean": list(open_clip.OPENAI_DATASET_MEAN), "std": list(open_clip.OPENAI_DATASET_STD),
        "interpolation": "bicubic", "crop": 1.0,
    }  # fmt: skip


def _squashed(leaf: Leaf, mode: str) -> dict[str, Any]:
    """Return what is recorded of how images become square: nothing for the usual centre crop."""
    if mode not in ("center", "shortest", "squash"):
        raise ModelError(
            f"{leaf} pads images to a square (mode {mode!r}), which shiftline does not do: choose another model."
        )
    return {"squash": True} if mode == "squash" else {}


def _quick_gelu(leaf: OpenClip) -> bool:
    """OpenAI's weights need QuickGELU; open_clip knows it from the tag, a rebuilt model has to be told."""
    import open_clip

    config = open_clip.get_model_config(leaf.name) or {}
    tag = open_clip.get_pretrained_cfg(leaf.name, leaf.pretrained) or {}
    return bool(config.get("quick_gelu") or tag.get("quick_gelu"))
