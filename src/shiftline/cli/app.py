"""The command line: the verbs of `ExperimentManager`, and writing data."""

from __future__ import annotations

import sys
import warnings

import typer

from shiftline.cli import agreement, claims, corruptions, cost, fit, images, models, robustness, run, slurm, study  # noqa: F401 - images adds commands to `data`.
from shiftline.cli.data import data
from shiftline.errors import ShiftlineError
from shiftline.papers import patch_command, rows_commands, wise_ft_command
from shiftline.papers.options import ManyAlphas

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(data, name="data")
for command in (
    study.plan,
    study.status,
    cost.cost,
    study.explain,
    study.results,
    study.candidates,
    study.plot,
    study.verify,
    study.collect,
    run.run,
    robustness.robustness,
    robustness.compare,
    robustness.support,
    claims.claims,
    agreement.agreement,
    agreement.ood_select,
    corruptions.corruption_errors,
    fit.fit,
    slurm.freeze,
    slurm.submit,
    slurm.logs,
    wise_ft_command.zero_shot,
    wise_ft_command.fine_tune,
    wise_ft_command.fisher,
    rows_commands.scatter_plot,
    rows_commands.wise_ft_table,
):
    app.command()(command)
app.command("export")(models.export_model)
app.command("import")(models.import_model)
app.command("wise-ft", cls=ManyAlphas)(wise_ft_command.wise_ft)
app.command("patch", cls=ManyAlphas)(patch_command.patch)
app.command("work", hidden=True)(run.work)
app.command("work-line", hidden=True)(slurm.work_line)


def _as_note(message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None) -> str:
    """Show what a user should know as a line of its own, without the place in the code where it is said."""
    return f"note: {message}\n" if category is UserWarning else _with_place(message, category, filename, lineno, line)


_with_place = warnings.formatwarning


def main() -> None:
    """Run the command line: errors of shiftline are one message on standard error and exit status 1."""
    warnings.formatwarning = _as_note
    try:
        app()
    except ShiftlineError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except BrokenPipeError:
        # The reader of a pipe has gone (`| head`): nothing is left to say, and the shutdown must not try.
        sys.stderr.close()
        raise SystemExit(0) from None


if __name__ == "__main__":
    main()
