"""Planning against a store: data first, then leaves, then the graph. Nothing here needs torch once both are recorded."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from shiftline.data.prepare import split_records
from shiftline.data.sidecar import DataFolder
from shiftline.declare.architectures import Leaf, LocalWeights
from shiftline.declare.codec import decode, encode
from shiftline.declare.distributions import Distribution, Split
from shiftline.declare.expressions import leaves_of
from shiftline.declare.recipes import Stored
from shiftline.declare.study import Study
from shiftline.declare.training import FromScratch
from shiftline.errors import DataError, DeclarationError, StoreError
from shiftline.identity import digest
from shiftline.launch.extensions import check_extensions
from shiftline.plan.checks import expressions, leaves, named_keys, sources, stored
from shiftline.plan.graph import build_plan, final_keys
from shiftline.plan.jobs import Job, Plan
from shiftline.plan.records import LeafRecord, SplitRecord
from shiftline.store.artifacts import Store
from shiftline.store.files import write_json
from shiftline.store.names import WEIGHTS, checkpoint_file


def data_folder(store: Store) -> DataFolder:
    """Return the folder of written data that belongs to a store."""
    return DataFolder(store.root / "data")


def plan_study(study: Study, store: Store, *, write: bool = True, selections: bool = True) -> Plan:
    """Lay out the jobs of a study, with the selections that the store has made.

    Parameters
    ----------
    selections : bool
        Put in the winners that the store knows; without, every key below a selection is provisional.
    write : bool
        Write built-in data and resolve leaves where that has not been done. Without it a missing record is an error.

    Raises
    ------
    StoreError
        `write` is False and something has not been recorded yet.
    """
    splits, records = study_records(study, store, write=write)
    winner_of = (lambda key: _winner(store, key)) if selections else (lambda key: None)
    return build_plan(study, splits=splits, leaves=records, winner_of=winner_of)


def keys_now(job: Job, study: Study, store: Store) -> list[str]:
    """Return the keys that a job with a provisional key has now: see `shiftline.plan.graph.final_keys`."""
    splits, records = study_records(study, store, write=False)
    return final_keys(job, study, splits=splits, leaves=records, winner_of=lambda key: _winner(store, key))


def study_records(
    study: Study, store: Store, *, write: bool
) -> tuple[dict[Split, SplitRecord], dict[Leaf | Stored, LeafRecord]]:
    """Return what planning reads of the data and the weights of a study."""
    folder = data_folder(store)
    needed = sources(study)
    if not write and not all(folder.has(split) for split in needed):
        raise StoreError(f"the store {store.root} has no data for {study.name!r} yet: run the study first.")
    check_extensions(study, store, write=write)
    try:
        splits = split_records(folder, needed)
    except FileNotFoundError as error:
        raise DataError(f"{error.filename} is missing: write the data anew.") from error
    records: dict[Leaf | Stored, LeafRecord] = dict(leaf_records(study, store, leaves(study), write=write).items())
    records.update({model: stored_record(model, store) for model in stored(study)})
    for key in named_keys(study):
        if not store.has(key):
            raise StoreError(f"the store {store.root} has no artifact {key[:12]}, which {study.name!r} names.")
    return splits, records


def _winner(store: Store, key: str) -> int | None:
    return int(store.manifest(key).summary["position"]) if store.has(key) else None


def leaf_records(study: Study, store: Store, wanted: Iterable[Leaf], *, write: bool = True) -> dict[Leaf, LeafRecord]:
    """Return the records of architectures and weights, resolving each once in the life of a store."""
    weighted = {leaf for model in expressions(study) if not isinstance(model, FromScratch) for leaf in leaves_of(model)}
    found = {}
    for leaf in wanted:
        with_weights = leaf in weighted
        name = digest({"leaf": encode(leaf), "weights": with_weights})
        path = store.root / "leaves" / f"{name[:24]}.json"
        recorded = _recorded(path, leaf)
        if recorded is None:
            if not write:
                raise StoreError(f"the store {store.root} has not resolved {leaf} yet: run the study first.")
            from shiftline.models.leaves import resolve_leaf

            state = _file_state(leaf)
            recorded = {"record": resolve_leaf(leaf, with_weights=with_weights).as_json(), "file": state}
            write_json(path, recorded)
        found[leaf] = LeafRecord(**recorded["record"])
    return found


def stored_record(model: Stored, store: Store) -> LeafRecord:
    """Return what is known of a model that a study names by its key, from the header of its file.

    Raises
    ------
    StoreError
        The store has no such artifact, or it holds no model (after that epoch).
    """
    if not store.has(model.key):
        raise StoreError(
            f"{model.describe()}: the store {store.root} has no artifact {model.key[:12]}. Run the study that makes it, or take a "
            "file in: shiftline import FILE."
        )
    name = WEIGHTS if model.after is None else checkpoint_file(model.unit, model.after)
    spec = model_header(store.file(model.key, name))
    return LeafRecord(
        spec["library"], spec["architecture"], None, model.key, spec["preprocessing"], spec["features"] == "embedding",
        spec["arguments"], features=spec["features"], num_classes=spec["num_classes"],
        classes=tuple(tuple(c) if isinstance(c, list) else c for c in spec["classes"]), templates=tuple(spec["templates"]),
        data=_data_behind(model.key, store),
    )  # fmt: skip


def _data_behind(key: str, store: Store) -> tuple[Distribution, ...] | None:
    """Return every distribution that an artifact and its origins were trained or selected on; None for a file taken in."""
    found: dict[Distribution, None] = {}
    pending, seen = [key], set()
    while pending:
        key = pending.pop()
        if key in seen:
            continue
        seen.add(key)
        if not store.has(key):
            return None
        document: Mapping[str, Any] = store.manifest(key).document
        if document["kind"] == "import":
            return None
        try:
            found.update(dict.fromkeys(decode(read) for read in _read_by(document)))
        except DeclarationError:
            return None  # A user's own class that is not there any more.
        pending += document["parents"]
    return tuple(found)


def _read_by(document: Mapping[str, Any]) -> list[Any]:
    """Return the forms of the distributions that a job trained on, or whose predictions something was selected by."""
    declaration = document.get("declaration", {})
    forms = [declaration.get("train_on"), declaration.get("on"), document.get("distribution")]
    forms += [part["train_on"] for part in declaration.get("parts", ())]
    return [form for form in forms if isinstance(form, dict)]


def model_header(path: Path) -> dict[str, Any]:
    """Read how the model of a file is built, without torch: safetensors begins with its JSON and the JSON's length."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
    spec: dict[str, Any] = json.loads(header["__metadata__"]["shiftline"])
    return spec


def _recorded(path: Path, leaf: Leaf) -> dict[str, Any] | None:
    """Return the record of a leaf, unless it is damaged or its local file has changed since."""
    try:
        recorded = json.loads(path.read_bytes())
        changed = _file_state(leaf) not in (None, recorded["file"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return None if changed else recorded


def _file_state(leaf: Leaf) -> list[int] | None:
    """Size and time of a local file of weights; None for other leaves and where the file is gone."""
    try:
        state = Path(leaf.path).stat() if isinstance(leaf, LocalWeights) else None
    except FileNotFoundError:
        return None
    return None if state is None else [state.st_size, state.st_mtime_ns]
