"""Prediction in bounded memory: images prepared one chunk ahead, logits on disk, and what was saved goes on."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torchvision.transforms.v2 import functional as tv

from shiftline import Blur, Split
from shiftline.data.examples import Encoding, Example
from shiftline.data.loader import evaluation_chunks
from shiftline.data.prepared import prepared_chunks
from shiftline.data.sidecar import DataFolder
from shiftline.data.views import open_view
from shiftline.data.writer import write_split
from shiftline.engine import predict as predict_module
from shiftline.engine.context import Interrupted
from shiftline.engine.partial import PartialPredictions
from shiftline.engine.predict import predict_group
from shiftline.errors import DataError, ModelError, StoreError
from shiftline.networks.preprocessing import resize_and_crop
from shiftline.store.artifacts import Store
from test_jobs import context_of

PHOTOS = Split("photos", "all")
SMALL, LARGE = ({"size": size, "crop": 0.9, "interpolation": "bicubic"} for size in (16, 24))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Images of different sizes, one far larger than the others."""
    generator = np.random.default_rng(0)
    root = DataFolder(tmp_path_factory.mktemp("photographs"))
    examples = []
    for i in range(30):
        coarse = torch.from_numpy(generator.integers(0, 256, (3, 4, 4), dtype=np.uint8))
        shape = [2600, 2400] if i == 11 else [40 + i, 60 - i]
        examples.append(Example(tv.resize(coarse, shape, antialias=True).permute(1, 2, 0).numpy(), i % 2))
    write_split(root, PHOTOS, examples, classes=["a", "b"], encoding=Encoding("jpeg", quality=95))
    return root


def chunks_of(view, **options):
    return list(prepared_chunks(view, [partial(resize_and_crop, preprocessing=p) for p in (SMALL, LARGE)], **options))


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize(("threads", "size"), [(1, 100), (3, 7), (4, 1)])
def test_images_are_those_of_every_transform_whatever_the_threads(photographs, shifted, threads, size):
    view = open_view(PHOTOS.shifted(Blur(1.0)) if shifted else PHOTOS, photographs)
    found = chunks_of(view, chunk_size=size, decode_threads=threads)
    assert torch.cat([chunk.ids for chunk in found]).tolist() == view.ids.tolist()
    assert torch.cat([chunk.labels for chunk in found]).tolist() == view.labels.tolist()
    assert [len(chunk.ids) for chunk in found] == [min(size, 30 - start) for start in range(0, 30, size)]
    (whole,) = evaluation_chunks(view, chunk_size=100)
    for number, preprocessing in enumerate((SMALL, LARGE)):
        expected = torch.cat([resize_and_crop(run, preprocessing) for run in whole.images])
        assert torch.equal(torch.cat([chunk.images[number] for chunk in found]), expected)


def test_processes_share_the_chunks_and_go_on_where_they_were(photographs):
    view = open_view(PHOTOS, photographs)
    shares = [chunks_of(view, chunk_size=4, rank=rank, world=2, first=8) for rank in (0, 1)]
    order = [chunk.ids.tolist() for pair in zip(*shares, strict=True) for chunk in pair]
    assert [i for ids in order for i in ids] == list(range(8, 30))


def test_a_broken_image_is_named_and_threads_end(photographs, monkeypatch):
    from shiftline.data.readers import PlainReader

    def broken(self, row):
        raise DataError(f"example {row} cannot be decoded")

    before = threading.active_count()
    own = torch.get_num_threads()
    monkeypatch.setattr(PlainReader, "_image", broken)
    with pytest.raises(DataError, match="example 0 cannot"):
        chunks_of(open_view(PHOTOS, photographs), chunk_size=8)
    assert threading.active_count() == before
    assert torch.get_num_threads() == own


def test_readers_do_not_take_the_threads_of_who_computes(photographs):
    own = torch.get_num_threads()
    seen = []

    def prepare(images):
        seen.append(torch.get_num_threads())
        return resize_and_crop(images, SMALL)

    for _ in prepared_chunks(open_view(PHOTOS, photographs), [prepare], chunk_size=8, decode_threads=3):
        assert torch.get_num_threads() == own
    assert set(seen) == {1}
    later = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [own]


# ---- what is saved -----------------------------------------------------------------------------------------------------


def test_a_file_that_was_cut_short_or_changed_begins_again(tmp_path):
    logits = torch.randn(10, 3)
    one = PartialPredictions(tmp_path, 10)
    one.append(logits[:6])
    one.save()
    state = tmp_path / "predictions.json"
    whole, saved = one.path.read_bytes(), state.read_bytes()
    for count, content, rows in (
        (10, whole, 6),
        (11, whole, 0),
        (10, whole[:-1], 0),
        (10, b"", 0),
        (10, whole[:-3] + bytes([whole[-3] ^ 4]) + whole[-2:], 0),
    ):
        one.path.write_bytes(content)
        state.write_bytes(saved)
        assert PartialPredictions(tmp_path, count).rows == rows
    # What was written after the last save does not count.
    state.write_bytes(saved)
    one.path.write_bytes(whole + b"half a row")
    again = PartialPredictions(tmp_path, 10)
    again.cut(4)
    again.append(logits[4:])
    draft = tmp_path / "draft"
    draft.mkdir()
    again.finish(draft, torch.arange(10), torch.arange(10) + 5)
    found = load_file(draft / "predictions.safetensors")
    assert torch.equal(found["logits"], logits)
    assert found["ids"].tolist() == list(range(5, 15))
    assert not (tmp_path / "predictions.json").exists()


