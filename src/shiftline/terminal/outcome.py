"""What a run did, in words."""

from __future__ import annotations

import sys

from shiftline.contracts.require import counted
from shiftline.launch.in_process import Outcome


def print_outcome(outcome: Outcome, name: str, study: str, *, quiet: bool) -> None:
    """Print what a run did, and on standard error what it could not do.

    Parameters
    ----------
    study : str
        How the command line names it.
    """
    if outcome.followed:
        return
    total = counted(len(outcome.plan.jobs), "job")
    for key, error in outcome.failed.items():
        job = outcome.plan.jobs[key]
        print(f"failed: {job.kind} {key[:12]} {job.label}\n  {error}", file=sys.stderr)
    if outcome.interrupted:
        print(f"{name}: stopped after {counted(outcome.made, 'job')}; what was done is kept. Run again to go on.", file=sys.stderr)
    elif outcome.failed or outcome.blocked:
        failed = [f"{counted(len(outcome.failed), 'job')} failed"] if outcome.failed else []
        left = [f"{counted(len(outcome.blocked), 'job')} did not run"] if outcome.blocked else []
        print(f"{name}: {'; '.join(failed + left)}. The tracebacks are in the store's attempts folder.", file=sys.stderr)
    elif quiet:
        return
    elif not outcome.made:
        print(f"{name}: nothing to do, all complete ({total}).")
    else:
        print(f"{name}: {counted(outcome.made, 'job')} done in {outcome.seconds:.0f} s, all complete ({total}).")
        print(f"Next: shiftline robustness {study}; shiftline plot {study}")
