"""Images per second and core of the loaders, against torchvision and against decoding alone, on the same files.

    .venv/bin/python benchmarks/loaders.py

2,000 images, shorter side 256, as JPEG (quality 90) and raw. Ours with FFCV (compiled) and without; torchvision's ImageFolder in a
DataLoader with two workers, whose transform is given the same crop; and the limit: libjpeg-turbo's decoder called in a loop that
does nothing else (for raw images: a copy of the pixels). Rates are images per second of processor time, workers included, so that
they are per core; `of_limit` is their share of the limit, `times_dataloader` the ratio of the rates to the DataLoader's, both
measured in this run. Also: the time to the first batch of a second loader, the writer, and what opening 1.28 million rows takes.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.transforms.v2 import functional as tv

from measured import record
from shiftline import RandomResizedCrop, Split
from shiftline.data import beton
from shiftline.data.examples import Encoding
from shiftline.data.loader import TrainingBatches
from shiftline.data.readers import FfcvReader, PlainReader
from shiftline.data.sidecar import DataFolder
from shiftline.data.views import open_view
from shiftline.datasets.folders import image_folder
from shiftline.datasets.prepare import write_listing

COUNT, SIZE, BATCH, WORKERS, ROUNDS = 2000, 224, 100, 2, 5
ROWS = 1_281_167
OPEN = """
import time
from pathlib import Path
{imports}

def memory(kind):
    return int(next(l for l in Path("/proc/self/status").read_text().splitlines() if l.startswith(kind)).split()[1]) / 1024

