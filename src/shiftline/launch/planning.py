"""Planning against a store: data first, then leaves, then the graph. Nothing here needs torch once both are recorded."""

from __future__ import annotations

from collections.abc import Iterable

from shiftline.data.prepare import split_records
from shiftline.data.sidecar import DataFolder
from shiftline.declare.architectures import Leaf
from shiftline.declare.codec import encode
from shiftline.declare.recipes import FineTune, LinearProbe, ZeroShot
from shiftline.declare.study import Study
from shiftline.errors import DataError, StoreError
from shiftline.identity import digest
from shiftline.launch.extensions import check_extensions
from shiftline.plan.checks import expressions, leaves, sources
from shiftline.plan.graph import build_plan
from shiftline.plan.jobs import Plan
from shiftline.plan.records import LeafRecord
from shiftline.store.artifacts import Store
from shiftline.store.files import read_json, write_json


def data_folder(store: Store) -> DataFolder:
    """Return the folder of written data that belongs to a store."""
    return DataFolder(store.root / "data")


def plan_study(study: Study, store: Store, *, write: bool = True) -> Plan:
    """Lay out the jobs of a study, with the selections that the store has made.

    Parameters
    ----------
    write : bool
        Write built-in data and resolve leaves where that has not been done. Without it a missing record is an error.

    Raises
    ------
    StoreError
        `write` is False and something has not been recorded yet.
    """
    folder = data_folder(store)
    needed = sources(study)
    if not write and not all(folder.has(split) for split in needed):
        raise StoreError(f"the store {store.root} has no data for {study.name!r} yet: run the study first.")
    check_extensions(study, store, write=write)
    try:
        splits = split_records(folder, needed)
    except FileNotFoundError as error:
        raise DataError(f"{error.filename} is missing: write the data anew.") from error
    records = leaf_records(study, store, leaves(study), write=write)
    return build_plan(study, splits=splits, leaves=records, winner_of=lambda key: _winner(store, key))


def _winner(store: Store, key: str) -> int | None:
    return int(store.manifest(key).summary["position"]) if store.has(key) else None


def leaf_records(study: Study, store: Store, wanted: Iterable[Leaf], *, write: bool = True) -> dict[Leaf, LeafRecord]:
    """Return the records of architectures and weights, resolving each once in the life of a store."""
    weighted = {
        origin
        for model in expressions(study)
        if isinstance(model, (ZeroShot, FineTune, LinearProbe))
        and isinstance(origin := model.model if isinstance(model, ZeroShot) else model.init, Leaf)
    }
    found = {}
    for leaf in wanted:
        with_weights = leaf in weighted
        name = digest({"leaf": encode(leaf), "weights": with_weights})
        path = store.root / "leaves" / f"{name[:24]}.json"
        if not path.is_file():
            if not write:
                raise StoreError(f"the store {store.root} has not resolved {leaf} yet: run the study first.")
            from shiftline.models.leaves import resolve_leaf

            write_json(path, resolve_leaf(leaf, with_weights=with_weights).as_json())
        found[leaf] = LeafRecord(**read_json(path, what=f"the record of {leaf}"))
    return found
