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
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet

from shiftline.data.examples import Example
from shiftline.data.family import Listing
from shiftline.datasets.class_names import alike, labels_in_classes
from shiftline.datasets.hugging_face import hugging_face
from shiftline.datasets.labelled_tables import labelled_table
from shiftline.datasets.split_off import split_off
from shiftline.datasets.webdataset import shards, webdataset
from shiftline.errors import DataError
from test_cli import called, error, ok

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
            "24 of the 24 files that labels.csv names are not there; .* Paths begin in the folder that --images names",
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
        (["--hf", "hub", "--split", "train"], "hub has no split 'train': it has test"),
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


def written_table(folder, text, name="t.csv"):
    (folder / name).write_text(text, encoding="utf-8")
    return labelled_table(folder / name, path_column="file", label_column="label")[""]


def test_a_quote_that_is_not_closed_takes_no_rows_with_it(tmp_path):
    for row in range(1, 5):
        (tmp_path / f"{row}.png").touch()
    with pytest.raises(DataError, match="has a quote that is not closed"):
        written_table(tmp_path, 'file,label,note\n1.png,a,ok\n2.png,b,"unfinished\n3.png,a,ok\n4.png,b,ok\n')
    assert len(written_table(tmp_path, "file,label\r1.png,a\r2.png,b\r").examples) == 2
    assert len(written_table(tmp_path, "\n\nfile\tlabel\n1.png\ta\n", "t.tsv").examples) == 1


def test_one_image_under_two_names_is_one_image(tmp_path):
    (tmp_path / "1.png").touch()
    (tmp_path / "link.png").symlink_to("1.png")
    for other in ("./1.png", str(tmp_path / "1.png"), "link.png"):
        with pytest.raises(DataError, match="in the rows 1 and 2"):
            written_table(tmp_path, f"file,label\n1.png,a\n{other},a\n")


def test_labels_that_may_mean_two_things_are_refused_or_said(tmp_path):
    with pytest.raises(DataError, match="are they names or positions"):
        labels_in_classes(["0", "1", "2"], ("2", "0", "1"), where="x")
    with pytest.raises(DataError, match="x is -1 in 1 row, which stands for no label"):
        labels_in_classes(["-1", "0"], None, where="x")
    with pytest.raises(DataError, match="x has '7', which is none of the 3 classes"):
        labels_in_classes(["1", "7"], ("cat", "dog", "owl"), where="x")
    assert alike(("01", "1", "Cat", "cat", "dog")) == (
        "the classes '01' and '1' are apart: is it one class?",
        "the classes 'Cat' and 'cat' are apart: is it one class?",
    )
    frame = pd.DataFrame({"file": ["1.png", "2.png"], "label": [0.0, 10.0]})
    for row in (1, 2):
        (tmp_path / f"{row}.png").touch()
    frame.set_index("file").to_parquet(tmp_path / "t.parquet")
    assert labelled_table(tmp_path / "t.parquet", path_column="file", label_column="label")[""].classes == ("0", "10")


def tar(path, members):
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return str(path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.png", "a.cls", "a.png", "a.cls"], "the sample a has the member .png twice"),
        (["a.png", "a.PNG", "a.cls"], "the sample a has the member .png twice"),
        (["a.png", "a.cls", "b.png", "b.cls", "a.png", "a.cls"], "the sample a stands in two places"),
        (["a.png"], "the sample a has no .cls"),
    ],
)
def test_samples_that_hide_each_other_are_refused(tmp_path, names, message):
    with pytest.raises(DataError, match=message):
        webdataset(tar(tmp_path / "t.tar", [(name, b"0") for name in names]))


def test_what_a_tar_holds_besides_is_refused_or_said(tmp_path):
    one, two = (tar(tmp_path / f"{n}.tar", [(f"{n}.png", b"0"), (f"{n}.cls", b"\xef\xbb\xbf0")]) for n in "ab")
    assert webdataset(one).classes == ("0",)
    (tmp_path / "both.tar").write_bytes(Path(one).read_bytes() + Path(two).read_bytes())
    with pytest.raises(DataError, match="goes on behind the end of its archive"):
        webdataset(str(tmp_path / "both.tar"))
    with pytest.raises(DataError, match="several times"):
        webdataset(f"{tmp_path}/{{a,a}}.tar")
    hidden = tar(tmp_path / "h.tar", [("x.png", b"0"), ("x.cls", b"0"), (".x/y.png", b"0"), (".x/y.cls", b"0")])
    assert webdataset(hidden).notes == ("2 members hidden or of a system left out",)
    with pytest.raises(DataError, match="a.json has no 'sit': it has site"):
        webdataset(tar(tmp_path / "j.tar", [("a.png", b"0"), ("a.cls", b"0"), ("a.json", b'{"site": 1}')]), group="json.sit")


