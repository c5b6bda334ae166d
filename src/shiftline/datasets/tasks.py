"""The tasks of the patching paper (Ilharco et al. 2022) that are files of images.

Where a data set publishes no validation split, a tenth of its training images, at most 5,000, is held out for selection.
"""

from __future__ import annotations

import json
import zipfile
from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from shiftline.data.examples import Description, Example
from shiftline.data.family import DatasetFamily, Listing
from shiftline.datasets.cifar import CarvedFamily
from shiftline.datasets.held_out import held_out_by_class, listing_digest
from shiftline.datasets.published_names import class_names
from shiftline.errors import DataError


def read_mat(path: Path) -> Any:
    """Read a MATLAB file; `DataError` where it is damaged."""
    from scipy.io import loadmat

    try:
        return loadmat(path, squeeze_me=True)
    except Exception as error:
        raise DataError(f"{path} is damaged or no MATLAB file ({error}).") from error


class Cars(CarvedFamily):
    """Cars by make, model and year."""

    name = "cars"
    title = "Stanford Cars (Krause et al. 2013)"
    classes = "196"
    folders = ("stanford_cars", "cars")
    layout = "devkit/*.mat, cars_train/, cars_test/, cars_test_annos_withlabels.mat"
    licence = "non-commercial research"
    source = "https://ai.stanford.edu/~jkrause/cars/car_dataset.html"

    def published(self, folder: Path, split: str) -> tuple[list[Example], tuple[str, ...]]:
        annotations = "devkit/cars_train_annos.mat" if split == "train" else "cars_test_annos_withlabels.mat"
        images = f"cars_{split}"
        self.require(folder, ["devkit/cars_meta.mat", annotations, images])
        rows = np.atleast_1d(read_mat(folder / annotations)["annotations"])
        names, labels = [f"{images}/{row['fname']}" for row in rows], [int(row["class"]) - 1 for row in rows]
        classes = tuple(str(name) for name in read_mat(folder / "devkit/cars_meta.mat")["class_names"])
        return self.files(folder, names, labels), classes

    def has(self, folder: Path, split: str) -> bool:
        return (folder / "devkit").exists()


class _Published(DatasetFamily):
    """A data set with a validation split of its own; `first` are entries of which one is there."""

    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test")
    first: ClassVar[tuple[str, ...]] = ()

    def has(self, folder: Path, split: str) -> bool:
        return any((folder / entry).exists() for entry in self.first)


class DTD(_Published):
    """Textures."""

    name = "dtd"
    title = "Describable Textures (Cimpoi et al. 2014)"
    classes = "47"
    folders = ("dtd", "dtd/dtd")
    layout = "images/CLASS/*.jpg, labels/train1.txt, val1.txt, test1.txt"
    licence = "research"
    source = "https://www.robots.ox.ac.uk/~vgg/data/dtd/"
    first = ("labels",)

    def list_split(self, folder: Path, split: str) -> Listing:
        self.require(folder, ["images", *(f"labels/{one}1.txt" for one in self.splits)], split)
        lists = {one: (folder / f"labels/{one}1.txt").read_text().split() for one in self.splits}
        names = lists[split]
        classes = sorted({name.split("/")[0] for of_split in lists.values() for name in of_split})
        labels = [classes.index(name.split("/")[0]) for name in names]
        examples = self.files(folder, [f"images/{name}" for name in names], labels, split)
        return Listing(examples, tuple(c.replace("_", " ") for c in classes), Description(subsets=(split,)))


class EuroSAT(_Published):
    """Satellite images of land use."""

    name = "eurosat"
    title = "EuroSAT (Helber et al. 2019)"
    classes = "10"
    folders = ("eurosat", "EuroSAT", ".")
    layout = "EuroSAT_splits/SPLIT/CLASS/*.jpg, or 2750/CLASS/*.jpg, which is then split 8:1:1 by class (seed 0)"
    licence = "MIT"
    source = "https://github.com/phelber/EuroSAT"
    first = ("EuroSAT_splits", "2750")

    def list_split(self, folder: Path, split: str) -> Listing:
        names: Mapping[str, str] = class_names("eurosat")
        listing = ""
        if (folder / "EuroSAT_splits").is_dir():
            folders = self.class_folders(folder / "EuroSAT_splits" / split, list(names), split)
            examples = self.labelled(folder, folders, split)
        else:
            self.require(folder, ["2750"], split)
            everything = self.labelled(folder, self.class_folders(folder / "2750", list(names), split), split)
            test = held_out_by_class(everything, share=0.1)
            rest = [example for example, out in zip(everything, test, strict=True) if not out]
            val = held_out_by_class(rest, share=1 / 9, seed=1)
            chosen = {
                "test": [example for example, out in zip(everything, test, strict=True) if out],
                "val": [example for example, out in zip(rest, val, strict=True) if out],
                "train": [example for example, out in zip(rest, val, strict=True) if not out],
            }
            examples, listing = chosen[split], listing_digest(everything)
        return Listing(examples, tuple(names.values()), Description(subsets=(split,), listing=listing))


