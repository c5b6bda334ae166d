"""Looking after a store: `verify` finds damage, `collect` deletes what nothing needs. Nothing else ever deletes."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from shiftline.errors import StoreError
from shiftline.store.artifacts import MANIFEST, Store
from shiftline.store.attempts import Attempts
from shiftline.store.files import TEMPORARY, read_record, sha256_of, write_record


@dataclass(frozen=True)
class Damage:
    """A damaged artifact and what is wrong with it."""

    key: str
    problem: str


def verify(store: Store, *, keys: Iterable[str] | None = None, advance: Callable[[], None] = lambda: None) -> list[Damage]:
    """Hash every file of every artifact (or of the given keys) against its manifest."""
    damages = []
    for key in sorted(store.complete() if keys is None else keys):
        problem = _problem(store, key)
        if problem:
            damages.append(Damage(key, problem))
        advance()
    return damages


def _problem(store: Store, key: str) -> str | None:
    try:
        manifest = store.manifest(key)
    except StoreError as error:
        return str(error).split(". `")[0]
    folder = store.path(key)
    present = {path.name for path in folder.iterdir()} - {MANIFEST}
    if missing := sorted(set(manifest.files) - present):
        return f"{missing[0]} is missing"
    if extra := sorted(present - set(manifest.files)):
        return f"{extra[0]} was not there when it was published"
    for name, recorded in manifest.files.items():
        path = folder / name
        if path.stat().st_size != recorded["size"]:
            return f"{name} has {path.stat().st_size} bytes, {recorded['size']} were recorded"
        if sha256_of(path) != recorded["sha256"]:
            return f"{name} has another content than was recorded"
    return None


def repair(store: Store, damages: Iterable[Damage]) -> None:
    """Move damaged artifacts to ``<root>/damaged``, so that the next run makes them again."""
    for damage in damages:
        target = store.root / "damaged" / f"{damage.key}-{int(time.time())}"
        target.parent.mkdir(parents=True, exist_ok=True)
        store.path(damage.key).rename(target)


def record_study(store: Store, identity: str, name: str, keys: Iterable[str]) -> None:
    """Record the keys that a study needs, so that `collect` keeps them."""
    write_record(store.root / "studies" / f"{name}-{identity[:12]}.json", {"name": name, "keys": sorted(keys)})


@dataclass(frozen=True)
class Collectable:
    """Something that can go: a path, its size in bytes, and why."""

    path: Path
    size: int
    reason: str


STALE_HOURS = 24


def collect(store: Store, *, needed: Iterable[str]) -> list[Collectable]:
    """List what no recorded study needs: artifacts, old temporary files, states of finished trainings, damaged ones.

    `needed` are keys to keep besides those of the recorded studies. Temporary files are listed when they are older
    than a day: a younger one may belong to a live process.
    """
    keep = set(needed)
    for path in (store.root / "studies").glob("*.json"):
        record = read_record(path, what=f"the record {path.name}", mend="Delete it, and run its study: it is written again.")
        keep |= set(record["keys"])
    complete = store.complete()
    found = [(store.path(key), "no recorded study needs it") for key in sorted(complete - keep)]
    limit = time.time() - STALE_HOURS * 3600
    attempts = Attempts(store)
    for folder, _, files in os.walk(store.root):
        if Path(folder).name.startswith(TEMPORARY):
            # The draft of a training is made at its start and may be older than a day.
            held = attempts.holder(Path(folder).name.removeprefix(TEMPORARY).split("-")[0]) is not None
            if Path(folder).stat().st_mtime < limit and not held:
                found.append((Path(folder), "left over by a process that died"))
        else:
            stale = [Path(folder, name) for name in files if name.startswith(TEMPORARY)]
            found += [(p, "left over by a process that died") for p in stale if p.stat().st_mtime < limit]
    found += [(attempts.state(k), "its training has ended") for k in sorted(complete) if attempts.state(k).exists()]
    found += [(path, "it was moved aside as damaged") for path in sorted((store.root / "damaged").glob("*"))]
    return [Collectable(path, _size(path), reason) for path, reason in found]


def delete(items: Iterable[Collectable]) -> None:
    """Delete what `collect` listed. A directory is renamed first, so that no reader sees a part of an artifact."""
    for item in items:
        doomed = item.path.with_name(f"{TEMPORARY}deleted-{item.path.name}")
        item.path.rename(doomed)
        if doomed.is_dir():
            shutil.rmtree(doomed)
        else:
            doomed.unlink()


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
