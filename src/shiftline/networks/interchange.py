"""Our models under the names that timm and open_clip give their tensors, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from shiftline.contracts.backbones import library_named
from shiftline.errors import ModelError
from shiftline.networks.checkpoint import classes_of_file, fill_counters, misfit, read_checkpoint, resample_positions
from shiftline.networks.pretrained import resolve
from shiftline.networks.spec import ModelSpec, build_classifier


def to_library(state: Mapping[str, Tensor], spec: ModelSpec) -> dict[str, Tensor]:
    """Return weights under a library's names: for timm the whole model, for open_clip the image tower and the head.

    Raises
    ------
    ModelError
        The architecture belongs to no library, or the library's model has no linear classifier in one place.
    """
    named = library_named(spec.library).export_names(state, spec)
    return {name: tensor.contiguous() for name, tensor in named.items()}


def loading_code(spec: ModelSpec, path: Path) -> str:
    """Return the Python that loads an exported file with the library alone."""
    return library_named(spec.library).loading_code(spec, str(path))


def from_library(
    path: Path,
    architecture: str | None,
    *,
    weights: str = "ema",
    resample: bool = False,
    say: Callable[[str], None] = lambda note: None,
) -> tuple[dict[str, Tensor], ModelSpec]:
    """Read a file of weights with a head, and find out how its model is built.

    Parameters
    ----------
    architecture : str, optional
        "timm:NAME", for a file that says nothing about itself.
    weights : str
        "ema" or "raw", of a checkpoint that holds both.
    resample : bool
        Resize position embeddings to the network's number of patches.
    say : callable
        Is given a line for each choice that was made.

    Raises
    ------
    ModelError
        The file is missing or damaged; or the architecture is needed, unknown, or another one.
    """
    spec = _own_metadata(path)
    if spec is not None and architecture is not None and architecture != f"{spec.library}:{spec.architecture}":
        raise ModelError(
            f"{path} says that it is {spec.library}:{spec.architecture}, --architecture says {architecture}: leave it out."
        )
    checkpoint = read_checkpoint(path, weights=weights)
    for note in checkpoint.notes:
        say(note)
    state = checkpoint.state
    spec = spec or _timm_spec(path, state, str(architecture).removeprefix("timm:"))
    with torch.random.fork_rng(devices=[]):
        wanted = build_classifier(spec).state_dict()
    renamed = fill_counters(library_named(spec.library).import_names(state, spec), wanted)
    if resample:
        renamed = resample_positions(renamed, wanted)
    if wrong := misfit(renamed, wanted):
        raise ModelError(f"{path} does not hold a {spec.architecture}: {wrong}.")
    if unknown := sorted(set(renamed) - set(wanted)):
        raise ModelError(
            f"{path} does not hold a {spec.architecture}: it has {len(unknown)} tensors more, for example {unknown[0]!r}."
        )
    return {name: t.float() if t.is_floating_point() else t for name, t in renamed.items()}, spec


def _timm_spec(path: Path, state: Mapping[str, Tensor], name: str) -> ModelSpec:
    timm = library_named("timm")
    record = resolve(timm(name), with_weights=False)  # type: ignore[call-arg]
    classifiers = [head for head in timm.heads(record) if f"{head}.weight" in state]
    if not classifiers:
        heads = ", ".join(f"{head}.weight" for head in timm.heads(record))
        raise ModelError(
            f"{path} has no classifier of {name} ({heads or 'no single one'}; its tensors are named {', '.join(list(state)[:3])}, "
            "...): only whole models are imported."
        )
    classes, named = len(state[f"{classifiers[0]}.weight"]), classes_of_file(path)
    spec = ModelSpec("timm", record.architecture, record.arguments, "plain", classes, record.preprocessing)
    return dataclasses.replace(spec, class_ids=named) if len(named) == classes else spec


def says_what_it_is(path: Path) -> bool:
    """A file holds the metadata that rebuild its model."""
    return _own_metadata(path) is not None


def _own_metadata(path: Path) -> ModelSpec | None:
    if path.suffix != ".safetensors" or not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise ModelError(f"{path} is damaged ({error}).") from error
    return ModelSpec.from_json(metadata["shiftline"]) if "shiftline" in metadata else None