def test_two_at_once_never_make_one_file_of_both(tmp_path):
    """File systems without locks let two processes take one job: what is published is whole, or one of them ends in an error."""
    logits, draft = torch.randn(10, 3), tmp_path / "draft"
    draft.mkdir()
    one = PartialPredictions(tmp_path / "state", 10)
    one.append(logits[:6])
    one.save()
    other = PartialPredictions(tmp_path / "state", 10)
    assert other.rows == 6
    with pytest.raises(StoreError, match="another process"):
        one.append(logits[6:])
    other.append(logits[6:])
    other.finish(draft, torch.arange(10), torch.arange(10))
    assert torch.equal(load_file(draft / "predictions.safetensors")["logits"], logits)


def test_what_was_not_saved_is_not_left_behind(tmp_path):
    for _ in range(3):
        PartialPredictions(tmp_path, 10).append(torch.randn(5, 3))
    assert len(list(tmp_path.glob("*.safetensors"))) == 1


def test_logits_that_change_before_they_are_published_are_found(tmp_path):
    one = PartialPredictions(tmp_path, 4)
    one.append(torch.randn(4, 3))
    whole = one.path.read_bytes()
    one.path.write_bytes(whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:])
    (tmp_path / "draft").mkdir()
    with pytest.raises(StoreError, match="damaged"):
        one.finish(tmp_path / "draft", torch.arange(4), torch.arange(4))


@pytest.fixture
def group(tiny, tmp_path, monkeypatch):
    """Jobs on one distribution, in chunks of 64 images."""
    monkeypatch.setattr(predict_module, "LARGEST_CHUNK", 64)
    context = context_of(tiny, Store(tmp_path))
    jobs = [job for job in context.plan.jobs.values() if job.kind == "predict"]
    return context, [job for job in jobs if job.distribution == jobs[0].distribution][:4]


def logits_of(store, job):
    return load_file(store.file(job.key, "predictions.safetensors"))["logits"]


def test_a_stop_keeps_the_chunks_that_were_finished(tiny, group, monkeypatch):
    context, jobs = group
    calls = []

    def stop():
        calls.append(1)
        return len(calls) > 4 * 3 + 2

    context.stop_requested = stop
    before = threading.active_count()
    with pytest.raises(Interrupted, match="goes on from what has been saved") as caught:
        predict_group(jobs, context)
    # Also while somebody keeps the error.
    assert caught.value is not None
    assert threading.active_count() == before
    assert not any(context.store.has(job.key) for job in jobs)
    states = [json.loads((context.attempts.state(job.key) / "predictions.json").read_text()) for job in jobs]
    assert {state["rows"] for state in states} == {3 * 64}
    context.stop_requested = lambda: False
    decoded = []
    real = predict_module.prepared_chunks

    def counted(*arguments, **options):
        for chunk in real(*arguments, **options):
            decoded.extend(chunk.ids.tolist())
            yield chunk

    monkeypatch.setattr(predict_module, "prepared_chunks", counted)
    predict_group(jobs, context)
    assert decoded == list(range(3 * 64, 697))
    for job in jobs:
        assert torch.equal(logits_of(context.store, job), logits_of(tiny.store, job))


def test_a_model_of_the_group_that_saved_less_takes_the_others_back(tiny, group):
    context, jobs = group
    one = PartialPredictions(context.attempts.state(jobs[0].key), 697)
    one.append(logits_of(tiny.store, jobs[0])[:128])
    one.save()
    predict_group(jobs, context)
    for job in jobs:
        assert torch.equal(logits_of(context.store, job), logits_of(tiny.store, job))


def test_logits_that_are_no_numbers_are_refused_at_once(group, monkeypatch):
    context, jobs = group
    monkeypatch.setattr(predict_module, "has_finite_values", lambda logits: False)
    with pytest.raises(ModelError, match="NaN or infinite"):
        predict_group(jobs, context)
    assert not any(context.store.has(job.key) for job in jobs)


PEAK = """
import resource, sys
import numpy as np, torch
from pathlib import Path
from functools import partial
from shiftline import Split
from shiftline.data.examples import Encoding, Example
from shiftline.data.prepared import prepared_chunks
from shiftline.data.sidecar import DataFolder
from shiftline.data.views import open_view
from shiftline.data.writer import write_split
from shiftline.networks.preprocessing import resize_and_crop

count, folder = int(sys.argv[1]), DataFolder(Path(sys.argv[2]))
pixels = np.kron(np.random.default_rng(0).integers(0, 256, (15, 20, 3), dtype=np.uint8), np.ones((80, 80, 1), np.uint8))
split = Split("large", "all")
write_split(folder, split, (Example(pixels, 0) for _ in range(count)), classes=["a"], encoding=Encoding("jpeg", quality=80))
view = open_view(split, folder)
small = partial(resize_and_crop, preprocessing={"size": 64, "crop": 1.0, "interpolation": "bicubic"})
for chunk in prepared_chunks(view, [small], chunk_size=1024, decode_threads=2):
    pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_large_images(tmp_path):
    """Images of 1,600 x 1,200 pixels: 48 of them decoded at once are 276 MB."""
    peaks = [
        int(
            subprocess.run(
                [sys.executable, "-c", PEAK, str(n), str(tmp_path / str(n))], capture_output=True, text=True, check=True
            ).stdout
        )
        for n in (4, 48)
    ]
    assert peaks[1] < peaks[0] + 120


FAULTS = """
import resource, sys
import torch
from shiftline.engine.allocator import keep_pages
if sys.argv[1] == "kept":
    assert keep_pages() and keep_pages()
def pass_():
    for _ in range(4):
        a = torch.ones(12_000_000)
        b = a + 1
for _ in range(5):
    pass_()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    pass_()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_pages_of_a_batch_serve_the_next_one():
    default, kept = (
        int(subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True).stdout)
        for how in ("default", "kept")
    )
    assert kept < default / 20
