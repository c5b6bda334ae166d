"""The known data sets, each on a miniature tree in its published layout."""

from __future__ import annotations

import io
import os
import pickle
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch.utils.data import random_split

import miniatures
from shiftline import Split
from shiftline.contracts.predictions import Predictions
from shiftline.data import beton
from shiftline.data.examples import Encoding, Example
from shiftline.data.readers import PlainReader
from shiftline.data.sidecar import DataFolder
from shiftline.data.views import groups_of, open_view
from shiftline.datasets.array_tasks import FASHION
from shiftline.datasets.catalogue import catalogue
from shiftline.datasets.folders import domain_folders, image_folder, torch_dataset
from shiftline.datasets.held_out import held_out_at_random, held_out_by_class, listing_digest
from shiftline.datasets.imagenet import names_by_synset, readable, sub_synsets, synsets
from shiftline.datasets.prepare import join_splits, write_dataset, write_listing
from shiftline.datasets.published_names import class_names
from shiftline.datasets.tasks import kitti_label, kitti_split
from shiftline.datasets.wilds_package import _group_means, official_results, open_wilds
from shiftline.errors import DataError
from shiftline.metrics.classes import MacroF1
from shiftline.metrics.groups import WorstGroupAccuracy

# Those that are looked for in a folder.
KNOWN = {name: family for name, family in catalogue().families.items() if not family.generated}

BUILT: dict[str, Path] = {}


@pytest.fixture(scope="session")
def tree(tmp_path_factory):
    """A function from the name of a family to the root below which its miniature lies."""

    def build(name):
        if name not in BUILT:
            BUILT[name] = tmp_path_factory.mktemp(name)
            if name.startswith("wilds-"):
                miniatures.wilds(BUILT[name], name.removeprefix("wilds-"))
            else:
                getattr(miniatures, name.replace("-", "_").replace(".", "_"))(BUILT[name])
        return BUILT[name]

    return build


def listing(tree, name, split):
    family = KNOWN[name]
    return family.listing(catalogue().folder_of(family, [split], tree(name)), split)


def decoded(source):
    if isinstance(source, np.ndarray):
        return source
    image = Image.open(source) if isinstance(source, Path) else source()
    if isinstance(image, bytes):
        image = Image.open(io.BytesIO(image))
    return np.asarray(image.convert("RGB"))


def splits_of(name):
    return KNOWN[name].usual_splits or ("gaussian_noise-3",)