before = memory("VmRSS")
started = time.perf_counter()
{opening}
print(time.perf_counter() - started, memory("VmHWM") - before)
"""
Epochs = dict[str, Callable[[], Iterator[int]]]


def photographs(root: Path) -> None:
    """Images with the detail of photographs: coarse colours, finer noise, finest noise."""
    generator = torch.Generator().manual_seed(0)
    for number in range(COUNT):
        height, width = (256, 256 + number % 128) if number % 2 else (256 + number % 128, 256)
        layers = [
            tv.resize(torch.randn(1, 3, side, side, generator=generator), [height, width], antialias=True) * weight
            for side, weight in ((6, 60), (32, 25), (128, 12))
        ]
        pixels = (128 + sum(layers)[0]).clamp(0, 255).byte().permute(1, 2, 0).numpy()
        for folder, suffix, options in (("jpeg", "jpg", {"quality": 90}), ("raw", "bmp", {})):
            path = root / folder / f"c{number % 10}" / f"{number}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path, **options)


def processor_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def rates(epochs: Epochs) -> dict[str, float]:
    """Images per second of processor time: medians of several epochs, which take turns."""
    found: dict[str, list[float]] = {name: [] for name in epochs}
    for _ in range(ROUNDS):
        for name, epoch in epochs.items():
            started = processor_seconds()
            count = sum(epoch())
            found[name].append(count / (processor_seconds() - started))
    return {name: statistics.median(values) for name, values in found.items()}


def ours(view, reader, augmentations) -> Callable[[], Iterator[int]]:
    batches = TrainingBatches(
        view,
        batch_size=BATCH,
        size=SIZE,
        crop=SIZE / 256,
        augmentations=augmentations,
        threads=WORKERS,
        memory_limit=0,
        reader=reader,
    )
    list(batches.epoch(0))
    return lambda: (len(batch) for batch in batches.epoch(1))


def theirs(root: Path, crop) -> Callable[[], Iterator[int]]:
    folder = ImageFolder(str(root), transforms.Compose([crop, transforms.PILToTensor()]))

    def epoch() -> Iterator[int]:
        # The workers end with the loader: their time is counted when they do.
        yield from (len(labels) for _, labels in DataLoader(folder, batch_size=BATCH, shuffle=True, num_workers=WORKERS))

    return epoch


def limit(index: beton.Index) -> Callable[[], Iterator[int]]:
    """Decode every image with libjpeg-turbo (through FFCV's binding) and do nothing else; copy the pixels of raw ones."""
    from ffcv.libffcv import imdecode

    reader = PlainReader(index)
    data = [
        np.frombuffer(stored, np.uint8) if isinstance(stored := reader.stored(row), bytes) else stored for row in range(len(index))
    ]
    out = np.empty(int((index.height.astype(int) * index.width).max()) * 3, np.uint8)

    def epoch() -> Iterator[int]:
        for row, source in enumerate(data):
            height, width = int(index.height[row]), int(index.width[row])
            if index.mode[row] == beton.JPEG:
                imdecode(source, out[: height * width * 3], height, width, height, width, 0, 0, 1, 1, False, False)
            else:
                out[: source.size] = source.reshape(-1)
            yield 1

    return epoch


def second_loader(view) -> dict[str, float]:
    """Seconds from making a loader to its first batch: the first one in a process, and the second."""
    found = []
    for _ in range(2):
        started = time.perf_counter()
        next(
            iter(
                TrainingBatches(
                    view, batch_size=BATCH, size=SIZE, memory_limit=0, reader=FfcvReader(view.index, compiled=True)
                ).epoch(0)
            )
        )
        found.append(time.perf_counter() - started)
    return {"first": found[0], "second": found[1]}


def many_rows(folder: Path) -> dict[str, dict[str, float]]:
    """Open a file of 1.28 million rows in a process of its own: seconds, and memory above the imports' in MiB."""
    path = folder / "many.beton"
    rows, table = np.zeros(ROWS, beton.ROW), np.zeros(ROWS, beton.ALLOCATION)
    start = beton.data_start(ROWS)
    rows["f0"]["mode"], rows["f0"]["height"], rows["f0"]["width"] = beton.RAW, 1, 1
    rows["f0"]["data_ptr"] = start + 3 * np.arange(ROWS)
    table["sample_id"], table["ptr"], table["size"] = np.arange(ROWS), rows["f0"]["data_ptr"], 3
    end = start + 3 * ROWS
    with path.open("wb") as stream:
        stream.write(beton.header_bytes(ROWS, end) + rows.tobytes())
        stream.seek(end)
        stream.write(table.tobytes())
    programs = {
        "ours": (
            "import numpy; from shiftline.data.beton import read_index; from shiftline.data.readers import PlainReader",
            f"index = read_index(Path({str(path)!r})); PlainReader(index).images(numpy.array([{ROWS - 1}]))",
        ),
        "ffcv": (
            "import numpy; from ffcv.loader import Loader, OrderOption",
            f"loader = Loader({str(path)!r}, batch_size=100, num_workers=1, order=OrderOption.SEQUENTIAL)",
        ),
    }
    found = {}
    for name, (imports, opening) in programs.items():
        code = OPEN.format(imports=imports, opening=opening)
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
        seconds, memory = map(float, done.stdout.split()[-2:])
        found[name] = {"seconds": seconds, "MiB": memory}
    return found


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        photographs(root)
        folder, numbers, views = DataFolder(root / "data"), {}, {}
        for form in ("jpeg", "raw"):
            listing = image_folder(root / form)
            started = processor_seconds()
            write_listing(folder, Split("photos", form), listing, encoding=Encoding("original"), threads=WORKERS)
            numbers[f"writer, {form}"] = {"images/s/core": COUNT / (processor_seconds() - started)}
            views[form] = open_view(Split("photos", form), folder)
        numbers["time to first batch, s"] = second_loader(views["jpeg"])
        for form, view in views.items():
            crops = {
                "centre crop": ((), transforms.CenterCrop(SIZE)),
                "random resized crop": ((RandomResizedCrop(),), transforms.RandomResizedCrop(SIZE)),
            }
            for name, (augmentations, crop) in crops.items():
                found = rates(
                    {
                        "ffcv": ours(view, FfcvReader(view.index, compiled=True), augmentations),
                        "plain": ours(view, PlainReader(view.index), augmentations),
                        "dataloader": theirs(root / form, crop),
                        "limit": limit(view.index),
                    }
                )
                numbers[f"{form}, {name}"] = {"images/s/core": found} | {
                    reader: {"of_limit": found[reader] / found["limit"], "times_dataloader": found[reader] / found["dataloader"]}
                    for reader in ("ffcv", "plain")
                }
        numbers["opening 1,281,167 rows"] = many_rows(root)
    record("loaders", numbers)


if __name__ == "__main__":
    main()
