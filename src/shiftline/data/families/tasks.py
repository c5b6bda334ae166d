"""The tasks of the patching paper (Ilharco et al. 2022) that are files of images.

Where a data set publishes no validation split, a tenth of its training images, at most 5,000, is held out for selection.
"""

from __future__ import annotations

import json
import zipfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from shiftline.data.families.family import Family, Listing
from shiftline.data.families.held_out import held_out_at_random, held_out_by_class, listing_digest, part_of
from shiftline.data.families.layout import class_folders, labelled, require, require_split
from shiftline.data.families.names import class_names
from shiftline.data.writer import Description, Example
from shiftline.errors import DataError

CARVED = ("train", "val", "test", "train-whole")
"""Splits where the validation split is cut from the training images."""
PUBLISHED = ("train", "val", "test")

Published = Callable[[Path, str], tuple[list[Example], tuple[str, ...]]]
"""From the folder and "train" or "test" to examples and class names, as published."""


def carved(root: Path, split: str, *, name: str, published: Published) -> Listing:
    """List a split of a data set without a validation split of its own."""
    require_split(split, CARVED, what=name)
    examples, classes = published(root, "test" if split == "test" else "train")
    if not examples:
        raise DataError(f"{name}/{split}: {root} lists no images.")
    if split == "test":
        return Listing(examples, classes, Description(parts=("test",)))
    listing = listing_digest(examples)
    examples, parts = part_of(examples, held_out_at_random(len(examples)), split, held_out_name="val")
    return Listing(examples, classes, Description(parts=parts, listing=listing))


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
            f"not complete; get it from {source}."
        )
    return examples


def read_mat(path: Path) -> Any:
    """Read a MATLAB file; `DataError` where it is damaged."""
    from scipy.io import loadmat

    try:
        return loadmat(path, squeeze_me=True)
    except Exception as error:
        raise DataError(f"{path} is damaged or no MATLAB file ({error}).") from error


def _cars(root: Path, split: str) -> tuple[list[Example], tuple[str, ...]]:
    annotations = "devkit/cars_train_annos.mat" if split == "train" else "cars_test_annos_withlabels.mat"
    folder = f"cars_{split}"
    require(root, ["devkit/cars_meta.mat", annotations, folder], what="cars", source=CARS.source)
    rows = np.atleast_1d(read_mat(root / annotations)["annotations"])
    names = [f"{folder}/{row['fname']}" for row in rows]
    classes = tuple(str(name) for name in read_mat(root / "devkit/cars_meta.mat")["class_names"])
    return files_of(root, names, [int(row["class"]) - 1 for row in rows], what="cars", source=CARS.source), classes


def _dtd(root: Path, split: str) -> Listing:
    require_split(split, PUBLISHED, what="dtd")
    require(root, ["images", *(f"labels/{one}1.txt" for one in PUBLISHED)], what=f"dtd/{split}", source=DTD.source)
    lists = {one: (root / f"labels/{one}1.txt").read_text().split() for one in PUBLISHED}
    names, classes = lists[split], sorted({name.split("/")[0] for of_split in lists.values() for name in of_split})
    labels = [classes.index(name.split("/")[0]) for name in names]
    examples = files_of(root, [f"images/{n}" for n in names], labels, what=f"dtd/{split}", source=DTD.source)
    return Listing(examples, tuple(c.replace("_", " ") for c in classes), Description(parts=(split,)))


def _eurosat(root: Path, split: str) -> Listing:
    require_split(split, PUBLISHED, what="eurosat")
    names: Mapping[str, str] = class_names("eurosat")
    what, source, listing = f"eurosat/{split}", EUROSAT.source, ""
    if (root / "EuroSAT_splits").is_dir():
        place = root / "EuroSAT_splits" / split
        examples = labelled(root, class_folders(place, list(names), what=what, source=source), what=what, source=source)
    else:
        require(root, ["2750"], what=what, source=source)
        everything = labelled(
            root, class_folders(root / "2750", list(names), what=what, source=source), what=what, source=source
        )
        test = held_out_by_class(everything, share=0.1)
        rest = [example for example, out in zip(everything, test, strict=True) if not out]
        val = held_out_by_class(rest, share=1 / 9, seed=1)
        chosen = {
            "test": [example for example, out in zip(everything, test, strict=True) if out],
            "val": [example for example, out in zip(rest, val, strict=True) if out],
            "train": [example for example, out in zip(rest, val, strict=True) if not out],
        }
        examples, listing = chosen[split], listing_digest(everything)
    return Listing(examples, tuple(names.values()), Description(parts=(split,), listing=listing))


