"""How long commands take that compute nothing: help, errors, a finished study, a finished wise-ft call, the plan of 1,000 models.

Each is a process of its own, started five times (the plan three times); the fastest counts, and the most memory. Limits: 0.5 s for
help, version and errors, 1 s for the study, 2 s for the call, 2 s and 300 MB for the plan.

.venv/bin/python benchmarks/starting.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measured import record

COMMAND = [sys.executable, "-m", "shiftline.cli.app"]
WISE_FT = (
    "wise-ft --train-dataset Digits --model glyph-clip --template digits --eval-datasets Digits,TypedDigits --epochs 2 "
    "--results-db rows.jsonl --alpha 0 0.5 1"
)
MANY = """
import shiftline as sl


class Many(sl.ExperimentManager):
    name = "many"
    reference = sl.handwritten_digits()
    shifts = {"blur": reference.test.shifted(sl.Blur(2))}

    def models(self):
        return {"nets": [sl.FromScratch(sl.glyph_net("mlp"), seed=seed) for seed in range(1000)]}
"""
FEW = (
    MANY.replace("Many", "Few")
    .replace("many", "few")
    .replace("range(1000)", "range(2)")
    .replace("seed=seed", "epochs=2, seed=seed")
)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "many.py").write_text(MANY)
        (folder / "few.py").write_text(FEW)
        for line in ("run few.py --quiet", WISE_FT, "plan many.py"):
            subprocess.run([*COMMAND, *line.split()], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        found: dict[str, float] = {}
        for what, line, tries in (
            ("help", "--help", 5),
            ("version", "--version", 5),
            ("argument_error", "run few.py --thread", 5),
            ("finished_study", "run few.py", 5),
            ("finished_wise_ft", WISE_FT, 5),
            ("plan_of_1000_models", "plan many.py", 3),
        ):
            taken = [_taken(line.split(), folder) for _ in range(tries)]
            found[f"{what}_seconds"] = round(min(seconds for seconds, _ in taken), 3)
            found[f"{what}_mib"] = round(max(mib for _, mib in taken), 1)
    record("starting", found)


def _taken(words: list[str], folder: Path) -> tuple[float, float]:
    """Return the seconds of a command, and its peak memory in MiB."""
    started = time.monotonic()
    with subprocess.Popen([*COMMAND, *words], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
    return time.monotonic() - started, usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
