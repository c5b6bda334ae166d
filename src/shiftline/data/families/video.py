"""ImageNet-Vid-Robust and YTBB-Robust: sets of neighbouring video frames, all of which a model has to get right.

The group of an example is its anchor frame. The column `accepted` lists every label that counts as right.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from shiftline.data.families.family import Family, Listing
from shiftline.data.families.imagenet import synsets
from shiftline.data.families.layout import require, require_split
from shiftline.data.writer import Description, Example
from shiftline.declare.label_spaces import many_to_one
from shiftline.errors import DataError

SPLITS = ("pm-0", "pm-10")
_VID_FILES = (
    "metadata/labels.json", "metadata/pmsets.json", "misc/rev_wnid_map.json", "misc/imagenet_vid_class_index.json", "val",
)  # fmt: skip
_YTBB_FILES = (
    "anchor_labels.json", "pmk_labels.json", "ytbb_class_index.json", "rev_class_idx_map.json",
    "ytbb_robustness_test_anchors_full.csv",
)  # fmt: skip
_PROBLEMS = {
    "dissimilar", "problematic", "incorrect", "dont know", "deformation", "background-change", "occlusion-increased",
    "blur-increase", "bad-anchor",
}  # fmt: skip


def _json(path: Path) -> Any:
    return json.loads(path.read_text())


def _example(path: Path, root: Path, anchor: str, accepted: Iterable[int]) -> Example:
    labels = sorted(accepted)
    return Example(
        path, labels[0], group=anchor, path=str(path.relative_to(root)),
        metadata={"accepted": " ".join(map(str, labels)), "anchor": int(str(path).endswith(anchor))},
    )  # fmt: skip


def _check_frames(examples: list[Example], *, what: str, source: str) -> None:
    missing = [example.path for example in examples if not Path(str(example.source)).is_file()]
    if missing:
        raise DataError(
            f"{what}: {len(missing)} of {len(examples)} frames are missing, for instance {missing[0]}. The download is not "
            f"complete; get it from {source}."
        )


def _vid(root: Path, split: str) -> Listing:
    what = f"imagenet-vid-robust/{split}"
    require_split(split, SPLITS, what="imagenet-vid-robust")
    require(root, _VID_FILES, what=what, source=VID.source)
    labels: Mapping[str, list[int]] = _json(root / "metadata/labels.json")
    frames: Mapping[str, list[str]] = _json(root / "metadata/pmsets.json")
    index: Mapping[str, list[str]] = _json(root / "misc/imagenet_vid_class_index.json")
    covered: Mapping[str, list[str]] = _json(root / "misc/rev_wnid_map.json")
    rows = [index[str(label)] for label in range(len(index))]
    examples = [
        _example(root / frame, root, anchor, labels[frame])
        for anchor in sorted(frames)
        for frame in [anchor, *(sorted(frames[anchor]) if split == "pm-10" else ())]
    ]
    _check_frames(examples, what=what, source=VID.source)
    space = many_to_one("imagenet-vid-robust", {f"vid:{wnid}": covered[wnid] for wnid, _ in rows})
    ids = tuple(f"vid:{wnid}" for wnid, _ in rows)
    return Listing(
        examples, tuple(name for _, name in rows), Description(ids, space, ("pm-k", "frame-accuracy"), ("val",))
    )


VID = Family(
    "imagenet-vid-robust", "ImageNet-Vid-Robust (Shankar et al. 2021)", SPLITS, "30, which cover 293 of ImageNet's",
    ("imagenet-vid-robust", "imagenet_vid_ytbb_robust/imagenet-vid-robust"),
    "val/VIDEO/*.JPEG; metadata/labels.json, pmsets.json; misc/*.json", "as ImageNet",
    "https://modestyachts.github.io/natural-perturbations-website/", _vid,
    lambda root, _: (root / "metadata/pmsets.json").is_file(),
    groups="anchor frame",
)  # fmt: skip


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
    with (folder / "ytbb_robustness_test_anchors_full.csv").open() as stream:
        for row in csv.DictReader(stream):
            # The table has "none" and "car" the other way round.
            label = {22: 23, 23: 22}.get(int(row["label"]), int(row["label"]))
            initial[f"{row['ytid']}_{row['time_ms']}"] = label
    anchors = {_frame(key): words for key, words in _latest(_json(folder / "anchor_labels.json")).items()}
    good = {key for key, words in anchors.items() if "good" in words and not words & {"bad", "unsure"}}
    pairs = {
        tuple(_frame(part) for part in key.split(",")): words
        for key, words in _latest(_json(folder / "pmk_labels.json")).items()
    }
    spoilt = {anchor for (anchor, _), words in pairs.items() if "bad-anchor" in words}
    sets: dict[str, tuple[set[int], list[str]]] = {}
    for anchor in sorted(good - spoilt):
        accepted = {names[word] for word in anchors[anchor] if word in names}
        sets[anchor] = (accepted | {initial[anchor.split("/")[0]]}, [])
    for (anchor, frame), words in sorted(pairs.items()):
        if anchor in sets and anchor != frame and "similar" in words and not words & _PROBLEMS:
            sets[anchor][1].append(frame)
    return sets


def _ytbb(root: Path, split: str) -> Listing:
    what = f"ytbb-robust/{split}"
    require_split(split, SPLITS, what="ytbb-robust")
    require(root, ["ytbb_videos", *(f"metadata/{name}" for name in _YTBB_FILES)], what=what, source=YTBB.source)
    index = _json(root / "metadata/ytbb_class_index.json")
    classes = tuple(index[str(label)] for label in range(len(index)))
    covered = _json(root / "metadata/rev_class_idx_map.json")
    videos = root / "ytbb_videos"
    examples = [
        _example(videos / frame, videos, anchor, accepted)
        for anchor, (accepted, neighbours) in _ytbb_sets(root / "metadata").items()
        for frame in [anchor, *(neighbours if split == "pm-10" else ())]
    ]
    _check_frames(examples, what=what, source=YTBB.source)
    ids = tuple(f"ytbb:{name}" for name in classes)
    members = {ids[int(label)]: [synsets()[place] for place in places] for label, places in covered.items() if places}
    space = many_to_one("ytbb-robust", members)
    # As published, anchors of classes that ImageNet lacks stay, and cannot be answered rightly.
    return Listing(examples, classes, Description(ids, space, ("pm-k", "frame-accuracy"), ("videos",)))


YTBB = Family(
    "ytbb-robust", "YTBB-Robust (Shankar et al. 2021)", SPLITS, "24, of which 19 cover 231 of ImageNet's",
    ("ytbb-robust", "imagenet_vid_ytbb_robust/ytbb-robust"),
    "ytbb_videos/VIDEO_MS/frame-N.jpg; metadata/ with the five files of annotations (wise-ft has them in "
    "src/datasets/ytbb-robust_metadata)", "annotations CC BY 4.0, videos as YouTube's",
    "https://modestyachts.github.io/natural-perturbations-website/", _ytbb, lambda root, _: (root / "ytbb_videos").is_dir(),
    groups="anchor frame",
)  # fmt: skip
FAMILIES = (VID, YTBB)
