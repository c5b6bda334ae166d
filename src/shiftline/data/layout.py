"""Looking at folders of images: what is missing, one level too deep, too few or too many is said before anything is read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from shiftline.data.examples import Example
from shiftline.data.listing import folders_of, images_below
from shiftline.errors import DataError


def from_where(source: str, what: str = "the data") -> str:
    """Return the end of a message that says where to get data: nothing where nobody knows."""
    return f" Get {what} from {source}." if source else ""


def require(root: Path, entries: Iterable[str], *, what: str, source: str) -> None:
    """Check that files and folders are there.

    Raises
    ------
    DataError
        The root is missing or empty, or some entries are; says where they are instead when that is one level deeper or higher.
    """
    entries = tuple(entries)
    if root.is_file():
        raise DataError(f"{what}: {root} is a file: expected the folder that holds the data.")
    if not root.is_dir():
        raise DataError(f"{what}: the folder {root} does not exist (looked in {Path.cwd()}).{from_where(source)}")
    missing = [entry for entry in entries if not (root / entry).exists()]
    if not missing:
        return
    inside = folders_of(root)
    for other in (*inside, root.parent):
        if all((other / entry).exists() for entry in entries):
            where = "one level too deep" if other != root.parent else "one level higher"
            raise DataError(f"{what}: {root} lacks {missing[0]}, but {other} has it: the data lie {where}. Say --root {other}.")
    if not any(root.iterdir()):
        raise DataError(f"{what}: the folder {root} is empty.{from_where(source)}")
    found = ", ".join(path.name for path in sorted(root.iterdir())[:8])
    raise DataError(
        f"{what}: {root} lacks {', '.join(missing[:8])}{' ...' if len(missing) > 8 else ''} (it has {found})."
        + from_where(source, "what is missing")
    )


def class_folders(root: Path, class_ids: Sequence[str], *, what: str, source: str) -> list[Path]:
    """Return the folder of every class, in the order of the classes.

    Raises
    ------
    DataError
        There are others than the classes, or some are missing.
    """
    require(root, (), what=what, source=source)
    found = {folder.name: folder for folder in folders_of(root)}
    expected = set(class_ids)
    missing, foreign = [c for c in class_ids if c not in found], sorted(set(found) - expected)
    if missing and len(foreign) == 1:
        deeper = found[foreign[0]]
        if expected <= {folder.name for folder in folders_of(deeper)}:
            raise DataError(
                f"{what}: the class folders are in {deeper}, one level too deep. Move them up, or point to the folder above them."
            )
    if foreign and not missing:
        raise DataError(
            f"{what}: {root} has {len(found)} class folders, expected {len(class_ids)}: {', '.join(foreign[:5])} "
            f"{'is' if len(foreign) == 1 else 'are'} none of its classes. Move what does not belong there away."
        )
    if missing:
        raise DataError(
            f"{what}: {root} has {len(expected & set(found))} of {len(class_ids)} class folders, "
            f"{', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''} are missing"
            f"{f' (and {foreign[0]} is there, which is no class)' if foreign else ''}.{from_where(source, 'what is missing')}"
        )
    return [found[class_id] for class_id in class_ids]


def labelled(
    root: Path, folders: Sequence[Path], *, what: str, source: str, group: str = "", allow_empty: bool = False
) -> list[Example]:
    """Return the images of class folders as examples; the label is the folder's position.

    Raises
    ------
    DataError
        A class has no images.
    """
    examples: list[Example] = []
    empty = []
    for label, folder in enumerate(folders):
        images = images_below(folder)
        if not images:
            empty.append(folder.name)
        examples += [Example(path, label, group=group, path=str(path.relative_to(root))) for path in images]
    if empty and (not allow_empty or len(empty) == len(folders)):
        raise DataError(
            f"{what}: {len(empty)} of {len(folders)} class folders of {root} hold no images: "
            f"{', '.join(empty[:5])}{' ...' if len(empty) > 5 else ''}. The download is not complete.{from_where(source, 'it')}"
        )
    return examples


def files_of(root: Path, names: Sequence[str], labels: Sequence[int], *, what: str, source: str) -> list[Example]:
    """Return listed files as examples.

    Raises
    ------
    DataError
        Some are not there.
    """
    examples = [Example(root / name, label, path=name) for name, label in zip(names, labels, strict=True)]
    missing = [example.path for example in examples if not (root / example.path).is_file()]
    if missing:
        raise DataError(
            f"{what}: {len(missing)} of {len(examples)} images are missing below {root}, such as {missing[0]}. The download is "
            f"not complete.{from_where(source, 'it')}"
        )
    return examples
