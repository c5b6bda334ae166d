"""The commands on a study of more than 10,000 jobs, as a user waits for them: with the interpreter's start, and peak memory.

Jobs are not run: a small artifact with a fitting summary is published for each. SLURM's commands are scripts that answer at once.

.venv/bin/python benchmarks/launching.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measured import record
from shiftline.cli.loading import make_study
from shiftline.plan.jobs import Job
from shiftline.store.attempts import Attempts

STUDY = """
from shiftline import *


class Large(ExperimentManager):
    name = "large"
    reference = handwritten_digits()
    shifts = {"blur": reference.test.shifted(Blur(2)), "noise": reference.test.shifted(Noise(0.2))}
    shifts |= {"invert": reference.test.shifted(Invert()), "rotate": reference.test.shifted(Rotate(20))}

    def models(self):
        clip = ZeroShot(glyph_clip(), templates=("the digit {}",))
        tuned = [FineTune(clip, epochs=1, seed=seed) for seed in range(900)]
        return {"tuned": tuned, "best": best(tuned[:30])}
"""
PROGRAMS = {"sbatch": "echo $((1000 + RANDOM))", "scontrol": "echo 'MaxArraySize            = 1001'", "squeue": "true"}


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        study, store = folder / "study.py", folder / "store"
        study.write_text(STUDY)
        (folder / "bin").mkdir()
        for program, body in PROGRAMS.items():
            (folder / "bin" / program).write_text(f"#!/bin/bash\n{body}\n")
            (folder / "bin" / program).chmod(0o755)
        os.environ["PATH"] = f"{folder / 'bin'}:{os.environ['PATH']}"
        manager = make_study(str(study), None, store, quiet=True)
        waves = manager.plan().waves()
        measured: dict[str, object] = {"jobs": sum(map(len, waves)), "waves": len(waves)}
        script = Path(__file__).parent.parent / "scripts" / "slurm_job.sbatch"
        measured |= _timed("plan", "plan", study, "--store", store)
        measured |= _timed("status, nothing done", "status", study, "--store", store)
        measured |= _timed("submit", "submit", study, "--store", store, "--script", script)
        started = time.perf_counter()
        while todo := [job for job in manager.plan().jobs.values() if not job.deferred and not manager.store.has(job.key)]:
            for job in todo:
                _publish(manager.store, job)
        measured["published"] = len(manager.store.complete())
        measured["publishing, artifacts per second"] = round(measured["published"] / (time.perf_counter() - started))
        measured |= _timed("status, all done", "status", study, "--store", store)
        measured |= _timed("results", "results", study, "--store", store, "--format", "csv")
        files = [path for path in store.rglob("*") if "data" not in path.relative_to(store).parts]
        measured["files and folders per job"] = round(len(files) / measured["published"], 2)
        record("launching", measured)


def _publish(store, job: Job) -> None:
    """Do what a runner does with the store: claim, publish, forget the attempt."""
    summary = {"position": 0} if job.kind == "select" else {"value": 0.5, "correct": 50, "n": 100}
    attempts = Attempts(store)
    with attempts.claim(job.key):
        with store.publish(job.key, job.kind, job.document) as draft:
            draft.summary.update(summary)
            if job.kind not in ("score", "select"):
                (draft.folder / "file").write_bytes(b"x")
        attempts.succeed(job.key)


def _timed(name: str, *words: object) -> dict[str, float]:
    code = (
        "import sys, shiftline.cli.app as cli\n"
        "try:\n    cli.main()\n"
        "finally:\n"
        "    peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "    print(int(peak.split()[1]) // 1024, file=sys.stderr)\n"
    )
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(done.stderr)
    return {f"{name}, seconds": round(seconds, 2), f"{name}, MiB": int(done.stderr.split()[-1])}


if __name__ == "__main__":
    main()
