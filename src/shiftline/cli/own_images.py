"""Images of one's own, as commands name them: folders, tables of labels, Hugging Face data sets, WebDataset tars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shiftline.errors import DataError

if TYPE_CHECKING:
    from shiftline.data.family import Listing

Images = Annotated[
    Path | None, typer.Option("--images", help="Your own images: CLASS/images. With --labels: where its paths begin.")
]
Domains = Annotated[
    Path | None, typer.Option("--domains", help="Your own images: DOMAIN/CLASS/images. Each domain becomes a split.")
]
Labels = Annotated[
    Path | None, typer.Option("--labels", metavar="TABLE", help="Your own images: a table (csv, xlsx, ...), a row for each.")
]
HuggingFace = Annotated[
    Path | None, typer.Option("--hf", metavar="DIR", help="Your own images: Hugging Face's datasets on disk (arrow or parquet).")
]
WebDataset = Annotated[
    str | None, typer.Option("--wds", metavar="PATTERN", help="Your own images: WebDataset tars, 'shards-{000..009}.tar'.")
]
PathColumn = Annotated[str, typer.Option("--path-column", help="Of --labels: files. [default: file]", show_default=False)]
ImageColumn = Annotated[str, typer.Option("--image-column", help="Of --hf: images; of --wds: the ending of images' members.")]
LabelColumn = Annotated[
    str, typer.Option("--label-column", help="Classes: names or whole numbers. [default: label; of --wds cls]", show_default=False)
]
GroupColumn = Annotated[str, typer.Option("--group-column", help="Groups: hospitals, regions, backgrounds.")]
SplitColumn = Annotated[str, typer.Option("--split-column", help="Of --labels: each value becomes a split.")]
Classes = Annotated[
    Path | None, typer.Option("--classes", metavar="FILE", help="Names of the classes, one a line, in the order of the labels.")
]
SplitOff = Annotated[
    str, typer.Option("--split-off", metavar="NAME=SHARE,...", help="Cut splits off by class: val=0.1,test=0.2. The rest is train.")
]
Seed = Annotated[int, typer.Option("--seed", help="Of --split-off: which images.")]
_OPTION = {"hugging_face": "--hf", "web_dataset": "--wds"}


@dataclass(frozen=True)
class OwnImages:
    """What the options say."""

    images: Path | None = None
    domains: Path | None = None
    labels: Path | None = None
    hugging_face: Path | None = None
    web_dataset: str | None = None
    path_column: str = ""
    image_column: str = ""
    label_column: str = ""
    group_column: str = ""
    split_column: str = ""
    classes: Path | None = None
    split_off: str = ""
    seed: int = 0

    @property
    def source(self) -> str:
        """The option that says where the images are; empty where none does.

        Raises
        ------
        DataError
            Two say it in two ways, or an option is of another source.
        """
        sources = [n for n in ("labels", "hugging_face", "web_dataset", "domains", "images") if getattr(self, n) is not None]
        if len(sources) > 1 and sources != ["labels", "images"]:
            raise DataError(f"say where the images are, in one way: {' or '.join(map(_option, sources))}.")
        source = sources[0] if sources else ""
        columns = {
            "": (),
            "images": (),
            "domains": (),
            "labels": ("path_column", "label_column", "group_column", "split_column", "classes"),
            "hugging_face": ("image_column", "label_column", "group_column", "classes"),
            "web_dataset": ("image_column", "label_column", "group_column", "classes"),
        }
        for field in fields(self):
            name = field.name
            if name not in sources and name not in ("split_off", "seed", *columns[source]) and getattr(self, name) != field.default:
                whose = [_option(one) for one, taken in columns.items() if name in taken]
                raise DataError(f"{_option(name)} is for {' and '.join(whose)}{f', not for {_option(source)}' if source else ''}.")
        if self.split_off and (source in ("", "domains") or self.split_column):
            raise DataError(
                f"--split-off is for your own images without splits: {_option(source) if source else 'data sets'} have them."
            )
        if self.seed and not self.split_off:
            raise DataError("--seed says which images --split-off takes: say --split-off too, or leave it out.")
        return source

    def listings(self, name: str, split: Sequence[str]) -> dict[str, Listing]:
        """List the images, by the split that they become.

        Parameters
        ----------
        name : str
            Of the data set, for messages.
        split : sequence of str
            Wanted ones; for a source without splits the name of the one that it becomes.
        """
        from shiftline.contracts.distributions import Split

        source = self.source
        if source in ("images", "web_dataset") or (source == "labels" and not self.split_column):
            self._check_named(name, split, source)
        found = self._listed(source, split)
        if set(found) != {""}:
            if self.split_off:
                raise DataError(f"--split-off is for images without splits: {_option(source)} has {', '.join(found)}.")
            for one in found:
                Split(name, one)  # Names that no split can have are said before anything is written.
            if absent := [one for one in split if one not in found]:
                raise DataError(f"{_option(source)} has no split {absent[0]!r}: it has {', '.join(found)}.")
            return {one: listing for one, listing in found.items() if not split or one in split}
        self._check_named(name, split, source)
        if not self.split_off:
            return {split[0]: found[""]}
        from shiftline.datasets.split_off import split_off

        return split_off(found[""], _shares(self.split_off), rest=split[0] if split else "train", seed=self.seed)

    def _check_named(self, name: str, split: Sequence[str], source: str) -> None:
        if len(split) > 1 or not (split or self.split_off):
            raise DataError(
                f"{_option(source)} becomes one split: name it, shiftline data write {name} --split test {_option(source)} "
                f"{getattr(self, source)}. --split-off val=0.1,test=0.2 cuts it into several."
            )

    def _listed(self, source: str, split: Sequence[str]) -> dict[str, Listing]:
        from shiftline.datasets.class_names import read_classes

        classes = read_classes(self.classes) if self.classes is not None else None
        columns = {"image": self.image_column, "label": self.label_column, "group": self.group_column, "classes": classes}
        if self.labels is not None:
            from shiftline.datasets.labelled_tables import labelled_table

            return labelled_table(
                self.labels,
                path_column=self.path_column or "file",
                label_column=self.label_column or "label",
                group_column=self.group_column,
                split_column=self.split_column,
                images=self.images,
                classes=classes,
            )
        if self.hugging_face is not None:
            from shiftline.datasets.hugging_face import hugging_face

            return hugging_face(self.hugging_face, **columns, wanted=split)  # type: ignore[arg-type]
        if self.web_dataset is not None:
            from shiftline.datasets.webdataset import LABEL, webdataset

            return {"": webdataset(self.web_dataset, **(columns | {"label": self.label_column or LABEL}))}  # type: ignore[arg-type]
        from shiftline.datasets.folders import domain_folders, image_folder

        if self.domains is not None:
            return domain_folders(self.domains)
        assert self.images is not None
        return {"": image_folder(self.images)}


def _option(name: str) -> str:
    return _OPTION.get(name, f"--{name.replace('_', '-')}")


def _shares(text: str) -> Mapping[str, float]:
    shares: dict[str, float] = {}
    for word in text.split(","):
        name, _, value = word.strip().partition("=")
        try:
            share = float(value)
        except ValueError:
            share = 0.0
        if not name or name in shares or not 0 < share < 1:
            raise DataError(f"--split-off {text}: expected NAME=SHARE with shares between 0 and 1, such as val=0.1,test=0.2.")
        shares[name] = share
    return shares