def hub(folder, name, labels, names=None, **columns):
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table({"image": [{"bytes": b"x", "path": None}] * len(labels), "label": labels, **columns})
    if names:
        features = {"label": {"_type": "ClassLabel", "names": names}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    parquet.write_table(table, folder / name)


def test_class_labels_are_positions_whatever_their_names(tmp_path):
    names = sorted(map(str, range(12)))
    hub(tmp_path, "test.parquet", list(range(12)), names)
    listing = hugging_face(tmp_path)["test"]
    assert listing.classes == tuple(names)
    assert [example.label for example in listing.examples] == list(range(12))


def test_splits_of_a_hub_have_one_list_of_classes_and_only_wanted_ones_are_read(tmp_path):
    hub(tmp_path, "train.parquet", [0, 1, 2], site=["x", None, "y"])
    hub(tmp_path, "test.parquet", [0, 2, 0], site=["x", "x", "x"])
    found = hugging_face(tmp_path, group="site")
    assert [example.label for example in found["test"].examples] == [0, 2, 0]
    assert found["test"].notes == ("without 1 class: 1",)
    assert [example.group for example in found["train"].examples] == ["x", "", "y"]
    hub(tmp_path, "hidden.parquet", [-1, -1, -1], site=["x"] * 3)
    assert set(hugging_face(tmp_path, wanted=["train"])) == {"train"}
    with pytest.raises(DataError, match="has the label -1"):
        hugging_face(tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"train-00000-of-00002.parquet": None}, "has 1 file of train, and their names say 2"),
        ({"train.parquet": None, "data/train-00000-of-00001.parquet": None}, "both have parquet files"),
        (
            {"train-00000-of-00002.parquet": ["a", "b"], "train-00001-of-00002.parquet": ["b", "a"]},
            "have different lists of classes",
        ),
    ],
)
def test_a_hub_copy_that_is_not_whole_is_refused(tmp_path, files, message):
    for name, names in files.items():
        path = tmp_path / name
        hub(path.parent, path.name, [0, 1], names)
    with pytest.raises(DataError, match=message):
        hugging_face(tmp_path)
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(DataError, match="state.json is damaged"):
        hugging_face(tmp_path)


def test_what_is_written_already_is_compared_with_classes_and_mended_images(sources, tmp_path):
    command = ["data", "write", "own", *ROUTES["tars"], "--store", tmp_path]
    ok(*command, cwd=sources)
    (tmp_path / "other.txt").write_text("dog\ncat\nowl\n")
    said = error(*(str(word).replace("names.txt", str(tmp_path / "other.txt")) for word in command), cwd=sources)
    assert "other names of classes, or another order of them" in said
    images = tmp_path / "in"
    for name in ("a/1.png", "a/2.png", "b/1.png"):
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), name[0] + "qua" if name[0] == "a" else "black").save(images / name)
    good = (images / "a/2.png").read_bytes()
    (images / "a/2.png").write_bytes(good[:20])
    command = ["data", "write", "mended", "--images", images, "--split", "test", "--store", tmp_path, "--skip-damaged"]
    ok(*command)
    assert "without 1 image that could not be read" in ok(*command)
    (images / "a/2.png").write_bytes(good)
    assert "1 image that could not be read can be read now (a/2.png)" in error(*command)


def test_a_damaged_sibling_does_not_keep_a_split_from_being_written(sources, tmp_path):
    command = ["data", "write", "own", *ROUTES["folder"][:2], "--split-off", "val=0.25", "--store", tmp_path]
    ok(*command, cwd=sources)
    (tmp_path / "data/own/val.beton").unlink()
    assert "--images or another source, --again" in called("data", "verify", "--store", tmp_path, cwd=sources).stdout
    assert "own/val: 6 images" in ok(*command, "--again", cwd=sources)
    found = called(*command[:-4], "--split-off", "train2=0.5", "--split", "rest", "--store", tmp_path, cwd=sources)
    assert "are in own/train too, byte for byte" in found.stderr


def test_a_join_writes_over_nothing_and_takes_nothing_twice(sources, tmp_path):
    ok("data", "write", "own", *ROUTES["folder"], "--store", tmp_path, cwd=sources)
    join = ["data", "join", "all/test", "own/test", "--store", tmp_path]
    ok(*join)
    assert "is written already" in error(*join)
    ok(*join, "--again")
    assert "own/test is named twice" in error("data", "join", "two/test", "own/test", "own/test", "--store", tmp_path)


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


def test_a_pattern_names_files(tmp_path, monkeypatch):
    for name in ("a-09.tar", "a-10.tar", "a-11.tar", "b.tar"):
        (tmp_path / name).touch()
    assert [p.name for p in shards(f"{tmp_path}/a-{{09..11}}.tar")] == ["a-09.tar", "a-10.tar", "a-11.tar"]
    assert [p.name for p in shards(f"{tmp_path}/{{b,a-10}}.tar")] == ["b.tar", "a-10.tar"]
    assert len(shards(f"{tmp_path}/*.tar")) == 4
    monkeypatch.setenv("HOME", str(tmp_path))
    assert shards("~/a-{09..10}.tar") == [tmp_path / "a-09.tar", tmp_path / "a-10.tar"]
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
