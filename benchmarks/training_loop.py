"""Our training loop against a bare PyTorch loop: the same network, batches, optimiser and number of steps.

    .venv/bin/python benchmarks/training_loop.py

Rounds alternate in one run; the figure is the ratio of the medians. Batches are made before, so that only the loop is timed.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from measured import record
from shiftline import SGD, Constant, ExperimentManager, FromScratch, glyph_net, handwritten_digits, timm
from shiftline.contracts.backbones import Backbone
from shiftline.data.loader import Batch, TrainingBatches
from shiftline.data.views import open_view
from shiftline.engine.context import Context
from shiftline.engine.initial import from_scratch
from shiftline.engine.loop import TrainingRun
from shiftline.engine.weight_cache import WeightCache
from shiftline.launch.planning import data_folder
from shiftline.networks.preprocessing import normalise
from shiftline.store.artifacts import Store
from shiftline.store.attempts import Attempts

CASES = {
    # name: architecture, batch size, steps per round, rounds
    "glyph trunk, batch 64": (glyph_net("trunk"), 64, 56, 9),
    "timm resnet18 at 224, batch 16": (timm("resnet18"), 16, 6, 5),
}


class MadeBatches:
    """Batches that are there already."""

    source = "memory"

    def __init__(self, batches: list[Batch]) -> None:
        self.batches = batches
        self.steps, self.examples = len(batches), sum(len(batch) for batch in batches)

    def epoch(self, epoch: int, *, first: int = 0) -> Iterator[Batch]:
        yield from self.batches[first:]


def measure(backbone: Backbone, batch_size: int, steps: int, rounds: int, folder: Path) -> dict[str, float]:
    recipe = FromScratch(backbone, steps=steps, batch_size=batch_size, optimizer=SGD(lr=1e-3), schedule=Constant())

    class One(ExperimentManager):
        name = "one"
        reference = handwritten_digits()

        def models(self):
            return {"it": recipe}

    store = Store(folder)
    plan = One(store=folder).plan()
    context = Context(
        plan=plan, store=store, attempts=Attempts(store), data=data_folder(store), weights=WeightCache(store, plan.artifacts)
    )
    job = next(job for job in plan.jobs.values() if job.kind == "train")
    _, spec = from_scratch(backbone, context, num_classes=10)
    view = open_view(One.reference.train, context.data)
    loader = TrainingBatches(view, batch_size=batch_size, size=int(spec.preprocessing["size"]))
    made = [batch for epoch in range(8) for batch in loader.epoch(epoch)][:steps]

    def ours() -> float:
        torch.manual_seed(0)
        classifier, _ = from_scratch(backbone, context, num_classes=10)
        run = TrainingRun(job, recipe, classifier, spec, MadeBatches(made), context)
        run.resume()
        started = time.perf_counter()
        run.train()
        return time.perf_counter() - started

    def bare() -> float:
        torch.manual_seed(0)
        classifier, _ = from_scratch(backbone, context, num_classes=10)
        model = classifier.to(memory_format=torch.channels_last).train()
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
        started = time.perf_counter()
        for batch in made:
            optimizer.zero_grad()
            logits = model(normalise(batch.images, spec.preprocessing))
            loss = torch.nn.functional.cross_entropy(logits, batch.labels)
            loss.backward()
            optimizer.step()
        return time.perf_counter() - started

    ours(), bare()
    pairs = [(ours(), bare()) for _ in range(rounds)]
    ratios = [first / second for first, second in pairs]
    return {
        "ours_ms_per_step": round(1e3 * statistics.median(first for first, _ in pairs) / len(made), 2),
        "bare_ms_per_step": round(1e3 * statistics.median(second for _, second in pairs) / len(made), 2),
        "ours_over_bare": round(statistics.median(ratios), 3),
    }


def main() -> None:
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as folder:
        record("training_loop", {name: measure(*case, Path(folder)) for name, case in CASES.items()})


if __name__ == "__main__":
    main()
