"""Is our evaluation the libraries' own? The same network on our pixels and on those of its library's transform."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from shiftline.backbones.open_clip import OpenClip
from shiftline.backbones.timm import Timm
from shiftline.contracts.distributions import Split
from shiftline.contracts.require import counted
from shiftline.data.family import Listing
from shiftline.data.loader import evaluation_chunks
from shiftline.data.sidecar import DataFolder
from shiftline.data.views import open_view, select_some
from shiftline.datasets.imagenet import synsets
from shiftline.errors import DataError, ModelError
from shiftline.launch.parity_model import ParityModel
from shiftline.networks.heads import zero_shot_head
from shiftline.networks.preprocessing import normalise, resize_and_crop
from shiftline.networks.pretrained import resolve

BATCH = 64


@dataclass(frozen=True)
class Parity:
    """How far apart two evaluations are.

    Attributes
    ----------
    pixel_mean, pixel_largest : float, int
        Absolute differences of pixels, 0 to 255.
    logit_largest, logit_range : float
        Largest absolute difference of logits, and the difference of the largest and smallest logit.
    ours, theirs : float
        Accuracies, fractions.
    differ : int
        Images with another prediction.
    """

    images: int
    pixel_mean: float
    pixel_largest: int
    logit_largest: float
    logit_range: float
    ours: float
    theirs: float
    differ: int


@torch.no_grad()
def compare(model: ParityModel, listing: Listing, split: Split, folder: DataFolder, *, count: int) -> Parity:
    """Evaluate some images of a written split and the files that they were written from.

    Raises
    ------
    DataError
        The split was written from other files, or without some of them.
    """
    sidecar = folder.open(split)
    if sidecar.skipped or sidecar.record.count != len(listing.examples):
        written = counted(sidecar.record.count, "image")
        raise DataError(
            f"{split} was written with {written}, the files are {len(listing.examples)}: write it again, without --skip-damaged."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network, transform, preprocessing = _library_model(model, listing)
    view = select_some(open_view(split, folder), count)
    mean, std = (torch.tensor(preprocessing[name])[:, None, None] for name in ("mean", "std"))
    pixels: list[Tensor] = []
    logits: list[tuple[Tensor, Tensor]] = []
    for chunk in evaluation_chunks(view, chunk_size=BATCH):
        ours = torch.cat([resize_and_crop(run, preprocessing) for run in chunk.images])
        theirs = torch.stack([transform(_opened(listing, int(example))) for example in chunk.ids])
        pixels.append((ours.float() - (theirs * std + mean) * 255).abs())
        logits.append((network(normalise(ours, preprocessing)), network(theirs)))
    difference = torch.cat(pixels)
    a, b = (torch.cat([pair[side] for pair in logits]) for side in (0, 1))
    labels = torch.from_numpy(view.labels)
    return Parity(
        len(view),
        float(difference.mean()),
        round(float(difference.max())),
        float((a - b).abs().max()),
        float(b.max() - b.min()),
        float((a.argmax(1) == labels).double().mean()),
        float((b.argmax(1) == labels).double().mean()),
        int((a.argmax(1) != b.argmax(1)).sum()),
    )


def _opened(listing: Listing, example: int) -> Any:
    from PIL import Image

    source = listing.examples[example].source
    if isinstance(source, Path):
        return Image.open(source).convert("RGB")
    return Image.fromarray(source) if isinstance(source, np.ndarray) else source().convert("RGB")  # type: ignore[operator]


def _library_model(
    model: ParityModel, listing: Listing
) -> tuple[Callable[[Tensor], Tensor], Callable[[Any], Tensor], dict[str, Any]]:
    """Return a network from normalised images to logits, its library's transform, and our record of that transform."""
    name = model.architecture if model.weights is None else f"{model.architecture}.{model.weights}"
    if model.library == "timm":
        import timm

        preprocessing = dict(resolve(Timm(name), with_weights=False).preprocessing)
        random = {} if model.weights else {"num_classes": len(listing.classes)}
        network: nn.Module = timm.create_model(name, pretrained=model.weights is not None, **random)
        columns = _columns(int(network.num_classes), listing)  # type: ignore[arg-type]
        config = timm.data.resolve_data_config({}, model=network)
        network.eval()
        return (lambda images: network(images)[:, columns], timm.data.create_transform(**config, is_training=False), preprocessing)
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(model.architecture)
    backbone = OpenClip(model.architecture, model.weights or next(iter(tags), ""))
    preprocessing = dict(resolve(backbone, with_weights=False).preprocessing)
    clip, _, transform = open_clip.create_model_and_transforms(model.architecture, pretrained=model.weights)
    clip.eval()
    weight, bias = zero_shot_head(
        clip, open_clip.get_tokenizer(model.architecture), [(c,) for c in listing.classes], ("a photo of a {}.",)
    )

    def network_of_clip(images: Tensor) -> Tensor:
        logits: Tensor = clip.encode_image(images, normalize=True) @ weight.T + bias
        return logits

    return network_of_clip, transform, preprocessing


def _columns(outputs: int, listing: Listing) -> list[int]:
    """Return the outputs of a network that are the classes of the images: all of them, or some of ImageNet's."""
    if outputs == len(listing.classes):
        return list(range(outputs))
    label_of = {wnid: label for label, wnid in enumerate(synsets())}
    if outputs != len(label_of) or not set(listing.description.class_ids) <= set(label_of):
        raise ModelError(
            f"the network has {outputs} outputs, the images {len(listing.classes)} classes: name no weights, for a network "
            "with random ones and a head of its own."
        )
    return [label_of[wnid] for wnid in listing.description.class_ids]
