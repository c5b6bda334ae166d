"""Our models under the names that timm and open_clip give their tensors, and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from shiftline.contracts.backbones import library_named
from shiftline.errors import ModelError
from shiftline.networks.pretrained import read_state, resolve
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


def from_library(path: Path, architecture: str | None) -> tuple[dict[str, Tensor], ModelSpec]:
    """Read a file of weights with a head, and find out how its model is built.

    Parameters
    ----------
    architecture : str, optional
        "timm:NAME", for a file that says nothing about itself.

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
    state = read_state(path)
    spec = spec or _timm_spec(path, state, str(architecture).removeprefix("timm:"))
    renamed = library_named(spec.library).import_names(state, spec)
    with torch.random.fork_rng(devices=[]):
        wanted = build_classifier(spec).state_dict()
    names = set(wanted) | set(renamed)
    wrong = sorted(n for n in names if n not in wanted or n not in renamed or wanted[n].shape != renamed[n].shape)
    if wrong:
        raise ModelError(
            f"{path} does not hold a {spec.architecture}: {len(wrong)} of {len(wanted)} tensors are missing, unknown or of another "
            f"shape, for example {wrong[0]!r}."
        )
    return {name: t.float() if t.is_floating_point() else t for name, t in renamed.items()}, spec


def _timm_spec(path: Path, state: Mapping[str, Tensor], name: str) -> ModelSpec:
    timm = library_named("timm")
    record = resolve(timm(name), with_weights=False)  # type: ignore[call-arg]
    classifiers = [head for head in timm.heads(record) if f"{head}.weight" in state]
    if not classifiers:
        raise ModelError(f"{path} has no classifier of {name} ({timm.heads(record)}): only whole models are imported.")
    classes = len(state[f"{classifiers[0]}.weight"])
    return ModelSpec("timm", record.architecture, record.arguments, "plain", classes, record.preprocessing)


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
