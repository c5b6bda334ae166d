"""Checkpoints as training programs write them: one step in front of every reader, which says what it took.

A file may hold the weights in a nest ("state_dict", "model", ...), under the prefixes of wrappers ("module." of DataParallel,
"_orig_mod." of torch.compile, "model." of Lightning), and averaged over training beside as they were last.
"""

from __future__ import annotations

import argparse
import json
import math
import pickle
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from shiftline.errors import ModelError

RAW = ("state_dict", "model_state_dict", "model_state", "model", "network", "net", "module", "weights", "params")
EMA = ("state_dict_ema", "ema_state_dict", "model_ema", "ema_model", "averaged", "ema")
"""The keys of nests, the more usual first."""
PREFIXES = ("module.", "_orig_mod.", "model.")
COUNTER = "num_batches_tracked"
POSITIONS = ("pos_embed", "positional_embedding", "encoder.pos_embed", "encoder.positional_embedding")
"""Names of position embeddings: timm's, open_clip's, and both in a classifier."""
INDEXES = ("model.safetensors.index.json", "open_clip_model.safetensors.index.json")
SNAPSHOT = ("model.safetensors", "open_clip_model.safetensors", *INDEXES, "pytorch_model.bin", "open_clip_pytorch_model.bin")
"""What a folder of a model hub's snapshot has, in the order in which it is taken."""


@dataclass(frozen=True)
class Checkpoint:
    """Weights under the names of the network alone.

    Attributes
    ----------
    state : dict of str to Tensor
    notes : tuple of str
        What was chosen or left out.
    """

    state: dict[str, Tensor]
    notes: tuple[str, ...] = ()


def read_checkpoint(path: Path, *, weights: str = "ema", own_names: Collection[str] = ()) -> Checkpoint:
    """Read weights from a file, an index of files, or the folder of a model hub's snapshot.

    Parameters
    ----------
    weights : str
        Of two sets: "ema", those averaged over training, as timm's own loader; or "raw", those of the last step.
    own_names : collection of str
        The network's names, where they might begin as a wrapper's do: such a prefix stays.

    Raises
    ------
    ModelError
        The file is missing, cut off or damaged, a pickle of objects, or holds no weights; or not the set that was asked for.
    """
    document = _load(path)
    notes: list[str] = []
    found = _nested(document, path, weights, notes, depth=0)
    if found is None:
        holds = (
            f"the keys {', '.join(map(str, list(document)[:8]))}"
            if isinstance(document, Mapping)
            else f"a {type(document).__name__}"
        )
        raise ModelError(
            f"{path} holds no state dict but {holds}: expected names with tensors, alone or under one of {', '.join(RAW[:4])}."
        )
    state = {str(name): tensor for name, tensor in found.items() if name != "n_averaged"}
    for prefix in _prefixes(state, own_names):
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return Checkpoint(state, tuple(notes))


def classes_of_file(path: Path) -> tuple[str, ...]:
    """Return the names of the classes that a file of weights, or the config.json of a hub's snapshot, gives: in their order."""
    if path.is_dir():
        config = path / "config.json"
        try:
            return _class_names(json.loads(config.read_text(encoding="utf-8"))) if config.is_file() else ()
        except ValueError as error:
            raise ModelError(f"{config} is damaged: expected JSON.") from error
    return () if path.suffix in (".safetensors", ".json") else _class_names(_load(path))


def _class_names(document: Any, depth: int = 0) -> tuple[str, ...]:
    if not isinstance(document, Mapping) or depth > 2:
        return ()
    if isinstance(positions := document.get("class_to_idx"), Mapping):
        places = {str(name): int(place) for name, place in positions.items()}
        return tuple(sorted(places, key=places.__getitem__)) if sorted(places.values()) == list(range(len(places))) else ()
    for key in ("classes", "class_names", "label_names"):
        names = document.get(key)
        if isinstance(names, (list, tuple)) and names and all(isinstance(name, str) for name in names):
            return tuple(names) if len(set(names)) == len(names) else ()
    return next((found for value in document.values() if (found := _class_names(value, depth + 1))), ())


