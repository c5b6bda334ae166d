"""Our models under the names that timm and open_clip give their tensors, and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from shiftline.declare.architectures import LocalWeights, OpenClip, Timm
from shiftline.errors import ModelError
from shiftline.models.leaves import pretrained_state, resolve_leaf
from shiftline.models.originals import read_classifier
from shiftline.models.spec import ModelSpec, build_classifier

ENCODER, HEAD = "encoder.", "head."


def to_library(state: Mapping[str, Tensor], spec: ModelSpec) -> dict[str, Tensor]:
    """Return weights under a library's names.

    For timm: the whole model, its classifier included. For open_clip: the image tower as ``visual.*``, and the head, which
    open_clip has no place for, as ``head.weight`` and ``head.bias``.

    Raises
    ------
    ModelError
        The architecture belongs to no library, or the library's model has no linear classifier in one place.
    """
    if spec.library == "open_clip":
        return {
            (f"visual.{name.removeprefix(ENCODER)}" if name.startswith(ENCODER) else name): tensor.contiguous()
            for name, tensor in state.items()
        }
    if spec.library != "timm":
        raise ModelError(
            f"{spec.architecture} is no architecture of timm or open_clip: nothing but shiftline could load an export. Its "
            "artifact is a safetensors file already."
        )
    model, classifier = _timm_model(spec)
    renamed = {_to_timm(name, classifier): tensor.contiguous() for name, tensor in state.items()}
    if set(renamed) != set(model.state_dict()):
        odd = sorted(set(renamed) ^ set(model.state_dict()))[0]
        raise ModelError(
            f"{spec.architecture} of timm puts more than a linear layer after its features ({odd!r}): it cannot be exported."
        )
    return renamed


def loading_code(spec: ModelSpec, path: Path) -> str:
    """Return the Python that loads an exported file with the library alone."""
    if spec.library == "timm":
        arguments = "".join(f", {name}={value!r}" for name, value in spec.arguments.items())
        return (
            f"import timm\nmodel = timm.create_model({spec.architecture!r}, num_classes={spec.num_classes}{arguments}, "
            f"checkpoint_path={str(path)!r}).eval()\nlogits = model(images)"
        )
    lines = [
        "import open_clip, torch",
        "from safetensors.torch import load_file",
        f"model = open_clip.create_model({spec.architecture!r}, pretrained=None, load_weights=False, "
        f"force_quick_gelu={bool(spec.arguments.get('quick_gelu'))})",
        f"state = load_file({str(path)!r})",
    ]
    if spec.features == "backbone":
        projection = "proj = None" if _has_projection_parameter(spec) else "head.proj = torch.nn.Identity()"
        lines.append(f"model.visual.{projection}  # The head sits on the features before the projection.")
    lines += [
        "model.load_state_dict(state, strict=False)",
        "features = model.eval().visual(images)",
    ]
    if spec.features == "embedding":
        lines.append("features = torch.nn.functional.normalize(features, dim=-1)")
    return "\n".join([*lines, 'logits = features @ state["head.weight"].T + state["head.bias"]'])


def from_library(path: Path, architecture: str | None) -> tuple[dict[str, Tensor], ModelSpec]:
    """Read a file of weights with a head, and find out how its model is built.

    Parameters
    ----------
    architecture : str, optional
        "timm:NAME" or "open_clip:NAME:TAG" (OpenAI's unless given), for a file that says nothing about itself. A classifier that
        the program of the WiSE-FT paper wrote is known by its names, and its CLIP by its shapes.

    Raises
    ------
    ModelError
        The file is missing or damaged; or the architecture is needed, unknown, or another one.
    """
    spec = _own_metadata(path)
    library, _, name = (architecture or "").partition(":")
    if spec is None and library != "timm":
        return _clip_classifier(path, library, name)
    if spec is not None and architecture is not None and architecture != f"{spec.library}:{spec.architecture}":
        raise ModelError(
            f"{path} says that it is {spec.library}:{spec.architecture}, --architecture says {architecture}: leave it out."
        )
    if spec is None:
        record = resolve_leaf(Timm(name), with_weights=False)
        state = pretrained_state(LocalWeights(Timm(name), str(path)))
        spec = ModelSpec("timm", record.architecture, record.arguments, "plain", 1, record.preprocessing)
        weight = state.get(f"{_timm_model(spec)[1]}.weight")
        if weight is None:
            raise ModelError(
                f"{path} has no classifier of {name} ({_timm_model(spec)[1]}.weight): only whole models are imported."
            )
        spec = ModelSpec("timm", record.architecture, record.arguments, "plain", len(weight), record.preprocessing)
    else:
        state = pretrained_state(LocalWeights(Timm("any"), str(path)))
    renamed = _from_library(state, spec)
    with torch.random.fork_rng(devices=[]):
        wanted = build_classifier(spec).state_dict()
    wrong = sorted(
        name for name in set(wanted) | set(renamed)
        if name not in wanted or name not in renamed or wanted[name].shape != renamed[name].shape
    )  # fmt: skip
    if wrong:
        raise ModelError(
            f"{path} does not hold a {spec.architecture}: {len(wrong)} of {len(wanted)} tensors are missing, unknown or of another "
            f"shape, for example {wrong[0]!r}."
        )
    return {name: t.float() if t.is_floating_point() else t for name, t in renamed.items()}, spec


def _open_clip(name: str) -> OpenClip:
    architecture, _, tag = name.partition(":")
    return OpenClip(architecture, tag or "openai")


def _clip_classifier(path: Path, library: str, name: str) -> tuple[dict[str, Tensor], ModelSpec]:
    """Read a file that says nothing about itself, and is no model of timm."""
    if library not in ("", "open_clip") or (library and not name):
        raise ModelError(f"--architecture {library}:{name}: expected timm:NAME or open_clip:NAME:TAG.")
    state, spec, headed = read_classifier(path, _open_clip(name) if library else None)
    if not headed:
        raise ModelError(
            f"{path} has no head: only whole classifiers are imported. Where the file has a text tower too, declare "
            "ZeroShot(LocalWeights(open_clip(...), path))."
        )
    return state, spec


def _from_library(state: Mapping[str, Tensor], spec: ModelSpec) -> dict[str, Tensor]:
    if spec.library == "open_clip":
        return {
            (f"{ENCODER}{name.removeprefix('visual.')}" if name.startswith("visual.") else name): tensor
            for name, tensor in state.items()
        }
    if spec.library != "timm":
        return dict(state)  # Ours: the names are what they were.
    classifier = _timm_model(spec)[1]
    return {
        (HEAD + name.removeprefix(f"{classifier}.") if name.startswith(f"{classifier}.") else ENCODER + name): tensor
        for name, tensor in state.items()
    }


def _has_projection_parameter(spec: ModelSpec) -> bool:
    """open_clip's own transformers have a parameter to project with, timm's towers a layer."""
    import open_clip

    return "timm_model_name" not in open_clip.get_model_config(spec.architecture)["vision_cfg"]


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


def _timm_model(spec: ModelSpec) -> tuple[nn.Module, str]:
    """Return timm's own model and the name of its classifier."""
    import timm

    with torch.random.fork_rng(devices=[]):
        model = timm.create_model(spec.architecture, num_classes=spec.num_classes, **spec.arguments)
    classifier = model.pretrained_cfg.get("classifier")
    if not isinstance(classifier, str) or not isinstance(model.get_submodule(classifier), nn.Linear):
        raise ModelError(f"{spec.architecture} of timm has no linear classifier in one place: it cannot be exchanged.")
    return model, classifier


def _to_timm(name: str, classifier: str) -> str:
    return f"{classifier}.{name.removeprefix(HEAD)}" if name.startswith(HEAD) else name.removeprefix(ENCODER)
