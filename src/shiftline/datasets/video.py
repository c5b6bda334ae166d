"""ImageNet-Vid-Robust and YTBB-Robust: sets of neighbouring video frames, all of which a model has to get right.

The group of an example is its anchor frame. The column `accepted` lists every label that counts as correct.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from shiftline.contracts.label_spaces import many_to_one
from shiftline.data.examples import Description, Example
from shiftline.data.family import DatasetFamily, Listing
from shiftline.datasets.imagenet import synsets
from shiftline.errors import DataError

_VID_FILES = ("metadata/labels.json", "metadata/pmsets.json", "misc/rev_wnid_map.json", "misc/imagenet_vid_class_index.json")
_YTBB_FILES = ("anchor_labels.json", "pmk_labels.json", "ytbb_class_index.json", "rev_class_idx_map.json")
_YTBB_ANCHORS = "ytbb_robustness_test_anchors_full.csv"
_PROBLEMS = frozenset(
    (
        "dissimilar, problematic, incorrect, dont know, deformation, background-change, occlusion-increased, "
        "blur-increase, bad-anchor"
    ).split(", ")
)


def _json(path: Path) -> Any:
    return json.loads(path.read_text())


class _FrameSets(DatasetFamily):
    """Sets of neighbouring frames: "pm-0" has the anchors alone, "pm-10" their neighbours too."""

    splits = ("pm-0", "pm-10")
    source = "https://modestyachts.github.io/natural-perturbations-website/"
    groups = "anchor frame"

    def frames(self, root: Path, sets: Mapping[str, Mapping[str, Iterable[int]]], split: str) -> list[Example]:
        """Return the frames of each set as examples, from the accepted labels of its frames, the anchor first.

        Raises
        ------
        DataError
            Some are not there.
        """
        examples = []
        for anchor, labels_of in sets.items():
            for frame, accepted in labels_of.items():
                if split == "pm-0" and frame != anchor:
                    continue
                labels = sorted(accepted)
                metadata: dict[str, int | float | str] = {
                    "accepted": " ".join(map(str, labels)),
                    "anchor": int(frame.endswith(anchor)),
                }
                examples.append(Example(root / frame, labels[0], group=anchor, path=frame, metadata=metadata))
        missing = [example.path for example in examples if not (root / example.path).is_file()]
        if missing:
            raise DataError(
                f"{self.name}/{split}: {len(missing)} of {len(examples)} frames are missing, for instance {missing[0]}. The "
                f"download is not complete; get it from {self.source}."
            )
        return examples


class ImageNetVidRobust(_FrameSets):
    """Frames of ImageNet-Vid."""

    name = "imagenet-vid-robust"
    title = "ImageNet-Vid-Robust (Shankar et al. 2021)"
    classes = "30, which cover 293 of ImageNet's"
    folders = ("imagenet-vid-robust", "imagenet_vid_ytbb_robust/imagenet-vid-robust")
    layout = "val/VIDEO/*.JPEG; metadata/labels.json, pmsets.json; misc/*.json"
    licence = "as ImageNet"

    def list_split(self, folder: Path, split: str) -> Listing:
        self.require(folder, [*_VID_FILES, "val"], split)
        labels: Mapping[str, list[int]] = _json(folder / "metadata/labels.json")
        neighbours: Mapping[str, list[str]] = _json(folder / "metadata/pmsets.json")
        index: Mapping[str, list[str]] = _json(folder / "misc/imagenet_vid_class_index.json")
        covered: Mapping[str, list[str]] = _json(folder / "misc/rev_wnid_map.json")
        rows = [index[str(label)] for label in range(len(index))]
        sets = {anchor: {frame: labels[frame] for frame in (anchor, *sorted(neighbours[anchor]))} for anchor in sorted(neighbours)}
        ids = tuple(f"vid:{wnid}" for wnid, _ in rows)
        space = many_to_one(self.name, {f"vid:{wnid}": covered[wnid] for wnid, _ in rows})
        description = Description(ids, space, ("pm-k", "frame-accuracy"), ("val",))
        return Listing(self.frames(folder, sets, split), tuple(name for _, name in rows), description)

    def has(self, folder: Path, split: str) -> bool:
        return (folder / "metadata/pmsets.json").is_file()


def _latest(document: Mapping[str, Any]) -> dict[str, set[str]]:
    """Return the words that the last annotation of every key gives."""
    words = document["labels"]
    return {row["key"]: {words[label] for label in row["labels"]} for row in document["annotations"]}


def _frame(path: str) -> str:
    """Return ``VIDEO_MS/frame-N.jpg`` of a path."""
    return "/".join(path.split("/")[-2:])


def _ytbb_sets(folder: Path) -> dict[str, tuple[set[int], list[str]]]:
    """Return the accepted labels and the reviewed neighbours of every good anchor frame."""
    names = {name: int(label) for label, name in _json(folder / "ytbb_class_index.json").items()}
    initial: dict[str, int] = {}
    with (folder / _YTBB_ANCHORS).open() as stream:
        for row in csv.DictReader(stream):
            # The table has "none" and "car" the other way round.
            label = {22: 23, 23: 22}.get(int(row["label"]), int(row["label"]))
            initial[f"{row['ytid']}_{row['time_ms']}"] = label
    anchors = {_frame(key): words for key, words in _latest(_json(folder / "anchor_labels.json")).items()}
    good = {key for key, words in anchors.items() if "good" in words and not words & {"bad", "unsure"}}
    pairs = {
        tuple(_frame(part) for part in key.split(",")): words for key, words in _latest(_json(folder / "pmk_labels.json")).items()
    }
    bad = {anchor for (anchor, _), words in pairs.items() if "bad-anchor" in words}
    sets: dict[str, tuple[set[int], list[str]]] = {}
    for anchor in sorted(good - bad):
        accepted = {names[word] for word in anchors[anchor] if word in names}
        sets[anchor] = (accepted | {initial[anchor.split("/")[0]]}, [])
    for (anchor, frame), words in sorted(pairs.items()):
        if anchor in sets and anchor != frame and "similar" in words and not words & _PROBLEMS:
            sets[anchor][1].append(frame)
    return sets


class YtbbRobust(_FrameSets):
    """Frames of YouTube-BB."""

    name = "ytbb-robust"
    title = "YTBB-Robust (Shankar et al. 2021)"
    classes = "24, of which 19 cover 231 of ImageNet's"
    folders = ("ytbb-robust", "imagenet_vid_ytbb_robust/ytbb-robust")
    layout = (
        "ytbb_videos/VIDEO_MS/frame-N.jpg; metadata/ with the five files of annotations (wise-ft has them in "
        "src/datasets/ytbb-robust_metadata)"
    )
    licence = "annotations CC BY 4.0, videos as YouTube's"

    def list_split(self, folder: Path, split: str) -> Listing:
        self.require(folder, ["ytbb_videos", *(f"metadata/{name}" for name in (*_YTBB_FILES, _YTBB_ANCHORS))], split)
        index = _json(folder / "metadata/ytbb_class_index.json")
        classes = tuple(index[str(label)] for label in range(len(index)))
        covered = _json(folder / "metadata/rev_class_idx_map.json")
        sets = {
            anchor: dict.fromkeys((anchor, *neighbours), accepted)
            for anchor, (accepted, neighbours) in _ytbb_sets(folder / "metadata").items()
        }
        examples = self.frames(folder / "ytbb_videos", sets, split)
        ids = tuple(f"ytbb:{name}" for name in classes)
        members = {ids[int(label)]: [synsets()[number] for number in of] for label, of in covered.items() if of}
        # As published, anchors of classes that ImageNet lacks stay, and cannot be answered correctly.
        space = many_to_one(self.name, members)
        return Listing(examples, classes, Description(ids, space, ("pm-k", "frame-accuracy"), ("videos",)))

    def has(self, folder: Path, split: str) -> bool:
        return (folder / "ytbb_videos").is_dir()