def fill_counters(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights with the counters of batch normalization that older programs leave out: zero, which no evaluation reads."""
    absent = {name: torch.zeros_like(t) for name, t in wanted.items() if name.endswith(COUNTER) and name not in state}
    return {**state, **absent}


def misfit(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """Return in words what of a state dict does not fit a network: nothing where all of it does."""
    missing = [name for name in wanted if name not in state]
    reshaped = [name for name in wanted if name in state and state[name].shape != wanted[name].shape]
    said = []
    if missing:
        begin = ", ".join(dict.fromkeys(f"{name.split('.')[0]}." for name in state)) or "nothing"
        shown = begin if len(begin) <= 120 else f"{begin[:120]}..."
        said.append(
            f"{len(missing)} of {len(wanted)} tensors are missing, for example {missing[0]!r} (its names begin with {shown})"
        )
    if reshaped and all(name in POSITIONS for name in reshaped):
        name = reshaped[0]
        found, there = (_patches(one[name]) for one in (state, wanted))
        said.append(
            f"{name} is of {found} patches, the network has {there}: resize it with --resample-positions, or "
            "resample_positions=True"
        )
    elif reshaped:
        name = reshaped[0]
        said.append(
            f"{len(reshaped)} tensors are of another shape, for example {name!r}: {tuple(state[name].shape)} in the file, "
            f"{tuple(wanted[name].shape)} in the network"
        )
    return "; ".join(said)


def resample_positions(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights whose position embeddings have the network's number of patches, resized as timm does (bicubic, antialiased).

    Only square grids are resized, with as many tokens in front of the patches as the network has.
    """
    from timm.layers import resample_abs_pos_embed

    changed = dict(state)
    for name in POSITIONS:
        if name not in state or name not in wanted or state[name].shape == wanted[name].shape:
            continue
        (before, prefix), (after, same) = (_grid(one[name]) for one in (state, wanted))
        if before and after and prefix == same:
            tokens = state[name].reshape(1, *state[name].shape[-2:]).float()
            resized = resample_abs_pos_embed(tokens, [after, after], [before, before], num_prefix_tokens=prefix)
            changed[name] = resized.reshape(wanted[name].shape).to(state[name].dtype)
    return changed


def _grid(embedding: Tensor) -> tuple[int, int]:
    """Return the side of a square grid of patches, and how many tokens stand before it; a side of 0 where none fits."""
    tokens = embedding.shape[-2] if embedding.dim() > 1 else 0
    return next(
        ((math.isqrt(tokens - k), k) for k in (0, 1, 2) if tokens > k and math.isqrt(tokens - k) ** 2 == tokens - k), (0, 0)
    )


def _patches(embedding: Tensor) -> str:
    side, _ = _grid(embedding)
    return f"{side}x{side}" if side else f"{embedding.shape[-2]}"


def _load(path: Path) -> Any:
    if path.is_dir():
        there = [path / name for name in SNAPSHOT if (path / name).is_file()]
        if not there:
            raise ModelError(f"the folder {path} has none of {', '.join(SNAPSHOT)}: give the path of a file of weights.")
        return _load(there[0])
    if not path.is_file():
        raise ModelError(f"{path} does not exist. Give the path of a .safetensors or a state-dict file.")
    if path.name.endswith(".safetensors.index.json"):
        return _sharded(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # timm and its like write their command line beside the weights: a Namespace is a plain record.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise ModelError(f"{path} is damaged or cut off ({error}).") from error
    except pickle.UnpicklingError as error:
        if "GLOBAL" not in str(error) and "Unsupported class" not in str(error):
            raise ModelError(f"{path} is damaged, cut off or no file of weights ({str(error).splitlines()[-1][:120]}).") from error
        raise ModelError(
            f"{path} is not a plain state dict: a pickle of objects can run code when it is loaded and is refused. In the program "
            "that wrote it, save model.state_dict() with safetensors."
        ) from error
    except Exception as error:
        # What torch raises for a file that is cut depends on where.
        raise ModelError(f"{path} is damaged, cut off or no file of weights ({type(error).__name__}).") from error


def _sharded(path: Path) -> dict[str, Tensor]:
    """Read the files that an index names, and hold them to it."""
    try:
        where = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        names = {name: str(file) for name, file in where.items()}
    except (ValueError, KeyError, AttributeError) as error:
        raise ModelError(f"{path} is damaged or no index of weights: expected JSON with a weight_map.") from error
    state: dict[str, Tensor] = {}
    for file in sorted(set(names.values())):
        if Path(file).name != file:
            raise ModelError(f"{path} names {file!r}: expected files beside it.")
        state |= _load(path.parent / file)
    if absent := [name for name in names if name not in state]:
        raise ModelError(f"{path} names {len(absent)} tensors that its files lack, such as {absent[0]!r}: get them again.")
    return state


def _nested(document: Any, path: Path, weights: str, notes: list[str], *, depth: int) -> Mapping[str, Tensor] | None:
    """Return the innermost names with tensors of a document."""
    if not isinstance(document, Mapping) or not document or depth > 4:
        return None
    if all(isinstance(value, Tensor) for value in document.values()):
        return document
    sets: dict[str, tuple[str, Mapping[str, Tensor]]] = {}
    for kind, keys in (("ema", EMA), ("raw", RAW)):
        for key in keys:
            if key in document and (found := _nested(document[key], path, weights, notes, depth=depth + 1)):
                sets[kind] = (key, found)
                break
    if not sets:
        return None
    if len(sets) == 2:
        other = "raw" if weights == "ema" else "ema"
        notes.append(
            f"{path} holds two sets of weights: averaged over training (ema, {sets['ema'][0]}) and raw ({sets['raw'][0]}). "
            f"The {weights} ones were taken; --weights {other}, or weights={other!r}, takes the others."
        )
        return sets[weights][1]
    return next(iter(sets.values()))[1]


def _prefixes(state: Mapping[str, Tensor], own_names: Collection[str]) -> list[str]:
    """Return the wrappers' prefixes that all names have, outermost first."""
    names = list(state)
    found: list[str] = []
    while True:
        prefix = next((p for p in PREFIXES if names and all(name.startswith(p) for name in names)), None)
        if prefix is None or any(name.startswith(prefix) for name in own_names):
            return found
        found.append(prefix)
        names = [name.removeprefix(prefix) for name in names]
