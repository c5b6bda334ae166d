"""A line from published accuracies: baseline models that nobody has to train again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shiftline.errors import DeclarationError


@dataclass(frozen=True)
class PublishedBaseline:
    """Where published accuracies stand. Made by `baseline_table`; the file is read when a table or figure needs it.

    Attributes
    ----------
    reference : str, or tuple of (shift, column)
    shifts : tuple of (shift, column)
        Where a column has another name than its shift.
    group : str
        The group that its models form.
    """

    path: str
    model: str
    reference: str | tuple[tuple[str, str], ...]
    shifts: tuple[tuple[str, str], ...]
    percent: bool
    n_reference: int | None
    n_shift: int | None
    family: str | None
    group: str

    def reference_of(self, shift: str) -> str | None:
        """Return the column of reference accuracies in a shift's classes, as far as it is said."""
        return self.reference if isinstance(self.reference, str) else dict(self.reference).get(shift)

    def column_of(self, shift: str) -> str:
        """Return the column of accuracies under a shift."""
        return dict(self.shifts).get(shift, shift)


def baseline_table(
    path: str,
    *,
    model: str,
    reference: str | Mapping[str, str],
    shifts: Mapping[str, str] | None = None,
    percent: bool = False,
    n_reference: int | None = None,
    n_shift: int | None = None,
    family: str | None = None,
    group: str = "published",
) -> PublishedBaseline:
    """Declare the line of a study by published accuracies: ``baseline = sl.baseline_table("testbed.csv", ...)``.

    Parameters
    ----------
    path : str
        A csv, tsv, xlsx, parquet or jsonl file with a row per model, from where the study is run.
    model : str
        Column of the models' names.
    reference : str, or mapping of str to str
        Column of accuracies on the reference in its own classes. Where a shift has other classes (200 of ImageNet's 1,000), the
        reference accuracy on these is another number: then ``{shift: column}``, for every shift.
    shifts : mapping of str to str, optional
        Columns of accuracies under shift that have other names than their shifts: ``{shift: column}``. Shifts without a column have
        no line, and tables say so.
    percent : bool
        Accuracies are percent, not fractions.
    n_reference, n_shift : int, optional
        Numbers of examples behind an accuracy. Without them nothing is known of the noise of the published accuracies.
    family : str, optional
        A column of families: models of one family have errors that are alike, as `cluster` of the line options says.
    group : str
        What tables and figures call these models.

    Raises
    ------
    DeclarationError
        An argument is no text, mapping or count.
    """
    texts = {"path": str(path), "model": model, "group": group} | ({} if family is None else {"family": family})
    for name, text in texts.items():
        if not isinstance(text, str) or not text:
            raise DeclarationError(f"baseline_table({name}={text!r}): expected a name.")
    for name, columns in (("reference", {"": reference} if isinstance(reference, str) else reference), ("shifts", shifts or {})):
        if not isinstance(columns, Mapping) or not all(isinstance(text, str) for pair in columns.items() for text in pair):
            raise DeclarationError(f"baseline_table({name}={columns!r}): expected {{shift: column}}.")
    for name, count in (("n_reference", n_reference), ("n_shift", n_shift)):
        if count is not None and (not isinstance(count, int) or count < 1):
            raise DeclarationError(f"baseline_table({name}={count!r}): expected a number of examples, 1 or more.")
    return PublishedBaseline(
        str(path),
        model,
        reference if isinstance(reference, str) else tuple(reference.items()),
        tuple((shifts or {}).items()),
        percent,
        n_reference,
        n_shift,
        family,
        group,
    )
