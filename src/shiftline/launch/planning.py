"""Planning against a store: data first, then backbones, then the graph. Nothing here needs torch once both are recorded."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from shiftline.contracts.backbones import Backbone
from shiftline.contracts.codec import encode
from shiftline.contracts.identity import SCHEMA, digest
from shiftline.contracts.models import backbones_of
from shiftline.contracts.records import BackboneRecord
from shiftline.contracts.study import Study
from shiftline.data.sidecar import DataFolder
from shiftline.datasets.catalogue import catalogue
from shiftline.datasets.prepare import split_records
from shiftline.errors import DataError, StoreError
from shiftline.launch.extensions import check_extensions
from shiftline.plan.checks import backbones, expressions, named_keys, sources
from shiftline.plan.facts import Facts
from shiftline.plan.graph import build_plan, final_keys
from shiftline.plan.jobs import Job, Plan
from shiftline.store.artifacts import Store
from shiftline.store.files import read_record, write_record
from shiftline.store.upkeep import record_study


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
        Write data that make themselves and resolve backbones where that has not been done. Without it a missing record is an error.

    Raises
    ------
    StoreError
        `write` is False and something has not been recorded yet; or another version of shiftline wrote the store.
    """
    store.check_schema(SCHEMA)
    facts = study_facts(study, store, write=write)
    return build_plan(facts, winner_of=lambda key: _winner(store, key) if selections else None)


def record_plan(plan: Plan, store: Store) -> Plan:
    """Record what a plan needs, so that `collect` keeps it; return the plan."""
    record_study(store, digest(sorted(plan.jobs)), plan.study.name, needed(plan))
    return plan


def needed(plan: Plan) -> list[str]:
    """Return the keys that a plan makes, and those that it names."""
    return [*plan.jobs, *named_keys(plan.study)]


def keys_now(job: Job, study: Study, store: Store) -> list[str]:
    """Return the keys that a job with a provisional key has now: see `shiftline.plan.graph.final_keys`."""
    facts = study_facts(study, store, write=False)
    return final_keys(job, facts, winner_of=lambda key: _winner(store, key))


def study_facts(study: Study, store: Store, *, write: bool) -> Facts:
    """Return what planning reads of the data and the weights of a study."""
    folder = data_folder(store)
    splits = sources(study)
    if not write and not all(folder.has(split) for split in splits):
        raise StoreError(f"the store {store.root} has no data for {study.name!r} yet: run the study first.")
    check_extensions(study, store, write=write)
    try:
        known = catalogue(*study.families) if study.families else None
        records = split_records(folder, splits, known=known)
    except FileNotFoundError as error:
        raise DataError(f"{error.filename} is missing: write the data again.") from error
    found: dict[Any, BackboneRecord] = {**backbone_records(study, store, backbones(study), write=write)}
    found |= {
        model: record for model in expressions(study) if model.named_keys() and (record := model.stored_record(store)) is not None
    }
    for key in named_keys(study):
        if not store.has(key):
            raise StoreError(f"the store {store.root} has no artifact {key[:12]}, which {study.name!r} names.")
    return Facts(study, records, found)


def _winner(store: Store, key: str) -> int | None:
    return int(store.manifest(key).summary["index"]) if store.has(key) else None


def backbone_records(
    study: Study, store: Store, wanted: Iterable[Backbone], *, write: bool = True
) -> dict[Backbone, BackboneRecord]:
    """Return the records of architectures and weights, resolving each once in the life of a store."""
    weighted = {below for model in expressions(study) if model.needs_weights for below in backbones_of(model)}
    found = {}
    for backbone in wanted:
        with_weights = backbone in weighted
        name = digest({"backbone": encode(backbone), "weights": with_weights})
        path = store.root / "backbones" / f"{name[:24]}.json"
        recorded = _recorded(path, backbone)
        if recorded is None:
            if not write:
                raise StoreError(f"the store {store.root} has not resolved {backbone} yet: run the study first.")
            from shiftline.networks.pretrained import resolve

            state = _file_state(backbone)
            recorded = {"record": resolve(backbone, with_weights=with_weights).as_json(), "file": state}
            write_record(path, recorded)
        found[backbone] = BackboneRecord(**recorded["record"])
    return found


def _recorded(path: Path, backbone: Backbone) -> dict[str, Any] | None:
    """Return the record of a backbone, unless it is damaged or its local file has changed since."""
    try:
        recorded = read_record(path, what=f"the record of {backbone}")
        changed = _file_state(backbone) not in (None, recorded["file"])
    except (FileNotFoundError, StoreError, KeyError, TypeError):
        return None
    return None if changed else recorded


def _file_state(backbone: Backbone) -> list[int] | None:
    """Size and time of a local file of weights; None for other backbones and where the file is gone."""
    path = getattr(backbone, "path", None)
    try:
        state = None if path is None else Path(path).stat()
    except FileNotFoundError:
        return None
    return None if state is None else [state.st_size, state.st_mtime_ns]
