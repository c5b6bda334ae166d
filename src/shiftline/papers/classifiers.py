"""Classifiers that the programs of the WiSE-FT and patching papers wrote: CLIP's image tower, with or without a head.

They are pickles of modules, or state dicts and safetensors of the same names. Read without running code, they become models like
any other: an encoder whose features are scaled to length one, and a linear head.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shiftline.backbones.glyphs import GlyphClip, RandomClip
from shiftline.backbones.open_clip import OpenClip
from shiftline.contracts.backbones import Backbone
from shiftline.errors import ModelError
from shiftline.networks.checkpoint import read_checkpoint
from shiftline.networks.pretrained import backbone_spec, resolve
from shiftline.networks.spec import ModelSpec, build_encoder
from shiftline.papers.pickles import read_pickle, tensors_of

OPENAI = ("RN50", "RN101", "RN50x4", "RN50x16", "RN50x64", "ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-L-14-336")
"""The models that OpenAI published, by open_clip's names."""
_TOWER = re.compile(r"^(?:module\.)?(?:image_encoder\.)?(?:model\.)?(?:visual|encoder)\.(?P<name>.+)$")
_ORIGINAL = re.compile(r"^(?:module\.)?(?:image_encoder\.)?model\.visual\.")
"""Names that only the originals' programs give, whose models are OpenAI's."""
_HEAD = re.compile(r"^(?:module\.)?(?:classification_head|head)\.(?P<name>weight|bias)$")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file of weights, a checkpoint of a training, or a pickle of modules, by their names.

    Raises
    ------
    ModelError
        The file is missing, damaged, or holds no tensors.
    """
    if not path.exists():
        raise ModelError(f"{path} does not exist. Give the path of a safetensors file, a state dict or a pickled classifier.")
    try:
        # The originals' names begin with "model.", by which they are known; wrappers' prefixes are none of them.
        return read_checkpoint(path, own_names=("model.",)).state
    except ModelError:
        if path.is_dir() or path.suffix == ".safetensors":
            raise
    # No checkpoint of a state dict: the originals' own format, or nothing that can be read.
    if zipfile.is_zipfile(path):
        raise ModelError(
            f"{path} is a whole module of torch.save, which can run code when it is loaded, or is damaged: save model.state_dict() "
            "instead."
        )
    tensors = tensors_of(read_pickle(path))
    if not tensors:
        raise ModelError(f"{path} holds no tensors: expected weights.")
    return tensors


def read_classifier(path: Path, backbone: Backbone | None = None) -> tuple[dict[str, Tensor], ModelSpec, bool]:
    """Read the image tower of a CLIP, with its head where the file has one.

    Parameters
    ----------
    backbone : Backbone, optional
        Which CLIP it is; one of OpenAI's, by its shapes, unless given.

    Returns
    -------
    state, spec
        As `shiftline.networks.spec.load_model` gives them.
    headed : bool
        The file has a head; otherwise the state has one of a single class, all zero.

    Raises
    ------
    ModelError
        The file is no such classifier, or of another CLIP than `backbone`.
    """
    found = read_weights(path)
    tower = {m["name"]: t for name, t in found.items() if (m := _TOWER.match(name))}
    head = {m["name"]: t for name, t in found.items() if (m := _HEAD.match(name))}
    if backbone is None and not any(_ORIGINAL.match(name) for name in found):
        # Shapes do not tell the activation: they are trusted only under names that OpenAI's models have.
        raise ModelError(
            f"{path} does not say what it is the weights of: give --architecture timm:NAME or open_clip:NAME:TAG "
            "(`shiftline import`), or --model."
        )
    if not tower:
        raise ModelError(
            f"{path} has no image tower of a CLIP: expected tensors named image_encoder.model.visual.*, model.visual.* or "
            f"visual.*, found {', '.join(list(found)[:3])}, ..."
        )
    backbone = backbone or _published_as(tower, path)
    record = resolve(backbone, with_weights=False)
    encoder, features = build_encoder(record.library, record.architecture, record.arguments)
    wanted = encoder.state_dict()
    wrong = [name for name in wanted if name not in tower or tower[name].shape != wanted[name].shape]
    if wrong:
        raise ModelError(
            f"{path} does not hold the image tower of {backbone}: {len(wrong)} of {len(wanted)} tensors are missing or of another "
            f"shape, for example {wrong[0]!r}. Say which CLIP it is."
        )
    state = {f"encoder.{name}": _plain(tower[name]) for name in wanted}
    weight = _plain(head["weight"]) if "weight" in head else torch.zeros(1, features)
    if weight.dim() != 2 or weight.shape[1] != features:
        raise ModelError(
            f"the head of {path} has the shape {tuple(weight.shape)}: expected (classes, {features}) on the features of {backbone}."
        )
    state |= {"head.weight": weight, "head.bias": _plain(head["bias"]) if "bias" in head else torch.zeros(len(weight))}
    return state, backbone_spec(record, num_classes=len(weight), features="embedding"), "weight" in head


def read_fisher(path: Path) -> dict[str, Tensor]:
    """Read Fisher information of a CLIP's image tower and head, named as ours.

    Raises
    ------
    ModelError
        The file is damaged, or holds negative values.
    """
    found = {}
    for name, tensor in read_weights(path).items():
        tower, head = _TOWER.match(name), _HEAD.match(name)
        if tower or head:
            found[f"encoder.{tower['name']}" if tower else f"head.{head['name']}"] = _plain(tensor)  # type: ignore[index]
    if not found:
        raise ModelError(f"{path} holds no Fisher information of a CLIP's image tower: expected a tensor per parameter.")
    if wrong := [name for name, tensor in found.items() if not bool((tensor >= 0).all())]:
        raise ModelError(f"{path}: {wrong[0]!r} holds negative values or NaN: Fisher information is 0 or more. Are these weights?")
    return found


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().float().contiguous() if tensor.is_floating_point() else tensor.detach().contiguous()


def _published_as(tower: Mapping[str, Tensor], path: Path) -> Backbone:
    """Return the CLIP whose image tower has these shapes."""
    import open_clip

    for name in OPENAI:
        config = open_clip.get_model_config(name)
        if _shape_of(config["vision_cfg"], config["embed_dim"]) == _shape_in(tower):
            return OpenClip(name, "openai")
    for backbone in (RandomClip(), GlyphClip()):
        record = resolve(backbone, with_weights=False)
        wanted = build_encoder(record.library, record.architecture, record.arguments)[0].state_dict()
        if all(name in tower and tower[name].shape == tensor.shape for name, tensor in wanted.items()):
            return backbone
    raise ModelError(f"{path} is none of OpenAI's CLIP models ({', '.join(OPENAI)}) by its shapes: say which architecture it is.")


def _shape_of(vision: Mapping[str, Any], embedding: int) -> tuple[Any, ...]:
    layers, width, side = vision["layers"], vision["width"], vision["image_size"]
    if isinstance(layers, list):
        return (tuple(layers), width // 2, (side // 32) ** 2 + 1, embedding)
    return (layers, width, (side // vision["patch_size"]) ** 2 + 1, embedding)


def _shape_in(tower: Mapping[str, Tensor]) -> tuple[Any, ...]:
    """Return depth, width of the first convolution, number of tokens and size of the embedding, as far as they are there."""
    if "attnpool.c_proj.weight" in tower:
        blocks = (len({name.split(".")[1] for name in tower if name.startswith(f"layer{stage}.")}) for stage in range(1, 5))
        tokens, embedding = tower["attnpool.positional_embedding"].shape[0], tower["attnpool.c_proj.weight"].shape[0]
        return (tuple(blocks), tower["conv1.weight"].shape[0], tokens, embedding)
    if {"conv1.weight", "positional_embedding", "proj"} <= set(tower):
        depth = len({name.split(".")[2] for name in tower if name.startswith("transformer.resblocks.")})
        return (depth, tower["conv1.weight"].shape[0], tower["positional_embedding"].shape[0], tower["proj"].shape[1])
    return ()
