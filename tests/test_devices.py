"""Devices: chosen by name, too small for a batch, not there."""

from __future__ import annotations

import pytest
import torch

from shiftline import SGD, FromScratch, glyph_net
from shiftline.engine import predict as predict_module
from shiftline.engine.batches import check_memory
from shiftline.engine.loop import TrainingRun
from shiftline.engine.predict import predict_group
from shiftline.engine.ranks import check_devices
from shiftline.engine.run import run_group
from shiftline.errors import DeclarationError, DeviceError
from shiftline.launch.devices import chosen_device, devices_here
from shiftline.launch.in_workers import run_in_processes
from shiftline.launch.workers import check_workers
from shiftline.store.artifacts import Store
from test_cli import called
from test_jobs import context_of
from test_prepared import logits_of
from test_training import prepared
from test_workers import PLAIN, small


@pytest.fixture
def gpus(monkeypatch):
    """As on a machine with two GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.parametrize(
    ("wanted", "local_rank", "expected"),
    [
        ("auto", None, "cuda"),
        ("auto", 1, "cuda:1"),
        ("cuda", 0, "cuda:0"),
        ("cuda:1", None, "cuda:1"),
        ("cpu", None, "cpu"),
        ("cpu", 1, "cpu"),
    ],
)
def test_a_device_is_chosen_by_name(gpus, wanted, local_rank, expected):
    assert chosen_device(wanted, local_rank) == expected


def test_one_gpu_for_several_processes_is_refused(gpus):
    with pytest.raises(DeviceError, match="several processes work together: say 'cuda'"):
        chosen_device("cuda:1", 0)
    with pytest.raises(DeviceError, match=r"there is no device 'cuda:2' here: choose 'auto', 'cpu', 'cuda', 'cuda:0', 'cuda:1'\."):
        chosen_device("cuda:2")


def test_processes_on_the_cpu_are_limited_by_cores_not_by_gpus(gpus, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    check_devices(8, "cpu")
    with pytest.raises(DeviceError, match="this machine has 2 GPUs"):
        check_devices(8)
    with pytest.raises(DeviceError, match="this machine has 8 CPU cores: ask for 8"):
        check_devices(9, "cpu")


def test_workers_take_a_gpu_each_or_compute_on_the_cpu():
    assert check_workers(1, 1, "cpu") == 0
    with pytest.raises(DeviceError, match="each worker takes a GPU of its own"):
        check_workers(2, 1, "cuda:0")


def test_a_device_that_is_not_there_is_one_message_before_anything_runs(tmp_path, data_root):
    path, store = small(tmp_path, data_root, PLAIN)
    done = called("run", path, "--store", store, "--device", "tpu", "--quiet")
    assert done.returncode == 1
    assert f"there is no device 'tpu' here: choose {', '.join(map(repr, ['auto', *devices_here()]))}." in done.stderr
    assert not Store(store).complete()
    with pytest.raises(DeviceError, match="there is no device 'tpu' here"):
        run_in_processes(2, ["run", str(path)], threads=1, device="tpu")


def test_memory_that_holds_no_two_batches_says_the_least(tiny, tmp_path):
    context = context_of(tiny, Store(tmp_path))
    job = next(job for job in context.plan.jobs.values() if job.kind == "predict")
    size = context.plan.facts.record(job.model.network).preprocessing["size"]
    least = 2 * 32 * 3 * size**2
    with pytest.raises(DeclarationError, match=rf"two batches of 32 images of .*, prepared at {size} px.* give --memory 1 or more"):
        check_memory(context.plan, context.store, least - 1, "cpu")
    check_memory(context.plan, context.store, least, "cpu")


def test_workers_say_once_that_the_memory_is_too_small(tmp_path, data_root):
    study = PLAIN.replace("import *", "import *\nfrom shiftline import timm").replace("glyph_net(n)", "timm(n)")
    path, store = small(tmp_path, data_root, study.replace('"linear", "mlp"', '"test_vit", "test_resnet"'))
    done = called("run", path, "--store", store, "--quiet", "--workers", 2, "--memory", 1)
    assert done.returncode == 1
    assert done.stderr.count("--memory 1: two batches of 32 images") == 1
    assert "workers died" not in done.stderr
    assert not Store(store).complete()


@pytest.fixture
def holds(monkeypatch):
    """A device that holds a few images at once."""

    def at_most(count):
        real = predict_module.normalise

        def normalise(images, preprocessing):
            if len(images) > count:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return real(images, preprocessing)

        monkeypatch.setattr(predict_module, "normalise", normalise)

    return at_most


def test_a_batch_that_does_not_fit_is_halved_and_the_manifest_says_so(tiny, tmp_path, holds):
    context = context_of(tiny, Store(tmp_path))
    jobs = [job for job in context.plan.jobs.values() if job.kind == "predict"]
    jobs = [job for job in jobs if job.distribution == jobs[0].distribution][:3]
    holds(10)
    predict_group(jobs, context)
    for job in jobs:
        assert context.store.manifest(job.key).provenance["batch"] == 8
        assert tiny.store.manifest(job.key).provenance["batch"] == 32
        torch.testing.assert_close(logits_of(context.store, job), logits_of(tiny.store, job))


def test_an_image_that_does_not_fit_is_one_error(tiny, tmp_path, holds):
    context = context_of(tiny, Store(tmp_path))
    job = next(job for job in context.plan.jobs.values() if job.kind == "predict")
    holds(0)
    with pytest.raises(DeviceError, match="does not hold one image in this network"):
        predict_group([job], context)


def test_a_step_that_does_not_fit_says_what_to_lower(new_store, monkeypatch):
    job, context = prepared(FromScratch(glyph_net("linear"), epochs=1, batch_size=50, optimizer=SGD(lr=0.01)), new_store)

    def step(self, batch):
        raise torch.OutOfMemoryError("Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(TrainingRun, "_step", step)
    with pytest.raises(DeviceError, match=r"a step of 50 images .* 'cpu' \(Tried to allocate 2.00 GiB.\). Take a step in parts"):
        run_group([job], context)
