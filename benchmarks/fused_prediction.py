"""Fused prediction of 11 mixing coefficients on one split against 11 separate predictions.

    .venv/bin/python benchmarks/fused_prediction.py

Both are timed in one run, alternating, with fresh caches; the figure is the ratio. The plain PyTorch way (one module,
`load_state_dict` of a dictionary formula per alpha, a DataLoader over the decoded images) is timed beside them.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import torch

from measured import record
from shiftline import (
    PROMPTS,
    AdamW,
    ExperimentManager,
    FineTune,
    Recolour,
    ZeroShot,
    glyph_clip,
    handwritten_digits,
    interpolations,
)
from shiftline.data.loader import evaluation_chunks
from shiftline.data.views import open_view
from shiftline.engine.context import Context
from shiftline.engine.predict import predict_group
from shiftline.engine.weight_cache import WeightCache
from shiftline.launch.planning import data_folder
from shiftline.networks.preprocessing import prepare
from shiftline.networks.spec import build_classifier
from shiftline.store.artifacts import Store
from shiftline.store.attempts import Attempts

ROUNDS = 5


class Curve(ExperimentManager):
    """One WiSE-FT curve on the reference and one shift."""

    name = "curve"
    reference = handwritten_digits()
    shifts = {"recolour": reference.test.shifted(Recolour())}

    def models(self):
        clip = ZeroShot(glyph_clip(), templates=PROMPTS)
        tuned = FineTune(clip, train_on=self.reference.train.fraction(0.2), epochs=1, optimizer=AdamW(lr=1e-3))
        return {"wise-ft": interpolations(clip, tuned)}


def main() -> None:
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as folder:
        study = Curve(store=Path(folder) / "made", quiet=True)
        plan = study.run().plan
        jobs = [j for j in plan.jobs.values() if j.kind == "predict" and j.distribution == study.shifts["recolour"]]
        times: dict[str, list[float]] = {"fused": [], "separate": [], "plain": []}
        for number in range(ROUNDS):
            for way in times:
                target = Store(Path(folder) / f"{way}-{number}")
                context = _context(study, plan, target)
                started = time.perf_counter()
                if way == "fused":
                    predict_group(jobs, context)
                elif way == "separate":
                    for job in jobs:
                        context.weights = WeightCache(study.store, plan.artifacts)
                        predict_group([job], context)
                else:
                    _plain(jobs, context)
                times[way].append(time.perf_counter() - started)
        seconds = {way: statistics.median(values) for way, values in times.items()}
        record(
            "fused_prediction",
            {
                "alphas": len(jobs),
                "images": 697,
                "rounds": ROUNDS,
                "median_seconds": {way: round(value, 3) for way, value in seconds.items()},
                "separate_over_fused": round(seconds["separate"] / seconds["fused"], 2),
                "plain_over_fused": round(seconds["plain"] / seconds["fused"], 2),
            },
        )


def _context(study: ExperimentManager, plan, target: Store) -> Context:
    return Context(
        plan=plan,
        store=target,
        attempts=Attempts(target),
        data=data_folder(study.store),
        weights=WeightCache(study.store, plan.artifacts),
        decode_threads=2,
    )


@torch.no_grad()
def _plain(jobs, context: Context) -> None:
    """The plain way: decode, shift and predict once per alpha, weights mixed by a dictionary formula, nothing stored."""
    for job in jobs:
        cache = WeightCache(context.weights.store, context.plan.artifacts)
        (start, spec), (end, _) = (cache.state(m) for m in (job.model.start, job.model.end))
        module = build_classifier(spec).eval()
        module.load_state_dict({k: (1 - job.model.alpha) * start[k] + job.model.alpha * end[k] for k in start})
        (chunk,) = evaluation_chunks(open_view(job.distribution, context.data), chunk_size=4096)
        images = prepare(chunk.images[0], spec.preprocessing)
        torch.cat([module(batch) for batch in images.split(256)])


if __name__ == "__main__":
    main()
