"""Images per second of the prediction pipeline, beside its two limits and the plain way.

Photographs of 500 x 375 pixels are decoded, resized and passed through one network with random weights: EfficientNet-Lite0 on a
CPU, ResNet-50 on a GPU. The limits, in the same run, are decoding alone and the network alone; the plain way is torchvision's
transforms in torch's DataLoader, with as many workers as there are cores. Results of other devices stay in the file.

.venv/bin/python benchmarks/prediction_rate.py
"""

from __future__ import annotations

import io
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from measured import RESULTS, record
from shiftline import Split
from shiftline.data.examples import Encoding, Example
from shiftline.data.prepared import Prepared, prepared_chunks
from shiftline.data.sidecar import DataFolder
from shiftline.data.views import View, open_view
from shiftline.data.writer import write_split
from shiftline.engine.allocator import keep_pages
from shiftline.engine.batches import inference_batch
from shiftline.networks.preprocessing import normalise, resize_and_crop

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
NETWORK, COUNT = ("resnet50", 8192) if DEVICE == "cuda" else ("tf_efficientnet_lite0", 768)
CORES = len(os.sched_getaffinity(0))
PREPROCESSING = {
    "size": 224,
    "crop": 0.875,
    "interpolation": "bicubic",
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}


def photographs(folder: Path) -> tuple[View, list[bytes]]:
    """Write smooth noise as a data set, and return its files too."""
    generator = np.random.default_rng(0)
    files = []
    for _ in range(256):
        small = Image.fromarray(generator.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        buffer = io.BytesIO()
        small.resize((500, 375), Image.Resampling.BICUBIC).save(buffer, "jpeg", quality=90)
        files.append(buffer.getvalue())
    files = [files[i % len(files)] for i in range(COUNT)]
    split = Split("photographs", "all")
    examples = (Example(np.asarray(Image.open(io.BytesIO(file))), 0) for file in files)
    write_split(DataFolder(folder), split, examples, classes=["a"], encoding=Encoding("jpeg", quality=90))
    return open_view(split, DataFolder(folder)), files


class Files(Dataset[Tensor]):
    """The files, with the usual transform."""

    def __init__(self, files: list[bytes]) -> None:
        self.files = files
        self.transform = v2.Compose(
            [
                v2.Resize(256, interpolation=v2.InterpolationMode.BICUBIC),
                v2.CenterCrop(224),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(PREPROCESSING["mean"], PREPROCESSING["std"]),
            ]
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> Tensor:
        found: Tensor = self.transform(Image.open(io.BytesIO(self.files[row])).convert("RGB"))
        return found


def chunks(view: View) -> Iterator[Prepared]:
    """Return the pipeline's chunks, as a prediction takes them."""
    batch = inference_batch(DEVICE)
    size = max((256 << 20) // (3 * 224**2) // batch, 1) * batch
    prepare = partial(resize_and_crop, preprocessing=PREPROCESSING)
    return prepared_chunks(view, [prepare], chunk_size=min(size, COUNT // 4), decode_threads=CORES)


@torch.no_grad()
def forward(network: nn.Module, images: Tensor) -> None:
    """Pass prepared images through the network, in batches."""
    for batch in images.split(inference_batch(DEVICE)):
        network(normalise(batch.to(DEVICE), PREPROCESSING)).float().cpu()


def rate(run: Callable[[], None], count: int = COUNT) -> float:
    """Return images per second of the second of two runs."""
    run()
    started = time.perf_counter()
    run()
    return round(count / (time.perf_counter() - started), 1)


def main() -> None:
    keep_pages()
    network = timm.create_model(NETWORK).eval().to(DEVICE).to(memory_format=torch.channels_last)
    with tempfile.TemporaryDirectory() as folder:
        view, files = photographs(Path(folder))
        some = torch.cat([chunk.images[0] for chunk in chunks(view)])

        def decode() -> None:
            for _ in chunks(view):
                pass

        def pipeline() -> None:
            for chunk in chunks(view):
                forward(network, chunk.images[0])

        @torch.no_grad()
        def plain() -> None:
            for batch in DataLoader(Files(files), batch_size=256, num_workers=CORES, pin_memory=DEVICE == "cuda"):
                network(batch.to(DEVICE, non_blocking=True)).float().cpu()

        rates = {
            "decoding alone": rate(decode),
            "network alone": rate(lambda: forward(network, some)),
            "pipeline": rate(pipeline),
            "plain": rate(plain),
        }
    device = torch.cuda.get_device_name() if DEVICE == "cuda" else "CPU"
    found = {
        "network": NETWORK,
        "cores": CORES,
        "date": time.strftime("%Y-%m-%d"),
        "images per second": rates,
        "pipeline over the slower limit": round(rates["pipeline"] / min(rates["decoding alone"], rates["network alone"]), 2),
        "pipeline over plain": round(rates["pipeline"] / rates["plain"], 2),
    }
    path = RESULTS / "prediction_rate.json"
    others = json.loads(path.read_text())["measured"] if path.exists() else {}
    record("prediction_rate", others | {device: found})


if __name__ == "__main__":
    main()