LARGE = ("imagenet", "imagenet-v2", "imagenet-sketch", "imagenet-c", "imagenet-real", "imagenet-x", "domainnet", "wilds-iwildcam")
"""Families whose miniatures take a second or more: they need a file for every class."""


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] if name in LARGE else []) for name in KNOWN])
def test_every_family_is_found_listed_written_and_read_again(name, tree, tmp_path):
    family = KNOWN[name]
    assert catalogue().roots(tree(name)).find(family) is not None
    split = splits_of(name)[-1]
    found = listing(tree, name, split)
    place = Split(name, split)
    sidecar = write_listing(DataFolder(tmp_path), place, found, encoding=family.encoding(split))
    view = open_view(place, DataFolder(tmp_path))
    assert sidecar.record.classes == found.classes
    assert sidecar.record.metrics == found.description.metrics
    assert sidecar.record.space == found.description.space
    assert sidecar.record.subsets
    assert view.labels.tolist() == [example.label for example in found.examples]
    reader = PlainReader(view.index)
    for row in sorted({0, len(found.examples) // 2, len(found.examples) - 1}):
        np.testing.assert_array_equal(reader.images(np.array([row]))[0], decoded(found.examples[row].source))
    if family.groups:
        assert groups_of(DataFolder(tmp_path), place).tolist() == [example.group for example in found.examples]


@pytest.mark.parametrize("name", [name for name in KNOWN if "train" in KNOWN[name].splits])
def test_splits_of_one_source_share_no_image(name, tree):
    family = KNOWN[name]
    sources = {}
    for split in family.usual_splits:
        for example in listing(tree, name, split).examples:
            source = example.source
            key = example.path if not isinstance(source, np.ndarray) else source.tobytes()
            assert sources.setdefault(key, split) == split
    if "train-whole" in family.splits:
        whole = listing(tree, name, "train-whole")
        held_out = "held-out" if "held-out" in family.splits else "val"
        parts = [listing(tree, name, split) for split in ("train", held_out)]
        assert len(whole.examples) == sum(len(part.examples) for part in parts)
        assert set(whole.description.subsets) == {"train", held_out}


def place(path):
    """The number in a file's name, or in the brackets behind an array's."""
    return int(re.findall(r"\d+", path)[-1])


CIFAR = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
STL = ["airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"]
CARS = ("AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Ford GT Coupe 2006")
CLASSES = {
    # What the miniatures were built with, said a second time: the class of an example by its path.
    ("cars", "train-whole"): lambda p: CARS[(place(p) - 1) % 3],
    ("cars", "test"): lambda p: CARS[(place(p) - 1) % 3],
    ("dtd", "val"): lambda p: p.split("/")[1].replace("_", " "),
    ("resisc45", "test"): lambda p: p.split("/")[1].replace("_", " "),
    ("sun397", "train-whole"): lambda p: ("abbey", "church indoor", "church outdoor")[place(p) % 3],
    ("food101", "test"): lambda p: p.split("/")[1].replace("_", " "),
    ("gtsrb", "test"): lambda p: class_names("gtsrb")[7 * place(p) % 43],
    ("gtsrb", "train-whole"): lambda p: class_names("gtsrb")[int(p.split("/")[-2])],
    ("kitti", "train"): lambda p: class_names("kitti")[place(p) % 4],
    ("eurosat", "test"): lambda p: class_names("eurosat")[p.split("/")[1]],
    ("mnist", "test"): lambda p: str(place(p) % 10),
    ("fashion-mnist", "train-whole"): lambda p: FASHION[place(p) % 10],
    ("svhn", "test"): lambda p: str((place(p) + 1) % 10),
    ("stl10", "test"): lambda p: STL[place(p) % 10],
    ("cifar10", "test"): lambda p: CIFAR[place(p) % 10],
    ("cifar10", "train-whole"): lambda p: CIFAR[(place(p) + int(p.split("[")[0][-1])) % 10],
    ("cifar100", "train-whole"): lambda p: f"class {place(p) % 100}",
    ("cifar10.1", "v4"): lambda p: CIFAR[place(p) % 10],
    ("cifar10.2", "train"): lambda p: CIFAR[place(p) % 10],
    ("cifar10-c", "shot_noise-2"): lambda p: CIFAR[place(p) % 10],
    ("typographic", "test"): lambda p: re.match(r"label=(.*)_text", p)[1],
    ("wilds-waterbirds", "test"): lambda p: ("landbird", "waterbird")[place(p) % 2],
    ("wilds-iwildcam", "val"): lambda p: class_names("wilds-iwildcam")[place(p) % 182],
    ("imagenet-vid-robust", "pm-10"): lambda p: ("dog", "bus")[int(p.split("/")[1][1:])],
    ("imagenet-a", "test"): lambda p: names_by_synset()[p.split("/")[-2]],
}


@pytest.mark.parametrize(("name", "split"), CLASSES)
def test_every_example_has_its_own_class(name, split, tree):
    found = listing(tree, name, split)
    said = CLASSES[name, split]
    assert [found.classes[e.label] for e in found.examples] == [said(e.path) for e in found.examples]
    assert len({found.classes[e.label] for e in found.examples}) > 1


def test_imagenet_and_its_shifts_have_the_right_classes(tree):
    val = listing(tree, "imagenet", "val")
    assert [Path(e.path).parent.name for e in val.examples] == list(synsets())
    assert val.classes[:3] == ("tench", "goldfish", "great white shark")
    # "10" sorts before "2" as text.
    v2 = listing(tree, "imagenet-v2", "threshold-0.7")
    assert all(Path(e.path).parent.name == str(e.label) for e in v2.examples)
    rendition = listing(tree, "imagenet-r", "test")
    assert rendition.description.class_ids == sub_synsets("r")
    assert rendition.classes == readable(sub_synsets("r"))
    assert list(rendition.description.space.members) == [(wnid,) for wnid in sub_synsets("r")]


def test_objectnet_is_mapped_by_its_own_files_and_loses_its_border(tree):
    found = listing(tree, "objectnet", "test")
    assert found.classes == ("alarm clock", "banana", "bench")
    place = {wnid: label for label, wnid in enumerate(synsets())}
    covered = [sorted(place[wnid] for wnid in group[1:]) for group in found.description.space.members]
    assert covered == [[409, 530], [954], [703]]
    image = decoded(found.examples[0].source)
    assert image.shape == (12, 10, 3)
    np.testing.assert_array_equal(image, miniatures.pixels(0, 16, 14)[2:-2, 2:-2])


def test_frames_are_grouped_by_their_anchor(tree):
    found = listing(tree, "imagenet-vid-robust", "pm-10").examples
    sets = {}
    for example in found:
        sets.setdefault(example.group, []).append((example.path, example.metadata["accepted"]))
    assert sets == {
        "val/v0/000001.JPEG": [("val/v0/000001.JPEG", "0"), ("val/v0/000000.JPEG", "0"), ("val/v0/000002.JPEG", "0 1")],
        "val/v1/000002.JPEG": [("val/v1/000002.JPEG", "1"), ("val/v1/000003.JPEG", "1")],
    }
    assert [e.path for e in listing(tree, "imagenet-vid-robust", "pm-0").examples] == sorted(sets)


def test_frames_that_reviewers_refused_are_left_out(tree):
    found = listing(tree, "ytbb-robust", "pm-10").examples
    # cc and dd are bad anchors; aa's 32 and bb's neighbour are dissimilar. bb is a knife, which no class of ImageNet covers.
    assert [e.path for e in found] == [*(f"aa_100/frame-{n}.jpg" for n in (30, 29, 31)), "bb_200/frame-30.jpg"]
    assert [e.metadata["accepted"] for e in found] == ["1 3"] * 3 + ["2"]
    assert all(group[0] != "ytbb:knife" for group in listing(tree, "ytbb-robust", "pm-10").description.space.members)


def test_labels_and_pixels_of_arrays_are_those_of_their_files(tree):
    svhn = listing(tree, "svhn", "test").examples
    assert [e.label for e in svhn[:11]] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    np.testing.assert_array_equal(svhn[3].source, miniatures.square_images(20, 20)[3])
    np.testing.assert_array_equal(listing(tree, "stl10", "test").examples[4].source, miniatures.square_images(10, 10, 96)[4])
    flat = miniatures.flat_images(20, 9)[5].reshape(3, 32, 32)
    np.testing.assert_array_equal(listing(tree, "cifar10", "test").examples[5].source, flat.transpose(1, 2, 0))
    severe = listing(tree, "cifar10-c", "shot_noise-4").examples
    np.testing.assert_array_equal(severe[2].source, miniatures.square_images(50, 1)[32])
    digits = np.random.default_rng(20).integers(0, 256, (20, 28, 28), dtype=np.uint8)
    np.testing.assert_array_equal(listing(tree, "mnist", "test").examples[7].source[..., 1], digits[7])


@pytest.mark.parametrize(("distance", "expected"), [(2.0, 0), (7.99, 0), (8.5, 1), (19.0, 1), (20.5, 2), (500.0, 2), (None, 3)])
def test_kitti_labels_are_distances_to_the_nearest_vehicle(distance, expected):
    lines = [miniatures.KITTI_LINES[1]]
    if distance is not None:
        lines += [miniatures.KITTI_LINES[0].format(z=distance), miniatures.KITTI_LINES[0].format(z=distance + 1)]
    assert kitti_label("\n".join(lines)) == expected


def test_kitti_is_split_by_video():
    videos = {f"v{n}": list(range(10 * n, 10 * n + 10)) for n in range(25)}
    found = {split: kitti_split(videos, split) for split in ("train", "val", "test")}
    owners = {split: {image // 10 for image in images} for split, images in found.items()}
    assert [len(owners[split]) for split in ("train", "val", "test")] == [21, 2, 2]
    assert sorted(image for images in found.values() for image in images) == list(range(250))
    assert not owners["train"] & owners["val"]
    assert not owners["val"] & owners["test"]


def test_signs_are_cut_out(tree):
    found = listing(tree, "mtsd", "train")
    assert found.classes == ("deer", "stop")
    assert [e.label for e in found.examples] == [1, 0, 1, 0]
    assert decoded(found.examples[0].source).shape == (28, 20, 3)


def test_validation_splits_are_those_of_the_patching_paper():
    for count in (60, 73_257):
        size = min(int(0.1 * count), 5000)
        _, val = random_split(range(count), [count - size, size], generator=torch.Generator().manual_seed(0))
        assert np.flatnonzero(held_out_at_random(count)).tolist() == sorted(val.indices)
    # The first training image that the patching repository asserts for MNIST.
    train, _ = random_split(range(60_000), [55_000, 5_000], generator=torch.Generator().manual_seed(0))
    assert train.indices[0] == 36044


def test_the_held_out_part_is_a_share_of_every_class_and_drawn_by_file():
    labels = np.repeat(np.arange(5), [100, 200, 50, 10, 1000])
    examples = [Example(np.zeros(1), int(label), path=f"{label}/{row}.jpg") for row, label in enumerate(labels)]
    chosen = held_out_by_class(examples, share=0.02)
    assert np.bincount(labels[chosen]).tolist() == [2, 4, 1, 1, 20]
    assert not np.array_equal(chosen, held_out_by_class(examples, share=0.02, seed=1))
    # One file less moves no other across.
    kept = {e.path for e, out in zip(examples[1:], held_out_by_class(examples[1:], share=0.02), strict=True) if out}
    before = {e.path for e, out in zip(examples, chosen, strict=True) if out}
    assert len(kept ^ before) <= 2
    assert listing_digest(examples) != listing_digest(examples[1:])


@pytest.mark.parametrize("name", [name.removeprefix("wilds-") for name in KNOWN if name.startswith("wilds-")])
def test_official_metrics_are_computed_by_wilds_itself(name, tree, tmp_path):
    split = "test"
    found = listing(tree, f"wilds-{name}", split)
    sidecar = write_listing(DataFolder(tmp_path), Split(f"wilds-{name}", split), found, encoding=Encoding("raw"))
    dataset = open_wilds(name, catalogue().folder_of(KNOWN[f"wilds-{name}"], [split], tree(f"wilds-{name}")))
    rows = np.flatnonzero(np.asarray(dataset.split_array) == dataset.split_dict[split])
    labels, metadata = dataset.y_array[rows], dataset.metadata_array[rows]
    predicted = torch.from_numpy(np.random.default_rng(0).integers(0, len(found.classes), len(rows)))
    predicted[::2] = labels[::2]
    with _group_means():
        expected, _ = dataset.eval(predicted, labels, metadata)
    columns = [[example.metadata[field] for field in sidecar.official["fields"]] for example in found.examples]
    results = official_results(dict(sidecar.official), predicted.numpy(), labels.numpy(), np.array(columns))
    assert set(results) == set(expected)
    for key, value in expected.items():
        assert results[key] == pytest.approx(float(value), nan_ok=True), key
    official = KNOWN[f"wilds-{name}"].metrics
    assert set(official) <= set(results)
    # Groups are those of the official evaluation: our worst group is its worst group.
    logits = np.eye(len(found.classes), dtype=np.float32)[predicted.numpy()]
    groups = pd.DataFrame({"group": [example.group for example in found.examples]})
    predictions = Predictions(logits, labels.numpy(), np.arange(len(rows)), metadata=lambda names: groups[names])
    for metric, without in (("acc_wg", ()), ("acc_worst_region", ("region=Other",))):
        if metric in official:
            assert WorstGroupAccuracy(without).measure(predictions).value == pytest.approx(results[metric])
    if "F1-macro_all" in results:
        assert MacroF1().measure(predictions).value == pytest.approx(results["F1-macro_all"])


def test_empty_images_of_iwildcam_can_be_left_out(tree):
    whole, rest = (listing(tree, "wilds-iwildcam", split).examples for split in ("train", "train-non-empty"))
    assert [e.path for e in rest] == [e.path for e in whole if int(e.path) % 3]


# ---- what can be wrong with a folder ---------------------------------------------------------------------------------


def moved(root, name):
    """Lay a data set one level too deep."""
    (root / "inner").mkdir()
    for entry in list((root / name).iterdir()):
        entry.rename(root / "inner" / entry.name)
    (root / "inner").rename(root / name / "download")


def remove(*names):
    def change(root, name):
        for path in names:
            target = root / name / path
            for below in sorted(target.rglob("*"), reverse=True) if target.is_dir() else ():
                below.unlink() if below.is_file() else below.rmdir()
            target.unlink() if target.is_file() else target.rmdir()

    return change


def add(path):
    return lambda root, name: (root / name / path).mkdir(parents=True)


def empty_class(root, name):
    (image,) = (root / name / sub_synsets("r")[7]).iterdir()
    image.unlink()


@pytest.mark.parametrize(
    ("build", "family", "folder", "change", "message"),
    [
        (miniatures.imagenet_r, "imagenet-r", "imagenet-r", remove("."), "the folder .* does not exist .*Get the data from https"),
        (miniatures.imagenet_r, "imagenet-r", "imagenet-r", moved, "class folders are in .*download, one level too deep"),
        (
            miniatures.imagenet_r,
            "imagenet-r",
            "imagenet-r",
            remove(sub_synsets("r")[3], sub_synsets("r")[5]),
            f"198 of 200 class folders, {sub_synsets('r')[3]}, {sub_synsets('r')[5]} are missing. Get what is missing from https",
        ),
        (
            miniatures.imagenet_r,
            "imagenet-r",
            "imagenet-r",
            add("n99999999"),
            "has 201 class folders, expected 200: n99999999 is none of its classes",
        ),
        (miniatures.imagenet_r, "imagenet-r", "imagenet-r", empty_class, "1 of 200 class folders of .* hold no images: n0"),
        (
            miniatures.objectnet,
            "objectnet",
            "objectnet-1.0",
            remove("mappings/imagenet_to_label_2012_v2"),
            "lacks mappings/imagenet_to",
        ),
        (miniatures.objectnet, "objectnet", "objectnet-1.0", remove("images/bench"), "2 of 3 class folders, bench are missing"),
        (miniatures.objectnet, "objectnet", "objectnet-1.0", moved, "one level too deep. Say --root .*download"),
        (
            miniatures.dtd,
            "dtd",
            "dtd",
            remove("images/dots_a/dots_a_0002.jpg"),
            "1 of 3 images are missing below .*dots_a_0002.jpg",
        ),
        (miniatures.cifar10, "cifar10", "cifar-10-batches-py", remove("data_batch_3"), "lacks data_batch_3 .it has batches.meta"),
        (
            miniatures.imagenet_vid_robust,
            "imagenet-vid-robust",
            "imagenet-vid-robust",
            remove("val/v1/000003.JPEG"),
            "1 of 5 frames are",
        ),
        (miniatures.resisc45, "resisc45", "resisc45", remove("NWPU-RESISC45/sea_ice"), "1 of 3 images are missing below .*sea_ice"),
    ],
)
def test_a_folder_that_is_not_as_published_is_one_clear_error(tmp_path, build, family, folder, change, message):
    build(tmp_path)
    change(tmp_path, folder)
    known = KNOWN[family]
    with pytest.raises(DataError, match=message):
        known.listing(tmp_path / folder, known.splits[-1])


def test_an_empty_folder_says_where_the_data_are(tmp_path):
    with pytest.raises(DataError, match="is empty. Get the data from https://objectnet.dev"):
        KNOWN["objectnet"].listing(tmp_path, "test")


@pytest.mark.parametrize(
    ("family", "split", "message"),
    [
        ("imagenet", "test", "imagenet has no split 'test': it has train, held-out, val, train-whole"),
        ("imagenet-c", "gaussian_noise-6", "no split 'gaussian_noise-6': it has gaussian_noise-1 to gaussian_noise-5"),
        ("cifar10.1", "v5", "it has v4, v6"),
        ("wilds-fmow", "oops", "it has train, id_val, id_test, val, test"),
    ],
)
def test_a_split_that_does_not_exist_lists_those_that_do(tmp_path, family, split, message):
    with pytest.raises(DataError, match=message):
        KNOWN[family].listing(tmp_path, split)


class Evil:
    def __reduce__(self):
        return (os.system, ("touch /tmp/evil",))


def test_a_pickle_runs_no_code(tmp_path):
    base = miniatures.cifar10(tmp_path)
    (base / "test_batch").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(DataError, match="holds a posix.system, which is no array"):
        KNOWN["cifar10"].listing(base, "test")
    (base / "test_batch").write_bytes(b"not a pickle")
    with pytest.raises(DataError, match="test_batch is damaged or not the published file"):
        KNOWN["cifar10"].listing(base, "test")


def test_damaged_arrays_are_one_clear_error(tmp_path):
    base = miniatures.mnist(tmp_path)
    path = base / "raw/t10k-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataError, match="no complete idx file of 3 dimensions"):
        KNOWN["mnist"].listing(base, "test")
    base = miniatures.stl10(tmp_path)
    (base / "test_X.bin").write_bytes(b"123")
    with pytest.raises(DataError, match="has 3 bytes: expected a multiple of 27648"):
        KNOWN["stl10"].listing(base, "test")
    base = miniatures.svhn(tmp_path)
    (base / "test_32x32.mat").write_bytes(b"123")
    with pytest.raises(DataError, match="is damaged or no MATLAB file"):
        KNOWN["svhn"].listing(base, "test")
    base = miniatures.cifar10_c(tmp_path)
    np.save(base / "gaussian_noise.npy", np.zeros((12, 32, 32, 3), np.uint8))
    with pytest.raises(DataError, match="expected five severities of as many"):
        KNOWN["cifar10-c"].listing(base, "gaussian_noise-1")


def test_a_name_that_is_nearly_right_is_helped():
    with pytest.raises(DataError, match="there is no data set 'imagnet-r': did you mean imagenet-r"):
        catalogue().named("imagnet-r")


# ---- where data lie --------------------------------------------------------------------------------------------------


def test_roots_come_from_the_option_the_variable_or_the_file(tmp_path, monkeypatch):
    family = KNOWN["imagenet-r"]
    (tmp_path / "data").mkdir()
    miniatures.imagenet_r(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SHIFTLINE_DATA", raising=False)
    assert catalogue().roots().find(family) is None
    with pytest.raises(DataError, match="where is imagenet-r.*SHIFTLINE_DATA.*shiftline.toml"):
        catalogue().folder_of(family, ["test"], None)
    (tmp_path / "shiftline.toml").write_text('[data]\nroot = "data"\n')
    assert catalogue().folder_of(family, ["test"], None) == Path("data/imagenet-r")
    (tmp_path / "shiftline.toml").write_text('[data]\nimagenet-r = "data/imagenet-r"\n')
    assert catalogue().folder_of(family, ["test"], None) == Path("data/imagenet-r")
    monkeypatch.setenv("SHIFTLINE_DATA", f"/nowhere:{tmp_path / 'data'}")
    assert catalogue().folder_of(family, ["test"], None) == tmp_path / "data/imagenet-r"
    assert catalogue().folder_of(family, ["test"], tmp_path / "data") == tmp_path / "data/imagenet-r"
    assert catalogue().folder_of(family, ["test"], tmp_path / "data/imagenet-r") == tmp_path / "data/imagenet-r"
    monkeypatch.setenv("SHIFTLINE_DATA", "/nowhere")
    with pytest.raises(DataError, match=r"was not found \(looked in /nowhere/imagenet-r, /nowhere/ImageNet-R; SHIFTLINE_DATA\)"):
        catalogue().folder_of(family, ["test"], None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[data", "is no valid TOML file"),
        ("[data]\nroot = 3\n", "data.root is 3, expected the path of a folder"),
        ('[data]\nimagenet-rr = "/x"\n', "did you mean imagenet-r"),
    ],
)
def test_a_bad_settings_file_is_one_clear_error(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SHIFTLINE_DATA", raising=False)
    (tmp_path / "shiftline.toml").write_text(text)
    with pytest.raises(DataError, match=message):
        catalogue().roots()


# ---- images of one's own ---------------------------------------------------------------------------------------------


def test_domain_folders_share_their_classes(tmp_path):
    for path in ("photo/cat/a.png", "photo/dog/b.png", "sketch/cat/ü é.png", "sketch/cat/dup.png"):
        miniatures.save(tmp_path / path, 1)
    found = domain_folders(tmp_path)
    assert list(found) == ["photo", "sketch"]
    assert found["photo"].classes == found["sketch"].classes == ("cat", "dog")
    assert [(e.label, e.group) for e in found["sketch"].examples] == [(0, "sketch"), (0, "sketch")]
    with pytest.raises(DataError, match="expected DOMAIN/CLASS/images. For CLASS/images say --images"):
        domain_folders(tmp_path / "photo")
    with pytest.raises(DataError, match="holds 1 image and no sub-folders"):
        image_folder(tmp_path / "photo/cat")


class Pairs(torch.utils.data.Dataset):
    classes = ("a", "b")

    def __init__(self, count=5, *, as_float=False):
        self.count, self.as_float = count, as_float

    def __len__(self):
        return self.count

    def __getitem__(self, row):
        image = miniatures.pixels(row, 9, 8)
        return (image / 255 if self.as_float else image), torch.tensor(row % 2)


def test_any_torch_dataset_can_be_written(tmp_path):
    split = write_dataset(Pairs(), Split("pairs", "all"), groups=list("xxyyz"), store=tmp_path)
    folder = DataFolder(tmp_path / "data")
    view = open_view(split, folder)
    assert view.labels.tolist() == [0, 1, 0, 1, 0]
    assert groups_of(folder, split).tolist() == list("xxyyz")
    np.testing.assert_array_equal(PlainReader(view.index).images(np.array([3]))[0], miniatures.pixels(3, 9, 8))
    with pytest.raises(DataError, match="5 of 5 images cannot be read(?s:.*)Leave the dataset's transform out"):
        write_dataset(Pairs(as_float=True), Split("pairs", "float"), store=tmp_path)
    for bad, message in ((iter([]), "has no length: expected a map-style torch dataset"), ([(1, 2)], "has no attribute classes")):
        with pytest.raises(DataError, match=message):
            torch_dataset(bad)
    with pytest.raises(DataError, match="the label 'cat' is no whole number"):
        torch_dataset([(miniatures.pixels(0), "cat")], classes=["cat"])
    with pytest.raises(DataError, match="5 items, 5 labels and 2 groups"):
        torch_dataset(Pairs(), groups=["x", "y"])


def test_several_splits_are_joined_without_touching_their_bytes(tmp_path, tree):
    folder = DataFolder(tmp_path)
    first, second = Split("imagenet-r", "test"), Split("own", "test")
    write_listing(folder, first, listing(tree, "imagenet-r", "test"), encoding=Encoding())
    some = listing(tree, "imagenet-r", "test")
    shuffled = [Example(e.source, 199 - e.label) for e in some.examples[:10]]
    backwards = type(some)(shuffled, some.classes[::-1], type(some.description)(some.description.class_ids[::-1]))
    write_listing(folder, second, backwards, encoding=Encoding("raw"))
    joined = join_splits(folder, Split("joined", "both"), [first, second])
    index, originals = beton.read_index(joined.beton), beton.read_index(folder.beton(first))
    assert joined.record.count == 210
    assert index.labels[200:].tolist() == [e.label for e in some.examples[:10]]
    assert PlainReader(index).stored(17) == PlainReader(originals).stored(17)
    assert groups_of(folder, Split("joined", "both"))[[0, 209]].tolist() == ["imagenet-r/test", "own/test"]
    write_listing(folder, Split("imagenet-a", "test"), listing(tree, "imagenet-a", "test"), encoding=Encoding())
    with pytest.raises(DataError, match="own/test has the class .* which is none of the first split's and covers none of them"):
        join_splits(folder, Split("joined", "x"), [Split("imagenet-a", "test"), second])
    # ObjectNet's classes cover ImageNet's: they get the label of the first that they cover.
    write_listing(folder, Split("objectnet", "test"), listing(tree, "objectnet", "test"), encoding=Encoding())
    write_listing(folder, Split("imagenet", "val"), listing(tree, "imagenet", "val"), encoding=Encoding())
    both = join_splits(folder, Split("joined", "shifts"), [Split("imagenet", "val"), Split("objectnet", "test")])
    assert beton.read_index(both.beton).labels[1000:].tolist() == [409, 409, 954, 954, 703, 703]
    assert both.record.subsets == ("imagenet/val", "objectnet/test")


def test_strange_images_are_kept_upright_and_in_colour_and_damaged_ones_can_be_skipped(tmp_path):
    source = tmp_path / "in"
    odd = {
        "10/grey.jpg": Image.fromarray(miniatures.pixels(0)[..., 0]),
        "2/palette.png": Image.fromarray(miniatures.pixels(1)).convert("P"),
        "2/cmyk.jpg": Image.fromarray(miniatures.pixels(2)).convert("CMYK"),
        "2/one wide.png": Image.fromarray(miniatures.pixels(3, 30, 1)),
        "2/größe 中.JPG": Image.fromarray(miniatures.pixels(4)),
        "2/copy.JPG": Image.fromarray(miniatures.pixels(4)),
    }
    for name, image in odd.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(source / name, "JPEG" if name.lower().endswith("jpg") else None)
    (source / "2/broken.jpg").write_bytes((source / "2/copy.JPG").read_bytes()[:100])
    (source / "2/words.png").write_text("no picture")
    (source / "2/.hidden.png").write_text("no picture")
    found = image_folder(source)
    assert found.classes == ("2", "10")
    place = Split("odd", "all")
    with pytest.raises(
        DataError, match="2 of 8 images cannot be read, nothing was written:(?s:.*)go on without them: --skip-damaged"
    ):
        write_listing(DataFolder(tmp_path), place, found, encoding=Encoding())
    sidecar = write_listing(DataFolder(tmp_path), place, found, encoding=Encoding(), skip_damaged=True)
    assert sidecar.record.count == 6
    assert [line.split(":")[0] for line in sidecar.skipped] == ["2/broken.jpg", "2/words.png"]
    images = PlainReader(beton.read_index(sidecar.beton)).images(np.arange(6))
    kept = [e for e in found.examples if e.path not in ("2/broken.jpg", "2/words.png")]
    for image, example in zip(images, kept, strict=True):
        np.testing.assert_array_equal(image, decoded(example.source))
    assert (30, 1, 3) in [image.shape for image in images]
    only_broken = type(found)([e for e in found.examples if e.path == "2/words.png"], found.classes)
    with pytest.raises(DataError, match="1 of 1 images cannot be read"):
        write_listing(DataFolder(tmp_path), Split("odd", "none"), only_broken, encoding=Encoding(), skip_damaged=True)


def test_the_documentation_has_a_line_for_every_data_set():
    text = (Path(__file__).parent.parent / "docs/data.md").read_text()
    for family in KNOWN.values():
        named = "" if family.usual_splits else "--split gaussian_noise-3 "
        line = (
            f"| **{family.name}**: {family.title} | {', '.join(family.splits)} | {family.classes} | {family.groups or '-'} | "
            f"`{(family.folders or (family.name,))[0]}`: {family.layout} | {family.licence}; {family.source} | "
            f"`shiftline data write {family.name} {named}--root DIR` |"
        )
        assert line in text