class GTSRB(CarvedFamily):
    """German traffic signs."""

    name = "gtsrb"
    title = "German Traffic Signs (Stallkamp et al. 2012)"
    classes = "43"
    folders = ("gtsrb", "GTSRB")
    layout = "GTSRB/Final_Training/Images/00000/*.ppm (or GTSRB/Training/...), GTSRB/Final_Test/Images/*.ppm, GT-final_test.csv"
    licence = "CC0"
    source = "https://benchmark.ini.rub.de"

    def published(self, folder: Path, split: str) -> tuple[list[Example], tuple[str, ...]]:
        classes = tuple(class_names("gtsrb"))
        if split == "train":
            # The benchmark's own archive, or the one that torchvision fetches.
            images = folder / "GTSRB/Final_Training/Images"
            images = images if images.is_dir() else folder / "GTSRB/Training"
            self.require(folder, [str(images.relative_to(folder))])
            ids = [f"{label:05d}" for label in range(len(classes))]
            return self.labelled(folder, self.class_folders(images, ids, split), split), classes
        self.require(folder, ["GTSRB/Final_Test/Images", "GT-final_test.csv"])
        lines = [line.split(";") for line in (folder / "GT-final_test.csv").read_text().split()]
        name, label = lines[0].index("Filename"), lines[0].index("ClassId")
        names = [f"GTSRB/Final_Test/Images/{line[name]}" for line in lines[1:]]
        return self.files(folder, names, [int(line[label]) for line in lines[1:]], split), classes

    def has(self, folder: Path, split: str) -> bool:
        return (folder / "GTSRB").exists()


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


class KITTI(_Published):
    """Distance to the nearest vehicle."""

    name = "kitti"
    title = "KITTI distance to the nearest vehicle (Geiger et al. 2012; Zhai et al. 2019)"
    classes = "4"
    folders = ("kitti", "Kitti")
    layout = "training/image_2/*.png, training/label_2/*.txt, devkit_object.zip (or all in raw/); split by video"
    licence = "CC BY-NC-SA 3.0"
    source = "https://www.cvlibs.net/datasets/kitti/eval_object.php"
    first = ("training/image_2", "raw/training/image_2")

    def list_split(self, folder: Path, split: str) -> Listing:
        base = folder / "raw" if (folder / "raw").is_dir() else folder
        self.require(base, ["training/image_2", "training/label_2", "devkit_object.zip"], split)
        images = kitti_split(_kitti_videos(base / "devkit_object.zip"), split)
        labels = [kitti_label((base / f"training/label_2/{image:06d}.txt").read_text()) for image in images]
        examples = self.files(base, [f"training/image_2/{image:06d}.png" for image in images], labels, split)
        return Listing(examples, tuple(class_names("kitti")), Description(subsets=(split,)))


class RESISC45(_Published):
    """Aerial images of scenes."""

    name = "resisc45"
    title = "RESISC45 (Cheng et al. 2017)"
    classes = "45"
    folders = ("resisc45",)
    layout = "NWPU-RESISC45/CLASS/*.jpg, resisc45-train.txt, -val.txt, -test.txt"
    licence = "research"
    source = "https://storage.googleapis.com/remote_sensing_representations (lists; Neumann et al. 2019)"
    first = ("NWPU-RESISC45",)

    def list_split(self, folder: Path, split: str) -> Listing:
        self.require(folder, ["NWPU-RESISC45", *(f"resisc45-{one}.txt" for one in self.splits)], split)
        lists = {one: (folder / f"resisc45-{one}.txt").read_text().split() for one in self.splits}
        classes = sorted({name.rsplit("_", 1)[0] for of_split in lists.values() for name in of_split})
        owners = [name.rsplit("_", 1)[0] for name in lists[split]]
        names = [f"NWPU-RESISC45/{owner}/{name}" for owner, name in zip(owners, lists[split], strict=True)]
        examples = self.files(folder, names, [classes.index(owner) for owner in owners], split)
        return Listing(examples, tuple(c.replace("_", " ") for c in classes), Description(subsets=(split,)))


