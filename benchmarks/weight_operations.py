"""Weight operations on ViT-B/32-sized weights: interpolation against memcpy, a soup of ten against reading its files."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file

from measured import record
from shiftline.backbones.open_clip import open_clip
from shiftline.networks.pretrained import backbone_spec, resolve
from shiftline.networks.spec import ModelSpec, WeightFile, build_classifier, save_model
from shiftline.weights.average import average
from shiftline.weights.interpolate import interpolate, write_interpolation

MEMBERS = 10
REPEATS = 7

# A process of its own, so that its peak memory is that of the soup.
SOUP = """
import sys
from pathlib import Path
from shiftline.networks.spec import WeightFile
from shiftline.weights.average import average
def members():
    for path in sys.argv[1:]:
        with WeightFile(Path(path)) as file:
            yield file
if sys.argv[1:]:
    average(members(), [1.0] * len(sys.argv[1:]))
# The high-water mark of this process since it was started, file mappings included.
print(next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def median_seconds(work: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def peak_mib(paths: list[Path]) -> float:
    done = subprocess.run([sys.executable, "-c", SOUP, *map(str, paths)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    torch.set_num_threads(1)  # Against one thread of memcpy.
    record_of = resolve(open_clip("ViT-B-32", "openai"), with_weights=False)
    spec: ModelSpec = backbone_spec(record_of, num_classes=1000, features="embedding")
    start, end = ({name: tensor.clone() for name, tensor in build_classifier(spec).state_dict().items()} for _ in range(2))
    out = {name: torch.empty_like(tensor) for name, tensor in start.items()}
    size = sum(tensor.numel() * tensor.element_size() for tensor in start.values())

    copy = median_seconds(lambda: [out[name].copy_(tensor) for name, tensor in start.items()])
    ours = median_seconds(lambda: write_interpolation(start, end, 0.3, out))
    checked = median_seconds(lambda: interpolate(start, end, 0.3, out=out))
    formula = median_seconds(lambda: {name: (1 - 0.3) * start[name] + 0.3 * end[name] for name in start})

    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{row}.safetensors" for row in range(MEMBERS)]
        for row, path in enumerate(paths):
            save_model(path, {name: tensor + row for name, tensor in start.items()}, spec)

        def members():  # type: ignore[no-untyped-def]
            for path in paths:
                with WeightFile(path) as file:
                    yield file

        def read_all() -> None:
            for path in paths:
                # load_file maps the file: its bytes are read when they are copied.
                for tensor in load_file(path).values():
                    tensor.clone()

        read = median_seconds(read_all)
        soup = median_seconds(lambda: average(members(), [1.0] * MEMBERS))
        baseline, two, ten = peak_mib([]), peak_mib(paths[:2]), peak_mib(paths)

    record(
        "weight_operations",
        {
            "weights_mib": round(size / 2**20, 1),
            "threads": 1,
            "memcpy_seconds": round(copy, 4),
            "memcpy_gb_per_second": round(2 * size / copy / 1e9, 2),
            "interpolate_seconds": round(ours, 4),
            "interpolate_gb_per_second": round(3 * size / ours / 1e9, 2),
            "interpolate_over_memcpy_bandwidth": round((3 * size / ours) / (2 * size / copy), 2),
            "interpolate_with_checks_seconds": round(checked, 4),
            "dictionary_formula_seconds": round(formula, 4),
            "formula_over_interpolate": round(formula / ours, 2),
            "soup_members": MEMBERS,
            "read_files_seconds": round(read, 3),
            "soup_seconds": round(soup, 3),
            "soup_over_reading": round(soup / read, 2),
            "peak_mib_without_soup": round(baseline, 1),
            "peak_mib_soup_of_2": round(two, 1),
            "peak_mib_soup_of_10": round(ten, 1),
        },
    )


if __name__ == "__main__":
    main()
