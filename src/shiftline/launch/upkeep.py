"""Looking after a store together with its written data."""

from __future__ import annotations

from shiftline.launch.planning import data_folder, needed
from shiftline.plan.jobs import Plan
from shiftline.store import upkeep
from shiftline.store.artifacts import Store
from shiftline.store.upkeep import Collectable, Damage


def verify(store: Store, *, repair: bool = False) -> list[Damage]:
    """Hash every artifact and every written split; with `repair`, move damaged ones aside."""
    damages, data = upkeep.verify(store), data_folder(store)
    splits = data.damaged()
    if repair:
        upkeep.repair(store, damages)
        for split in splits:
            data.move_aside(split, store.root / "damaged")
    return [*damages, *(Damage(f"data/{split}", problem) for split, problem in splits.items())]


def collect(plan: Plan, store: Store, *, remove: bool = False) -> list[Collectable]:
    """List (and with `remove` delete) what neither this plan nor a study that ran on the store needs."""
    items = upkeep.collect(store, needed=needed(plan))
    if remove:
        upkeep.delete(items)
    return items