def _gtsrb(root: Path, split: str) -> tuple[list[Example], tuple[str, ...]]:
    classes = tuple(class_names("gtsrb"))
    if split == "train":
        # The benchmark's own archive, or the one that torchvision fetches.
        place = root / "GTSRB/Final_Training/Images"
        place = place if place.is_dir() else root / "GTSRB/Training"
        require(root, [str(place.relative_to(root))], what="gtsrb", source=GTSRB.source)
        folders = [f"{label:05d}" for label in range(len(classes))]
        found = class_folders(place, folders, what="gtsrb/train", source=GTSRB.source)
        return labelled(root, found, what="gtsrb/train", source=GTSRB.source), classes
    require(root, ["GTSRB/Final_Test/Images", "GT-final_test.csv"], what="gtsrb", source=GTSRB.source)
    lines = [line.split(";") for line in (root / "GT-final_test.csv").read_text().split()]
    name, label = lines[0].index("Filename"), lines[0].index("ClassId")
    names = [f"GTSRB/Final_Test/Images/{line[name]}" for line in lines[1:]]
    return files_of(
        root, names, [int(line[label]) for line in lines[1:]], what="gtsrb/test", source=GTSRB.source
    ), classes


def _kitti_videos(devkit: Path) -> dict[str, list[int]]:
    """Return the training images of every video, from the devkit's mapping."""
    with zipfile.ZipFile(devkit) as archive:
        names = {name.rsplit("mapping/", 1)[-1]: name for name in archive.namelist()}
        order = archive.read(names["train_rand.txt"]).decode().replace("\n", " ").split(",")
        lines = archive.read(names["train_mapping.txt"]).decode().splitlines()
    videos: dict[str, list[int]] = defaultdict(list)
    for image, line in enumerate(order):
        videos[lines[int(line.strip()) - 1].split(" ")[1]].append(image)
    return videos


