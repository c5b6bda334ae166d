"""The store: whole or not at all, immutable, and honest about damage."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shiftline.errors import StoreError
from shiftline.store.artifacts import MANIFEST, Store
from shiftline.store.attempts import Attempts
from shiftline.store.files import TEMPORARY, DiskFullError, read_record, write_record, write_whole
from shiftline.store.upkeep import collect, delete, record_study, repair, verify

KEY = "ab" * 32
OTHER = "cd" * 32


def publish(store, key=KEY, content=b"weights", summary=None):
    with store.publish(key, "train", {"kind": "train", "seed": 0}) as draft:
        (draft.folder / "model.bin").write_bytes(content)
        draft.summary.update(summary or {"loss": 0.5})


def test_a_published_artifact_is_read_back(tmp_path):
    store = Store(tmp_path)
    publish(store)
    manifest = store.manifest(KEY)
    assert (manifest.kind, manifest.document["seed"], manifest.summary) == ("train", 0, {"loss": 0.5})
    assert store.file(KEY, "model.bin").read_bytes() == b"weights"
    assert store.complete() == {KEY}
    assert manifest.provenance["versions"]["python"]


def test_constructing_and_asking_touches_nothing(tmp_path):
    store = Store(tmp_path / "none")
    assert store.complete() == set()
    assert not store.has(KEY)
    assert Attempts(store).failed() == set()
    assert not (tmp_path / "none").exists()


def test_an_error_while_writing_leaves_nothing(tmp_path):
    store = Store(tmp_path)

    def half():
        with store.publish(KEY, "train", {}) as draft:
            (draft.folder / "half").write_bytes(b"x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    assert not store.has(KEY)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_the_first_of_two_publishers_wins_and_both_end_well(tmp_path):
    store = Store(tmp_path)
    with store.publish(KEY, "train", {}) as slow:
        (slow.folder / "model.bin").write_bytes(b"second")
        publish(store, content=b"first")
    assert store.file(KEY, "model.bin").read_bytes() == b"first"
    assert not verify(store)


def test_artifacts_are_immutable(tmp_path):
    store = Store(tmp_path)
    publish(store, content=b"first")
    publish(store, content=b"second")
    assert store.file(KEY, "model.bin").read_bytes() == b"first"


def test_readers_see_whole_artifacts_only_while_a_writer_is_killed(tmp_path):
    code = (
        "import sys; from shiftline.store.artifacts import Store\n"
        "store = Store(sys.argv[1])\n"
        "for n in range(100000):\n"
        "    with store.publish(f'{n:064x}', 'train', {'n': n}) as draft:\n"
        "        (draft.folder / 'a').write_bytes(b'x' * 5000); (draft.folder / 'b').write_bytes(b'y' * 5000)\n"
    )
    store = Store(tmp_path)
    for delay in (0.05, 0.11, 0.17, 0.23):
        writer = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
        deadline = time.monotonic() + 20
        before = len(store.complete())
        while len(store.complete()) <= before and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(delay)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        for key in store.complete():
            assert set(store.manifest(key).files) == {"a", "b"}
    assert len(store.complete()) > 4
    assert verify(store) == []


def _damage_cut(folder):
    path = folder / "model.bin"
    path.write_bytes(path.read_bytes()[:-1])


def _damage_flip(folder):
    path = folder / "model.bin"
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])


def _damage_missing(folder):
    (folder / "model.bin").unlink()


def _damage_extra(folder):
    (folder / "more").write_bytes(b"")


def _damage_manifest_cut(folder):
    path = folder / MANIFEST
    path.write_bytes(path.read_bytes()[:40])


def _damage_manifest_changed(folder):
    path = folder / MANIFEST
    path.write_text(path.read_text().replace("0.5", "0.6"))


def _damage_manifest_unsealed(folder):
    path = folder / MANIFEST
    path.write_text(path.read_text().replace('"digest"', '"nothing"'))


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (_damage_cut, "6 bytes, 7 were recorded"),
        (_damage_flip, "another content"),
        (_damage_missing, "is missing"),
        (_damage_extra, "was not there"),
        (_damage_manifest_cut, "is damaged: expected JSON"),
        (_damage_manifest_changed, "its digest does not fit"),
        (_damage_manifest_unsealed, "its digest does not fit"),
    ],
)
def test_verify_finds_every_damage_and_repair_lets_it_be_made_again(tmp_path, damage, problem):
    store = Store(tmp_path)
    publish(store)
    publish(store, OTHER)
    damage(store.path(KEY))
    (found,) = verify(store)
    assert found.key == KEY
    assert problem in found.problem
    repair(store, [found])
    assert store.complete() == {OTHER}
    publish(store)
    assert verify(store) == []


def test_reading_a_cut_file_or_manifest_is_one_clear_error(tmp_path):
    store = Store(tmp_path)
    publish(store)
    _damage_cut(store.path(KEY))
    with pytest.raises(StoreError, match="7 bytes were recorded, it has 6. `shiftline verify --repair`"):
        store.file(KEY, "model.bin")
    _damage_manifest_cut(store.path(KEY))
    with pytest.raises(StoreError, match="the manifest of abab.* is damaged"):
        store.manifest(KEY)
    with pytest.raises(StoreError, match="is not in the store"):
        store.manifest(OTHER)


def test_a_folder_that_cannot_be_written_is_found_before_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        Store(tmp_path / "file").check_writable()
    with pytest.raises(StoreError, match="cannot be written"):
        Store(tmp_path / "file" / "below").check_writable()


def test_a_full_disk_publishes_nothing_and_says_what_to_do(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", small], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        store = Store(small)
        publish(store, OTHER)
        with pytest.raises(DiskFullError, match="is full: nothing was published half-way.*shiftline collect"):
            publish(store, content=b"x" * 1_000_000)
        assert store.complete() == {OTHER}
        assert verify(store) == []
        with pytest.raises(DiskFullError):
            write_whole(small / "big", b"x" * 1_000_000)
        assert not (small / "big").exists()
    finally:
        subprocess.run(["umount", small], check=True)


@settings(max_examples=25)
@given(
    st.dictionaries(
        st.text("ab/", max_size=3), st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    )
)
def test_json_is_written_whole_and_read_back(tmp_path_factory, document):
    path = tmp_path_factory.mktemp("json") / "a.json"
    write_record(path, document)
    assert read_record(path, what="it") == document


def test_a_claim_ends_with_its_process(tmp_path):
    attempts = Attempts(Store(tmp_path))
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    holder = context.Process(target=_hold, args=(tmp_path, ready))
    holder.start()
    assert ready.wait(60)
    with attempts.claim(KEY) as mine:
        assert not mine
    assert attempts.holder(KEY)["pid"] == holder.pid
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    assert attempts.holder(KEY) is None
    with attempts.claim(KEY) as mine:
        assert mine


def _hold(root, ready):
    with Attempts(Store(root)).claim(KEY):
        ready.set()
        time.sleep(600)


def test_a_failure_is_an_attempt_and_ends_with_success(tmp_path):
    attempts = Attempts(Store(tmp_path))
    attempts.record_failure(KEY, "train it", ValueError("no"))
    assert attempts.failed() == {KEY}
    assert attempts.failure(KEY)["error"] == "ValueError: no"
    attempts.succeed(KEY)
    assert attempts.failed() == set()


def test_collect_lists_by_default_and_keeps_what_any_study_needs(tmp_path):
    store = Store(tmp_path)
    for key in (KEY, OTHER, "ef" * 32):
        publish(store, key)
    record_study(store, "1" * 64, "one", [KEY])
    stale = tmp_path / "artifacts" / f"{TEMPORARY}left"
    stale.mkdir()
    os.utime(stale, (0, 0))
    young = tmp_path / "artifacts" / f"{TEMPORARY}live"
    young.mkdir()
    items = collect(store, needed=[OTHER])
    assert {item.path for item in items} == {store.path("ef" * 32), stale}
    assert len(store.complete()) == 3
    delete(items)
    assert store.complete() == {KEY, OTHER}
    assert young.exists()
    assert not stale.exists()


def test_a_store_can_be_moved(tmp_path):
    publish(Store(tmp_path / "a"))
    (tmp_path / "a").rename(tmp_path / "b")
    assert verify(Store(tmp_path / "b")) == []
    assert json.loads((Store(tmp_path / "b").path(KEY) / MANIFEST).read_text())["key"] == KEY


def test_no_file_of_a_store_holds_its_own_path(tiny):
    root = str(Path(tiny.store.root))
    manifests = list((tiny.store.root / "artifacts").rglob(MANIFEST))
    assert manifests
    assert not [p for p in manifests if root in p.read_text()]
