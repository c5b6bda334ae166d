"""Files that the originals' programs wrote, as artifacts of a store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from shiftline.backbones.open_clip import OpenClip
from shiftline.contracts.backbones import Backbone
from shiftline.contracts.identity import SCHEMA
from shiftline.errors import ModelError
from shiftline.launch.interchange import publish_import, publish_model
from shiftline.store.artifacts import Store


def import_file(
    store: Store,
    path: Path,
    *,
    architecture: str | None = None,
    weights: str = "ema",
    class_ids: Sequence[str] = (),
    resample: bool = False,
    say: Callable[[str], None] = lambda note: None,
) -> str:
    """Publish the model of a file as an artifact.

    Parameters
    ----------
    architecture : str, optional
        "timm:NAME" or "open_clip:NAME:TAG" (OpenAI's unless given), for a file that says nothing about itself. A classifier that
        the program of the WiSE-FT paper wrote is known by its names, and its CLIP by its shapes.
    weights : str
        "ema" or "raw", of a checkpoint that holds both.
    class_ids : sequence of str
        Identifiers of the classes of its head, in the order of its outputs; those that a checkpoint names unless given.
    resample : bool
        Resize the position embeddings of a timm model to its number of patches.
    say : callable
        Is given a line for each choice that was made.

    Returns
    -------
    str
        Its key, a function of the weights and of how the model is built: importing twice gives one artifact.

    Raises
    ------
    ModelError
        The file is missing or damaged, a pickle of objects, or not of the architecture.
    """
    from shiftline.networks.interchange import from_library, says_what_it_is

    library, _, name = (architecture or "").partition(":")
    if library == "timm" or says_what_it_is(path):
        state, spec = from_library(path, architecture, weights=weights, resample=resample, say=say)
        if class_ids and len(class_ids) != spec.num_classes:
            raise ModelError(f"{path} has a head of {spec.num_classes} outputs, {len(class_ids)} classes are named: name each.")
        return publish_model(store, path, state, replace(spec, class_ids=tuple(class_ids) or spec.class_ids))
    if class_ids or resample:
        raise ModelError("--classes and --resample-positions are for --architecture timm:NAME: leave them out.")
    if library not in ("", "open_clip") or (library and not name):
        raise ModelError(f"--architecture {architecture}: expected timm:NAME or open_clip:NAME:TAG.")
    if weights != "ema":
        raise ModelError(f"--weights {weights}: only files of timm models may hold two sets of weights. Leave it out for {path}.")
    clip, _, tag = name.partition(":")
    return import_classifier(store, path, OpenClip(clip, tag or "openai") if library else None)


def import_classifier(store: Store, path: Path, backbone: Backbone | None = None) -> str:
    """Publish the classifier of a file that the WiSE-FT paper's program, or `shiftline wise-ft --save`, wrote.

    Parameters
    ----------
    backbone : Backbone, optional
        Which CLIP it is, for a file that does not say; one of OpenAI's by its shapes unless given.

    Raises
    ------
    ModelError
        The file is damaged, of another CLIP, or has no head.
    """
    from shiftline.networks.interchange import from_library, says_what_it_is
    from shiftline.papers.classifiers import read_classifier

    if says_what_it_is(path):
        return publish_model(store, path, *from_library(path, None))
    state, spec, headed = read_classifier(path, backbone)
    if not headed:
        raise ModelError(
            f"{path} has no head: only whole classifiers are taken in. Encoders alone are patched: shiftline patch --load. Where "
            "the file has a text tower too, declare ZeroShot(LocalWeights(open_clip(...), path))."
        )
    return publish_model(store, path, state, spec)


def import_encoder(store: Store, path: Path, backbone: Backbone | None = None) -> str:
    """Publish the image tower of a file, under whatever head it has: what is wanted gets one of its own."""
    from shiftline.networks.interchange import from_library, says_what_it_is
    from shiftline.papers.classifiers import read_classifier

    found = from_library(path, None) if says_what_it_is(path) else read_classifier(path, backbone)[:2]
    return publish_model(store, path, *found)


def import_fisher(store: Store, path: Path) -> str:
    """Publish Fisher information of a file that `shiftline fisher`, or the WiSE-FT paper's program, wrote; return its key.

    Raises
    ------
    ModelError
        The file is damaged, or holds something else.
    """
    from safetensors.torch import save_file

    from shiftline.contracts.files import FISHER
    from shiftline.networks.pretrained import weights_digest
    from shiftline.papers.classifiers import read_fisher

    information = read_fisher(path)
    document = {"schema": SCHEMA, "kind": "import", "fisher": weights_digest(information), "parents": []}
    return publish_import(store, path, document, lambda folder: save_file(information, folder / FISHER))