def kitti_split(videos: Mapping[str, list[int]], split: str) -> list[int]:
    """Return the images of a split: a tenth of the videos for test, a tenth for val, drawn as VTAB does (Zhai et al. 2019)."""
    random, tenth = np.random.RandomState(123), max(1, len(videos) // 10)
    test = set(random.choice(sorted(videos), tenth, replace=False))
    val = set(random.choice(sorted(set(videos) - test), tenth, replace=False))
    wanted = {"test": test, "val": val, "train": set(videos) - test - val}[split]
    return [image for video, images in videos.items() if video in wanted for image in images]


def kitti_label(text: str) -> int:
    """Return the class of a label file: nearest vehicle below 8 m, below 20 m, beyond, none (VTAB's four distances)."""
    rows = [line.split() for line in text.splitlines()]
    nearest = min([float(row[13]) for row in rows if row and row[0] in ("Car", "Van", "Truck")], default=10_000.0)
    return int(np.searchsorted([8.0, 20.0, 999.0], nearest))


def _kitti(root: Path, split: str) -> Listing:
    require_split(split, PUBLISHED, what="kitti")
    base = root / "raw" if (root / "raw").is_dir() else root
    require(
        base, ["training/image_2", "training/label_2", "devkit_object.zip"], what=f"kitti/{split}", source=KITTI.source
    )
    images = kitti_split(_kitti_videos(base / "devkit_object.zip"), split)
    labels = [kitti_label((base / f"training/label_2/{image:06d}.txt").read_text()) for image in images]
    names = [f"training/image_2/{image:06d}.png" for image in images]
    examples = files_of(base, names, labels, what=f"kitti/{split}", source=KITTI.source)
    return Listing(examples, tuple(class_names("kitti")), Description(parts=(split,)))


def _resisc45(root: Path, split: str) -> Listing:
    require_split(split, PUBLISHED, what="resisc45")
    wanted = ["NWPU-RESISC45", *(f"resisc45-{one}.txt" for one in PUBLISHED)]
    require(root, wanted, what=f"resisc45/{split}", source=RESISC45.source)
    lists = {one: (root / f"resisc45-{one}.txt").read_text().split() for one in PUBLISHED}
    files, classes = lists[split], sorted({name.rsplit("_", 1)[0] for of_split in lists.values() for name in of_split})
    owners = [name.rsplit("_", 1)[0] for name in files]
    names = [f"NWPU-RESISC45/{owner}/{name}" for owner, name in zip(owners, files, strict=True)]
    examples = files_of(
        root, names, [classes.index(o) for o in owners], what=f"resisc45/{split}", source=RESISC45.source
    )
    return Listing(examples, tuple(c.replace("_", " ") for c in classes), Description(parts=(split,)))


def _sun397(root: Path, split: str) -> tuple[list[Example], tuple[str, ...]]:
    file = "Training_01.txt" if split == "train" else "Testing_01.txt"
    require(root, ["ClassName.txt", file], what="sun397", source=SUN397.source)
    folders = (root / "ClassName.txt").read_text().split()
    names = [name.lstrip("/") for name in (root / file).read_text().split()]
    labels = [folders.index("/" + name.rsplit("/", 1)[0]) for name in names]
    # "/a/abbey" is "abbey", "/c/church/indoor" is "church indoor".
    classes = tuple(" ".join(folder.split("/")[2:]).replace("_", " ") for folder in folders)
    return files_of(root, names, labels, what=f"sun397/{split}", source=SUN397.source), classes


def _food101(root: Path, split: str) -> tuple[list[Example], tuple[str, ...]]:
    require(root, ["images", "meta/classes.txt", f"meta/{split}.txt"], what="food101", source=FOOD101.source)
    folders = (root / "meta/classes.txt").read_text().split()
    entries = (root / f"meta/{split}.txt").read_text().split()
    labels = [folders.index(entry.split("/")[0]) for entry in entries]
    names = [f"images/{entry}.jpg" for entry in entries]
    classes = tuple(folder.replace("_", " ") for folder in folders)
    return files_of(root, names, labels, what=f"food101/{split}", source=FOOD101.source), classes


def _cut_out(path: Path, box: tuple[int, int, int, int]) -> Any:
    from PIL import Image

    return Image.open(path).convert("RGB").crop(box)


def _mtsd(root: Path, split: str) -> Listing:
    require_split(split, ("train", "val"), what="mtsd")
    # The archive of annotations holds folders "annotations" and "splits", and is unpacked here or into "annotations".
    base = root / "annotations" if (root / "annotations/splits").is_dir() else root
    require(root, ["images", "annotations"], what=f"mtsd/{split}", source=MTSD.source)
    require(base, ["annotations", "splits/train.txt", "splits/val.txt"], what=f"mtsd/{split}", source=MTSD.source)
    found: list[tuple[str, str, tuple[int, int, int, int]]] = []
    kinds: set[str] = set()
    for one in ("train", "val"):
        for image in (base / f"splits/{one}.txt").read_text().split():
            annotation = json.loads((base / "annotations" / f"{image}.json").read_text())
            for sign in () if annotation["ispano"] else annotation["objects"]:
                if sign["label"] == "other-sign":
                    continue
                # "regulatory--stop--g1" is "stop".
                kind = sign["label"].split("--")[1] if "--" in sign["label"] else sign["label"]
                kinds.add(kind)
                if one == split:
                    corners = tuple(round(sign["bbox"][side]) for side in ("xmin", "ymin", "xmax", "ymax"))
                    found.append((kind, image, corners))  # type: ignore[arg-type]
    classes = sorted(kinds)
    examples = [
        Example(
            partial(_cut_out, root / f"images/{image}.jpg", box), classes.index(kind), path=f"images/{image}.jpg {box}"
        )
        for kind, image, box in found
        if box[2] > box[0] and box[3] > box[1]
    ]
    return Listing(examples, tuple(c.replace("-", " ") for c in classes), Description(tuple(classes), parts=(split,)))


def _carved_family(
    name: str, title: str, classes: str, folders: tuple[str, ...], layout: str, licence: str, source: str,
    published: Published, first: str,
) -> Family:  # fmt: skip
    return Family(
        name, title, CARVED, classes, folders, layout, licence, source,
        partial(carved, name=name, published=published), lambda root, _: (root / first).exists(),
    )  # fmt: skip


def _published_family(
    name: str, title: str, classes: str, folders: tuple[str, ...], layout: str, licence: str, source: str,
    listing: Callable[[Path, str], Listing], first: tuple[str, ...], splits: tuple[str, ...] = PUBLISHED,
) -> Family:  # fmt: skip
    return Family(
        name,
        title,
        splits,
        classes,
        folders,
        layout,
        licence,
        source,
        listing,
        lambda root, _: any((root / entry).exists() for entry in first),
    )


CARS = _carved_family(
    "cars", "Stanford Cars (Krause et al. 2013)", "196", ("stanford_cars", "cars"),
    "devkit/*.mat, cars_train/, cars_test/, cars_test_annos_withlabels.mat", "non-commercial research",
    "https://ai.stanford.edu/~jkrause/cars/car_dataset.html", _cars, "devkit",
)  # fmt: skip
DTD = _published_family(
    "dtd", "Describable Textures (Cimpoi et al. 2014)", "47", ("dtd", "dtd/dtd"),
    "images/CLASS/*.jpg, labels/train1.txt, val1.txt, test1.txt", "research", "https://www.robots.ox.ac.uk/~vgg/data/dtd/",
    _dtd, ("labels",),
)  # fmt: skip
EUROSAT = _published_family(
    "eurosat", "EuroSAT (Helber et al. 2019)", "10", ("eurosat", "EuroSAT", "."),
    "EuroSAT_splits/SPLIT/CLASS/*.jpg, or 2750/CLASS/*.jpg, which is then split 8:1:1 by class (seed 0)", "MIT",
    "https://github.com/phelber/EuroSAT", _eurosat, ("EuroSAT_splits", "2750"),
)  # fmt: skip
GTSRB = _carved_family(
    "gtsrb", "German Traffic Signs (Stallkamp et al. 2012)", "43", ("gtsrb", "GTSRB"),
    "GTSRB/Final_Training/Images/00000/*.ppm (or GTSRB/Training/...), GTSRB/Final_Test/Images/*.ppm, GT-final_test.csv", "CC0",
    "https://benchmark.ini.rub.de", _gtsrb, "GTSRB",
)  # fmt: skip
KITTI = _published_family(
    "kitti", "KITTI distance to the nearest vehicle (Geiger et al. 2012; Zhai et al. 2019)", "4", ("kitti", "Kitti"),
    "training/image_2/*.png, training/label_2/*.txt, devkit_object.zip (or all in raw/); split by video",
    "CC BY-NC-SA 3.0", "https://www.cvlibs.net/datasets/kitti/eval_object.php", _kitti,
    ("training/image_2", "raw/training/image_2"),
)  # fmt: skip
RESISC45 = _published_family(
    "resisc45", "RESISC45 (Cheng et al. 2017)", "45", ("resisc45",),
    "NWPU-RESISC45/CLASS/*.jpg, resisc45-train.txt, -val.txt, -test.txt", "research",
    "https://storage.googleapis.com/remote_sensing_representations (lists; Neumann et al. 2019)", _resisc45, ("NWPU-RESISC45",),
)  # fmt: skip
SUN397 = _carved_family(
    "sun397", "SUN397 (Xiao et al. 2010)", "397", ("SUN397", "sun397"),
    "a/abbey/*.jpg ..., ClassName.txt, Training_01.txt, Testing_01.txt", "research",
    "https://vision.princeton.edu/projects/2010/SUN/", _sun397, "ClassName.txt",
)  # fmt: skip
FOOD101 = _carved_family(
    "food101", "Food-101 (Bossard et al. 2014)", "101", ("food-101", "food101"),
    "images/CLASS/*.jpg, meta/classes.txt, train.txt, test.txt", "as Foodspotting's",
    "https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/", _food101, "meta",
)  # fmt: skip
MTSD = _published_family(
    "mtsd", "Mapillary Traffic Signs, signs cut out (Ertler et al. 2020)", "kinds of sign, of its own files", ("mtsd",),
    "images/*.jpg, annotations/*.json, splits/train.txt, val.txt (the last two perhaps in annotations/)", "CC BY-NC-SA 4.0",
    "https://www.mapillary.com/dataset/trafficsign", _mtsd, ("annotations",), ("train", "val"),
)  # fmt: skip
FAMILIES = (CARS, DTD, EUROSAT, GTSRB, KITTI, RESISC45, SUN397, FOOD101, MTSD)