class SUN397(CarvedFamily):
    """Scenes."""

    name = "sun397"
    title = "SUN397 (Xiao et al. 2010)"
    classes = "397"
    folders = ("SUN397", "sun397")
    layout = "a/abbey/*.jpg ..., ClassName.txt, Training_01.txt, Testing_01.txt"
    licence = "research"
    source = "https://vision.princeton.edu/projects/2010/SUN/"

    def published(self, folder: Path, split: str) -> tuple[list[Example], tuple[str, ...]]:
        file = "Training_01.txt" if split == "train" else "Testing_01.txt"
        self.require(folder, ["ClassName.txt", file])
        folders = (folder / "ClassName.txt").read_text().split()
        names = [name.lstrip("/") for name in (folder / file).read_text().split()]
        labels = [folders.index("/" + name.rsplit("/", 1)[0]) for name in names]
        # "/a/abbey" is "abbey", "/c/church/indoor" is "church indoor".
        classes = tuple(" ".join(one.split("/")[2:]).replace("_", " ") for one in folders)
        return self.files(folder, names, labels, split), classes

    def has(self, folder: Path, split: str) -> bool:
        return (folder / "ClassName.txt").exists()


class Food101(CarvedFamily):
    """Dishes."""

    name = "food101"
    title = "Food-101 (Bossard et al. 2014)"
    classes = "101"
    folders = ("food-101", "food101")
    layout = "images/CLASS/*.jpg, meta/classes.txt, train.txt, test.txt"
    licence = "as Foodspotting's"
    source = "https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/"

    def published(self, folder: Path, split: str) -> tuple[list[Example], tuple[str, ...]]:
        self.require(folder, ["images", "meta/classes.txt", f"meta/{split}.txt"])
        classes = (folder / "meta/classes.txt").read_text().split()
        entries = (folder / f"meta/{split}.txt").read_text().split()
        labels = [classes.index(entry.split("/")[0]) for entry in entries]
        examples = self.files(folder, [f"images/{entry}.jpg" for entry in entries], labels, split)
        return examples, tuple(name.replace("_", " ") for name in classes)

    def has(self, folder: Path, split: str) -> bool:
        return (folder / "meta").exists()


def _cut_out(path: Path, box: tuple[int, int, int, int]) -> Any:
    from PIL import Image

    return Image.open(path).convert("RGB").crop(box)


class MTSD(_Published):
    """Traffic signs of the world, cut out of street views."""

    name = "mtsd"
    title = "Mapillary Traffic Signs, signs cut out (Ertler et al. 2020)"
    splits = ("train", "val")
    classes = "kinds of sign, of its own files"
    folders = ("mtsd",)
    layout = "images/*.jpg, annotations/*.json, splits/train.txt, val.txt (the last two perhaps in annotations/)"
    licence = "CC BY-NC-SA 4.0"
    source = "https://www.mapillary.com/dataset/trafficsign"
    first = ("annotations",)

    def list_split(self, folder: Path, split: str) -> Listing:
        # The archive of annotations holds folders "annotations" and "splits", and is unpacked here or into "annotations".
        base = folder / "annotations" if (folder / "annotations/splits").is_dir() else folder
        self.require(folder, ["images", "annotations"], split)
        self.require(base, ["annotations", "splits/train.txt", "splits/val.txt"], split)
        found: list[tuple[str, str, tuple[int, int, int, int]]] = []
        kinds: set[str] = set()
        for one in self.splits:
            for image in (base / f"splits/{one}.txt").read_text().split():
                annotation = json.loads((base / "annotations" / f"{image}.json").read_text())
                for sign in () if annotation["ispano"] else annotation["objects"]:
                    if sign["label"] == "other-sign":
                        continue
                    # "regulatory--stop--g1" is "stop".
                    kind = sign["label"].split("--")[1] if "--" in sign["label"] else sign["label"]
                    kinds.add(kind)
                    if one == split:
                        left, top, right, bottom = (round(sign["bbox"][side]) for side in ("xmin", "ymin", "xmax", "ymax"))
                        found.append((kind, image, (left, top, right, bottom)))
        classes = sorted(kinds)
        examples = [
            Example(partial(_cut_out, folder / f"images/{image}.jpg", box), classes.index(kind), path=f"images/{image}.jpg {box}")
            for kind, image, box in found
            if box[2] > box[0] and box[3] > box[1]
        ]
        names = tuple(c.replace("-", " ") for c in classes)
        return Listing(examples, names, Description(tuple(classes), subsets=(split,)))
