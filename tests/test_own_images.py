"""Images of one's own: tables of labels, tars and Hugging Face folders are listed alike, and splits are cut off by class and group."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet

from shiftline.data.examples import Example
from shiftline.data.family import Listing
from shiftline.datasets.class_names import labels_in_classes
from shiftline.datasets.labelled_tables import labelled_table
from shiftline.datasets.split_off import split_off
from shiftline.datasets.webdataset import shards, webdataset
from shiftline.errors import DataError
from test_cli import error, ok

CLASSES = ("cat", "dog", "owl")


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The same 24 images in a folder of classes, a table, tars, and Hugging Face's Arrow and Parquet."""
    root = tmp_path_factory.mktemp("own")
    rng = np.random.default_rng(0)
    rows = []
    for label, name in enumerate(CLASSES):
        for number in range(8):
            file = f"{name}/{number}.{'png' if number % 2 else 'jpg'}"
            (root / "images" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(root / "images" / file)
            rows.append((file, label, f"site {number // 4}"))
    with (root / "labels.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["file", "label", "site", "split"])
        table.writerows([file, CLASSES[label], site, "train" if site == "site 0" else "test"] for file, label, site in rows)
    for number in range(2):
        with tarfile.open(root / f"shard-{number:03d}.tar", "w") as archive:
            for row, (file, label, _) in enumerate(rows[12 * number : 12 * number + 12]):
                key = f"{12 * number + row:04d}"
                members = {
                    f"{key}{Path(file).suffix}": (root / "images" / file).read_bytes(),
                    f"{key}.cls": str(label).encode(),
                    f"{key}.json": json.dumps({"name": CLASSES[label]}).encode(),
                }
                for name, data in members.items():
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
    features = {"image": {"_type": "Image"}, "label": {"names": list(CLASSES), "_type": "ClassLabel"}}
    arrow = pa.table(
        {
            "image": pa.array([{"bytes": (root / "images" / file).read_bytes(), "path": file} for file, _, _ in rows]),
            "label": pa.array([label for _, label, _ in rows], pa.int64()),
            "site": pa.array([site for _, _, site in rows]),
        }
    ).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    saved = root / "saved"
    saved.mkdir()
    with pa.OSFile(str(saved / "data-00000-of-00001.arrow"), "wb") as sink, pa.ipc.new_stream(sink, arrow.schema) as writer:
        writer.write_table(arrow, max_chunksize=5)
    (saved / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
    (root / "hub" / "data").mkdir(parents=True)
    parquet.write_table(arrow, root / "hub" / "data" / "test-00000-of-00001.parquet", row_group_size=7)
    (root / "names.txt").write_text("\n".join(CLASSES) + "\n")
    return root


ROUTES = {
    "folder": ["--images", "images", "--split", "test"],
    "table": ["--labels", "labels.csv", "--images", "images", "--split", "test"],
    "tars": ["--wds", "shard-{000..001}.tar", "--split", "test", "--classes", "names.txt"],
    "tars by name": ["--wds", "shard-*.tar", "--split", "test", "--label-column", "json.name"],
    "arrow": ["--hf", "saved", "--split", "test"],
    "parquet": ["--hf", "hub"],
}


@pytest.mark.parametrize("route", ROUTES)
def test_every_source_gives_the_same_split(sources, tmp_path, route):
    store = tmp_path / "st"
    said = ok("data", "write", "own", *ROUTES[route], "--store", store, cwd=sources)
    assert 'In a study: sl.Split("own", "test")' in said
    record = json.loads((store / "data/own/test.json").read_text())
    assert record["classes"] == list(CLASSES)
    assert record["class_counts"] == [8, 8, 8]
    reference = ok("data", "write", "own", *ROUTES["folder"], "--store", tmp_path / "other", cwd=sources)
    assert record["fingerprint"] == json.loads((tmp_path / "other/data/own/test.json").read_text())["fingerprint"]
    assert re.findall("fingerprint (.*)", said) == re.findall("fingerprint (.*)", reference)
    assert "written already" in ok("data", "write", "own", *ROUTES[route], "--store", store, cwd=sources)


@pytest.mark.parametrize("route", ["tars", "arrow"])
def test_an_archive_that_changed_is_said(sources, tmp_path, route):
    (file,) = (f for f in sources.glob("shard-000.tar" if route == "tars" else "saved/*.arrow"))
    before = file.read_bytes()
    ok("data", "write", "own", *ROUTES[route], "--store", tmp_path / "st", cwd=sources)
    image = (sources / "images/cat/1.png").read_bytes()
    try:
        # A bit of a checksum that no decoder looks at.
        file.write_bytes(before.replace(image, image[:-1] + bytes([image[-1] ^ 1])))
        os.utime(file, ns=(1, 1))
        said = error("data", "write", "own", *ROUTES[route], "--store", tmp_path / "st", cwd=sources)
    finally:
        file.write_bytes(before)
    assert "1 image with other bytes" in said


def test_splits_of_a_column_groups_and_pieces(sources, tmp_path):
    table = ["--labels", "labels.csv", "--images", "images"]
    said = ok("data", "write", "a", *table, "--split-column", "split", "--group-column", "site", "--store", tmp_path, cwd=sources)
    assert 'In a study: sl.Split("a", "train"), sl.Split("a", "test")' in said
    assert json.loads((tmp_path / "data/a/train.json").read_text())["grouped"]
    ok("data", "write", "b", *table, "--split-off", "val=0.25,test=0.25", "--store", tmp_path, cwd=sources)
    counts = {
        split: json.loads((tmp_path / f"data/b/{split}.json").read_text())["class_counts"] for split in ("train", "val", "test")
    }
    assert counts == {"train": [4, 4, 4], "val": [2, 2, 2], "test": [2, 2, 2]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--labels", "labels.csv", "--split", "t"],
            "24 of the 24 files that labels.csv names are not there; .* Say --images FOLDER",
        ),
        (["--labels", "labels.csv", "--label-column", "lable"], "becomes one split: name it"),
        (["--labels", "labels.csv", "--label-column", "lable", "--split", "t"], "no column 'lable': did you mean label?"),
        (["--labels", "none.csv", "--split", "t"], "there is no table none.csv"),
        (["--wds", "shard-{000..003}.tar", "--split", "t"], "there is no file shard-002.tar"),
        (["--wds", "labels.csv", "--split", "t"], "labels.csv is no tar file, or compressed"),
        (["--wds", "shard-000.tar", "--split", "t", "--label-column", "txt"], "the sample 0000 has no .txt"),
        (["--wds", "shard-000.tar", "--split", "t", "--image-column", "gif"], "has no images that end in .gif"),
        (["--hf", "images"], "images is no data set of Hugging Face's datasets on disk"),
        (["--hf", "saved", "--split", "t", "--group-column", "sites"], "has no column 'sites': did you mean site?"),
        (["--hf", "hub", "--split", "train"], "--hf has no split 'train': it has test"),
        (["--hf", "hub", "--split-off", "val=0.1"], "--split-off is for images without splits: --hf has test"),
        (["--labels", "labels.csv", "--hf", "saved"], "in one way: --labels or --hf"),
        (["--images", "images", "--label-column", "y"], "--label-column is for --labels and --hf and --wds, not for --images"),
        (["--images", "images", "--split-off", "val=1.5"], "expected NAME=SHARE with shares between 0 and 1"),
        (["--images", "images", "--split-off", "val=0.5,test=0.5"], "sum to less than 1"),
        (["--images", "images", "--split-off", "train=0.5"], "train is what remains"),
        (["--domains", "images", "--split-off", "val=0.5"], "--split-off is for your own images without splits"),
        (["--images", "images", "--split", "t", "--classes", "names.txt"], "--classes is for --labels and --hf and --wds"),
    ],
)
def test_what_is_wrong_is_one_message_and_nothing_is_written(sources, tmp_path, arguments, message):
    said = error("data", "write", "own", *arguments, "--store", tmp_path / "st", cwd=sources)
    assert re.search(message, " ".join(said.split()))
    assert not (tmp_path / "st").exists()


def test_a_network_is_compared_with_its_library_on_ones_own_images(sources, tmp_path):
    ok("data", "write", "own", *ROUTES["folder"], "--store", tmp_path, cwd=sources)
    parity = ["data", "parity", "own/test", "--store", tmp_path, "--count", "4", "--model"]
    assert "say where the files are, --images FOLDER" in error(*parity, "timm:resnet18", cwd=sources)
    for wrong in ("timm:resnet18::", "timm:", "resnet18", "timm:a:b:c"):
        assert f"'{wrong}' names no model" in error(*parity, wrong, cwd=sources)
    assert "own/test, 4 images" in ok(*parity, "timm:resnet18", "--images", "images", cwd=sources)
    assert "digits/val, 4 images" in ok(
        *(str(word).replace("own/test", "digits/val") for word in parity), "timm:resnet18", cwd=sources
    )


# ---- property tests --------------------------------------------------------------------------------------------------

words = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zs", "Zl", "Zp")), min_size=1, max_size=6)


@given(values=st.lists(words, min_size=1, max_size=20))
@settings(deadline=None)
def test_labels_of_a_table_survive_as_text(tmp_path_factory, values):
    folder = tmp_path_factory.mktemp("table")
    with (folder / "t.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(
            [["file", "label", "site"], *([f"{row}.png", value, value] for row, value in enumerate(values))]
        )
    for row in range(len(values)):
        (folder / f"{row}.png").touch()
    listing = labelled_table(folder / "t.csv", path_column="file", label_column="label", group_column="site")[""]
    assert [listing.classes[example.label] for example in listing.examples] == values
    assert [example.group for example in listing.examples] == values


def test_labels_are_names_or_positions_of_stated_classes():
    assert labels_in_classes(["dog", "cat"], CLASSES, where="x") == ([1, 0], CLASSES)
    assert labels_in_classes(["2", "0"], CLASSES, where="x") == ([2, 0], CLASSES)
    assert labels_in_classes(["10", "9"], None, where="x") == ([1, 0], ("9", "10"))
    with pytest.raises(DataError, match="x has 'dgo', which is none of the 3 classes: did you mean dog?"):
        labels_in_classes(["dgo", "cat"], CLASSES, where="x")
    with pytest.raises(DataError, match="x is blank in 1 row, the first is row 2"):
        labels_in_classes(["a", ""], None, where="x")


@given(
    labels=st.lists(st.integers(0, 3), min_size=30, max_size=80),
    shares=st.lists(st.floats(0.1, 0.3), min_size=1, max_size=3),
    seed=st.integers(0, 5),
)
@settings(deadline=None)
def test_what_is_split_off_is_disjoint_whole_and_by_class(labels, shares, seed):
    examples = [Example(b"", label, path=f"{row}.png") for row, label in enumerate(labels)]
    listing = Listing(examples, tuple("abcd"))
    wanted = {f"part {number}": share for number, share in enumerate(shares)}
    found = split_off(listing, wanted, seed=seed)
    assert sorted((e for part in found.values() for e in part.examples), key=examples.index) == examples
    for name, share in wanted.items():
        counts = np.bincount([e.label for e in found[name].examples], minlength=4)
        assert np.abs(counts - share * np.bincount(labels, minlength=4)).max() <= 1
    assert len({part.description.listing for part in found.values()}) == 1


@given(labels=st.lists(st.integers(0, 2), min_size=60, max_size=120), groups=st.integers(12, 30), seed=st.integers(0, 5))
@settings(deadline=None)
def test_groups_stay_together(labels, groups, seed):
    examples = [Example(b"", label, group=f"g{row % groups}", path=f"{row}.png") for row, label in enumerate(labels)]
    found = split_off(Listing(examples, tuple("abc")), {"test": 0.3}, seed=seed)
    train, test = ({e.group for e in found[name].examples} for name in ("train", "test"))
    assert not train & test
    assert abs(len(found["test"].examples) / len(examples) - 0.3) < 0.1


def test_a_pattern_names_files(tmp_path):
    for name in ("a-09.tar", "a-10.tar", "a-11.tar", "b.tar"):
        (tmp_path / name).touch()
    assert [p.name for p in shards(f"{tmp_path}/a-{{09..11}}.tar")] == ["a-09.tar", "a-10.tar", "a-11.tar"]
    assert [p.name for p in shards(f"{tmp_path}/{{b,a-10}}.tar")] == ["b.tar", "a-10.tar"]
    assert len(shards(f"{tmp_path}/*.tar")) == 4
    with pytest.raises(DataError, match=r"there is no file .*c\*"):
        shards(f"{tmp_path}/c*")


@given(data=st.data())
@settings(deadline=None, max_examples=30)
def test_a_cut_tar_is_refused_wherever_it_is_cut(sources, tmp_path_factory, data):
    whole = (sources / "shard-000.tar").read_bytes()
    # Python pads archives with more blocks of zeros than the two that end one.
    end = len(whole.rstrip(b"\0")) // 512 * 512 + 512
    cut = tmp_path_factory.mktemp("cut") / "cut.tar"
    cut.write_bytes(whole[: data.draw(st.integers(0, end + 511))])
    with pytest.raises(DataError, match=r"is no tar file|is cut off|has no images"):
        webdataset(str(cut))
    cut.write_bytes(whole[: end + 1024])
    assert len(webdataset(str(cut)).examples) == 12
