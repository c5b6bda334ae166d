"""Miniature trees in the published layouts of the known data sets: same folders, file names, index and metadata files.

Every builder writes below a root that may hold several data sets, and returns the folder that it made. Images are small and
random; image number k of a builder is the same on every machine.
"""

from __future__ import annotations

import gzip
import json
import pickle
import zipfile
from types import SimpleNamespace

import numpy as np
from PIL import Image
from scipy.io import savemat

from shiftline.data.views import View
from shiftline.datasets.imagenet import CORRUPTIONS, sub_synsets, synsets
from shiftline.datasets.published_names import class_names
from shiftline.datasets.superclasses import LAION_C, SIXTEEN


def pixels(seed, height=12, width=10):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path, seed=0, *, size=(12, 10), colour=None):
    """Save an image of noise, or with a label as its colour one that a small network can learn."""
    image = pixels(seed, *size)
    if colour is not None:
        base = np.array([colour // 100, colour // 10 % 10, colour % 10]) * 25 + 12
        image = np.clip(base + (image.astype(int) - 128) // 16, 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def text(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def dump(path, document):
    text(path, [json.dumps(document)])


def imagenet(root, *, train=2, val=1):
    base = root / "imagenet"
    for label, wnid in enumerate(synsets()):
        for number in range(train):
            save(base / "train" / wnid / f"{wnid}_{number}.JPEG", 2 * label + number, colour=label)
        for number in range(val):
            save(base / "val" / wnid / f"ILSVRC2012_val_{label:05d}{number:03d}.JPEG", 5000 + label, colour=label)
    return base


def imagenet_v2(root, variants=("matched-frequency", "threshold0.7", "top-images")):
    for row, variant in enumerate(variants):
        for label in range(1000):
            save(root / f"imagenetv2-{variant}-format-val" / str(label) / "a0.jpeg", 7000 + label + row, size=(9, 9), colour=label)
    return root


def synset_folders(root, folder, wnids, suffix=".jpg"):
    for label, wnid in enumerate(wnids):
        colour = synsets().index(wnid)
        save(root / folder / wnid / f"art_{label}{suffix}", 9000 + label, size=(9, 11), colour=colour)
    return root / folder


def imagenet_sketch(root):
    return synset_folders(root, "sketch", synsets(), ".JPEG")


def imagenet_r(root):
    return synset_folders(root, "imagenet-r", sub_synsets("r"))


def imagenet_a(root):
    return synset_folders(root, "imagenet-a", sub_synsets("a"))


def imagenet_c(root):
    for label, wnid in enumerate(synsets()):
        save(root / "imagenet-c/noise/gaussian_noise/3" / wnid / "val.JPEG", label, size=(8, 8))
    return root / "imagenet-c"


def objectnet(root):
    """Four classes, one of which covers two of ImageNet's, and one that ImageNet lacks."""
    base = root / "objectnet-1.0"
    folders = {"alarm_clock": "Alarm clock", "banana": "Banana", "bench": "Bench", "zzz_air_freshener": "Air freshener"}
    covered = {"Alarm clock": "analog clock; digital clock", "Banana": "banana", "Bench": "park bench"}
    names = [f"word {number}" for number in range(1000)]
    # ILSVRC 2012 ids are another order than the labels.
    place = {str(label): (label + 355) % 1000 for label in range(1000)}
    for label, name in ((409, "analog clock"), (530, "digital clock"), (954, "banana"), (703, "park bench")):
        names[place[str(label)]] = name
    dump(base / "mappings/folder_to_objectnet_label.json", folders)
    dump(base / "mappings/objectnet_to_imagenet_1k.json", covered)
    dump(base / "mappings/pytorch_to_imagenet_2012_id.json", place)
    text(base / "mappings/imagenet_to_label_2012_v2", names)
    for row, folder in enumerate(folders):
        for number in range(2):
            image = pixels(10 * row + number, 16, 14)
            image[:2], image[-2:], image[:, :2], image[:, -2:] = [[(255, 0, 0)]] * 4
            path = base / "images" / folder / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    return base


def imagenet_vid_robust(root):
    base = root / "imagenet-vid-robust"
    vid = [["n02084071", "dog"], ["n02924116", "bus"]]
    covered = {"n02084071": list(synsets()[151:155]), "n02924116": [synsets()[779], synsets()[874]]}
    frames = {f"val/v{v}/{n:06d}.JPEG": [v] if (v, n) != (0, 2) else [0, 1] for v in range(2) for n in range(4)}
    for row, frame in enumerate(frames):
        save(base / frame, row)
    dump(base / "metadata/labels.json", frames)
    dump(
        base / "metadata/pmsets.json",
        {"val/v0/000001.JPEG": ["val/v0/000000.JPEG", "val/v0/000002.JPEG"], "val/v1/000002.JPEG": ["val/v1/000003.JPEG"]},
    )
    dump(base / "misc/rev_wnid_map.json", covered)
    dump(base / "misc/imagenet_vid_class_index.json", {str(row): pair for row, pair in enumerate(vid)})
    return base


def ytbb_robust(root):
    base = root / "ytbb-robust"
    anchors = {"aa_100": (1, ["good", "cat"]), "bb_200": (2, ["good"]), "cc_300": (1, ["good", "bad"]), "dd_400": (0, ["good"])}
    words = ["good", "bad", "unsure", "cat"]
    rows = [{"key": f"x/{k}/frame-30.jpg", "notes": "", "labels": [words.index(w) for w in ws]} for k, (_, ws) in anchors.items()]
    dump(base / "metadata/anchor_labels.json", {"annotations": rows, "labels": words})
    pairs = [
        ("aa_100", 29, ["similar"]),
        ("aa_100", 31, ["similar", "correct"]),
        ("aa_100", 32, ["similar", "dissimilar"]),
        ("bb_200", 28, ["dissimilar"]),
        ("dd_400", 29, ["similar", "bad-anchor"]),
    ]
    judged = ["similar", "correct", "dissimilar", "bad-anchor", "problematic", "incorrect", "dont know", "deformation"]
    judged += ["background-change", "occlusion-increased", "blur-increase"]
    rows = [
        {"key": f"x/{a}/frame-30.jpg,x/{a}/frame-{n}.jpg", "notes": "", "labels": [judged.index(w) for w in ws]}
        for a, n, ws in pairs
    ]
    dump(base / "metadata/pmk_labels.json", {"annotations": rows, "labels": judged})
    dump(base / "metadata/ytbb_class_index.json", {"0": "person", "1": "bird", "2": "knife", "3": "cat"})
    dump(base / "metadata/rev_class_idx_map.json", {"0": [981, 982], "1": [7, 8, 9], "3": [281, 282]})
    lines = ["ytid,time_ms,label", *(f"{k.split('_')[0]},{k.split('_')[1]},{label}" for k, (label, _) in anchors.items())]
    text(base / "metadata/ytbb_robustness_test_anchors_full.csv", lines)
    for row, anchor in enumerate(anchors):
        for number in range(28, 33):
            save(base / "ytbb_videos" / anchor / f"frame-{number}.jpg", 40 * row + number)
    return base


def _pickled(path, document):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(document, protocol=2))


def flat_images(count, seed):
    return np.random.default_rng(seed).integers(0, 256, (count, 3072), dtype=np.uint8)


def cifar10(root, *, each=8):
    base = root / "cifar-10-batches-py"
    for number in range(1, 6):
        labels = [(row + number) % 10 for row in range(each)]
        _pickled(base / f"data_batch_{number}", {"data": flat_images(each, number), "labels": labels})
    _pickled(base / "test_batch", {"data": flat_images(20, 9), "labels": list(range(10)) * 2})
    _pickled(base / "batches.meta", {"label_names": ["airplane"]})
    return base


def cifar100(root):
    base = root / "cifar-100-python"
    names = [f"class_{number}" for number in range(100)]
    _pickled(base / "train", {"data": flat_images(200, 1), "fine_labels": list(range(100)) * 2, "coarse_labels": [0] * 200})
    _pickled(base / "test", {"data": flat_images(100, 2), "fine_labels": list(range(100)), "coarse_labels": [0] * 100})
    _pickled(base / "meta", {"fine_label_names": names, "coarse_label_names": ["x"]})
    return base


def _saved(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array, allow_pickle=True)


def square_images(count, seed, side=32):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def cifar10_1(root):
    for version, count in (("v4", 11), ("v6", 10)):
        _saved(root / "CIFAR-10.1" / f"cifar10.1_{version}_data.npy", square_images(count, count))
        _saved(root / "CIFAR-10.1" / f"cifar10.1_{version}_labels.npy", np.arange(count, dtype=np.int32) % 10)
    return root / "CIFAR-10.1"


def cifar10_2(root):
    for split, count in (("train", 20), ("test", 10)):
        document = {"images": square_images(count, count), "labels": np.arange(count) % 10, "image_files": ["x"] * count}
        _saved(root / "CIFAR-10.2" / f"cifar102_{split}.npy", np.array(document, dtype=object))
    return root / "CIFAR-10.2"


def cifar10_c(root):
    for row, corruption in enumerate(CORRUPTIONS[:2]):
        _saved(root / "CIFAR-10-C" / f"{corruption}.npy", square_images(50, row))
    _saved(root / "CIFAR-10-C" / "labels.npy", np.tile(np.arange(10, dtype=np.uint8), 5))
    return root / "CIFAR-10-C"


def cars(root):
    base = root / "stanford_cars"

    def annotations(path, names, labels):
        path.parent.mkdir(parents=True, exist_ok=True)
        kinds = [("bbox_x1", "O"), ("class", "O"), ("fname", "O")]
        rows = np.array([(1, label, name) for name, label in zip(names, labels, strict=True)], dtype=kinds)
        savemat(path, {"annotations": rows})

    names = np.array(["AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Ford GT Coupe 2006"], dtype=object)
    (base / "devkit").mkdir(parents=True)
    savemat(base / "devkit/cars_meta.mat", {"class_names": names})
    for split, path, count in (
        ("train", base / "devkit/cars_train_annos.mat", 20),
        ("test", base / "cars_test_annos_withlabels.mat", 6),
    ):
        files = [f"{number:05d}.jpg" for number in range(1, count + 1)]
        annotations(path, files, [1 + number % 3 for number in range(count)])
        for number, file in enumerate(files):
            save(base / f"cars_{split}" / file, number + 100 * (split == "test"))
    return base


def dtd(root):
    base = root / "dtd"
    for number, (split, classes) in enumerate((("train", "abc"), ("val", "abc"), ("test", "abc"))):
        names = [f"dots_{c}/dots_{c}_{number:04d}.jpg" for c in classes]
        text(base / f"labels/{split}1.txt", names)
        for row, name in enumerate(names):
            save(base / "images" / name, 10 * number + row)
    return base


def eurosat(root, *, published=True):
    base = root / "eurosat"
    for row, name in enumerate(class_names("eurosat")):
        for number in range(10):
            split = "train" if number < 8 else "val" if number < 9 else "test"
            folder = base / "2750" if published else base / "EuroSAT_splits" / split
            save(folder / name / f"{name}_{number}.jpg", 10 * row + number, size=(8, 8))
    return base


def gtsrb(root):
    base = root / "gtsrb"
    for label in range(43):
        save(base / f"GTSRB/Training/{label:05d}/00000_00000.ppm", label, size=(9, 8))
    text(
        base / "GT-final_test.csv",
        ["Filename;Width;Height;Roi.X1;ClassId", *(f"{n:05d}.ppm;8;9;1;{(7 * n) % 43}" for n in range(43))],
    )
    for number in range(43):
        save(base / f"GTSRB/Final_Test/Images/{number:05d}.ppm", 100 + number, size=(9, 8))
    return base


KITTI_LINES = (
    "Car 0.00 0 -1.58 587.01 173.33 614.12 200.12 1.65 1.67 3.64 -0.65 1.71 {z} -1.59",
    "Pedestrian 0.00 0 -1.58 587.01 173.33 614.12 200.12 1.65 1.67 3.64 -0.65 1.71 2.00 -1.59",
)


def kitti(root):
    """Twelve videos of three images; distances from near to none."""
    base = root / "kitti"
    base.mkdir(parents=True)
    order = np.random.default_rng(0).permutation(36) + 1
    lines = [f"2011_09_26 2011_09_26_drive_{line // 3:04d}_sync {line:010d}" for line in range(36)]
    with zipfile.ZipFile(base / "devkit_object.zip", "w") as archive:
        archive.writestr("mapping/train_rand.txt", ",".join(map(str, order)))
        archive.writestr("mapping/train_mapping.txt", "\n".join(lines) + "\n")
    for image in range(36):
        save(base / f"training/image_2/{image:06d}.png", image, size=(6, 18))
        distance = (5.0, 15.0, 40.0, None)[image % 4]
        rows = [KITTI_LINES[1]] + ([KITTI_LINES[0].format(z=distance)] if distance is not None else [])
        text(base / f"training/label_2/{image:06d}.txt", rows)
    return base


def resisc45(root):
    base = root / "resisc45"
    for number, split in enumerate(("train", "val", "test")):
        names = [f"{c}_{number:03d}.jpg" for c in ("airplane", "sea_ice", "mobile_home_park")]
        text(base / f"resisc45-{split}.txt", names)
        for row, name in enumerate(names):
            save(base / "NWPU-RESISC45" / name.rsplit("_", 1)[0] / name, 10 * number + row)
    return base


def sun397(root):
    base = root / "SUN397"
    folders = ["/a/abbey", "/c/church/indoor", "/c/church/outdoor"]
    text(base / "ClassName.txt", folders)
    for file, count in (("Training_01.txt", 12), ("Testing_01.txt", 6)):
        names = [f"{folders[n % 3]}/sun_{file[:2]}{n}.jpg" for n in range(count)]
        text(base / file, names)
        for row, name in enumerate(names):
            save(base / name.lstrip("/"), row + 100 * (file == "Testing_01.txt"))
    return base


def food101(root):
    base = root / "food-101"
    text(base / "meta/classes.txt", ["apple_pie", "sushi"])
    for split, count in (("train", 20), ("test", 4)):
        entries = [f"{('apple_pie', 'sushi')[n % 2]}/{split}{n}" for n in range(count)]
        text(base / f"meta/{split}.txt", entries)
        for row, entry in enumerate(entries):
            save(base / f"images/{entry}.jpg", row + 100 * (split == "test"))
    return base


def mtsd(root):
    base = root / "mtsd"
    for number, split in enumerate(("train", "val")):
        names = [f"{split}_{n}" for n in range(3)]
        text(base / f"splits/{split}.txt", names)
        for row, name in enumerate(names):
            save(base / f"images/{name}.jpg", 10 * number + row, size=(40, 60))
            signs = [
                {"key": "k1", "label": "regulatory--stop--g1", "bbox": {"xmin": 1.2, "ymin": 2, "xmax": 20.6, "ymax": 30}},
                {"key": "k2", "label": "warning--deer--g2", "bbox": {"xmin": 30, "ymin": 5, "xmax": 44, "ymax": 15}},
                {"key": "k3", "label": "other-sign", "bbox": {"xmin": 0, "ymin": 0, "xmax": 5, "ymax": 5}},
            ]
            dump(base / f"annotations/{name}.json", {"ispano": row == 2, "objects": signs})
    return base


def idx(path, array, *, compressed=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    data = header + array.tobytes()
    if compressed:
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(data))
    else:
        path.write_bytes(data)


def mnist(root, folder="MNIST", *, compressed=False):
    for prefix, count in (("train", 60), ("t10k", 20)):
        images = np.random.default_rng(count).integers(0, 256, (count, 28, 28), dtype=np.uint8)
        idx(root / folder / "raw" / f"{prefix}-images-idx3-ubyte", images, compressed=compressed)
        idx(root / folder / "raw" / f"{prefix}-labels-idx1-ubyte", (np.arange(count) % 10).astype(np.uint8), compressed=compressed)
    return root / folder


def fashion_mnist(root):
    return mnist(root, "FashionMNIST", compressed=True)


def svhn(root):
    base = root / "svhn"
    base.mkdir(parents=True)
    for split, count in (("train", 40), ("test", 20)):
        labels = (np.arange(count) % 10 + 1).astype(np.uint8)[:, None]
        savemat(base / f"{split}_32x32.mat", {"X": square_images(count, count).transpose(1, 2, 3, 0), "y": labels})
    return base


def stl10(root):
    base = root / "stl10_binary"
    base.mkdir(parents=True)
    for split, count in (("train", 20), ("test", 10)):
        square_images(count, count, 96).transpose(0, 3, 2, 1).copy().tofile(base / f"{split}_X.bin")
        ((np.arange(count) % 10) + 1).astype(np.uint8).tofile(base / f"{split}_y.bin")
    text(base / "class_names.txt", ["airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"])
    return base


def typographic(root):
    base = root / "typographic"
    for row, (label, word) in enumerate((("dog", "cat"), ("cat", "dog"), ("coffee mug", "iPod"))):
        save(base / f"label={label}_text={word}.png", row)
    return base


def wilds(root, name):
    """A WILDS set as the package downloads it."""
    return globals()[f"wilds_{name}"](root / "wilds")


def _release(base, version):
    base.mkdir(parents=True, exist_ok=True)
    (base / f"RELEASE_v{version}.txt").write_text("")
    return base


def wilds_iwildcam(root):
    base = _release(root / "iwildcam_v2.0", "2.0")
    rows = ["split,filename,y,location_remapped,sequence_remapped,datetime,image_id"]
    found = []
    splits = ("train", "val", "test", "id_val", "id_test")
    for number in range(182 * 2):
        rows.append(f"{splits[number % 5]},{number}.jpg,{number % 182},{number % 7},{number},2013-06-05 05:44:19.000000,i{number}")
        found.append({"id": f"i{number}", "max_detection_conf": 0.99 if number % 3 else 0.2})
        save(base / "train" / f"{number}.jpg", number, size=(8, 9))
    text(base / "metadata.csv", rows)
    text(base / "categories.csv", ["y,category_id,name", *(f"{y},{y},c{y}" for y in range(182))])
    dump(base / "iwildcam2020_megadetector_results.json", {"images": found})
    return root


def wilds_fmow(root):
    from wilds.datasets.fmow_dataset import categories

    base = _release(root / "fmow_v1.1", "1.1")
    rows = ["split,category,country_code,timestamp"]
    countries = ("USA", "FRA", "KEN", "XXX")
    for number in range(124 * 3):
        split = ("train", "val", "test")[number % 3]
        year = (2005, 2014, 2017, 2006)[number % 4]
        rows.append(f"{split},{categories[number % 62]},{countries[(number // 2) % 4]},{year}-06-01T10:00:00Z")
        save(base / "images" / f"rgb_img_{number}.png", number, size=(8, 8))
    text(base / "rgb_metadata.csv", rows)
    text(base / "country_code_mapping.csv", ["alpha-3,region", "USA,Americas", "FRA,Europe", "KEN,Africa"])
    return root


def wilds_camelyon17(root):
    base = _release(root / "camelyon17_v1.0", "1.0")
    rows = [",patient,node,x_coord,y_coord,tumor,slide,center,split"]
    for number in range(40):
        center = number % 5
        patient = f"{number % 9:03d}"
        rows.append(
            f"{number},{patient},{number % 3},{number},{2 * number},{number // 5 % 2},{number % 10},{center},{number // 20}"
        )
        save(
            base
            / f"patches/patient_{patient}_node_{number % 3}"
            / f"patch_patient_{patient}_node_{number % 3}_x_{number}_y_{2 * number}.png",
            number,
            size=(8, 8),
        )
    text(base / "metadata.csv", rows)
    return root


def wilds_rxrx1(root):
    base = _release(root / "rxrx1_v1.0", "1.0")
    rows = ["site_id,well_id,cell_type,dataset,experiment,plate,well,site,well_type,sirna,sirna_id"]
    for number in range(60):
        dataset, site = ("train", "val", "test")[number % 3], 1 + (number // 3) % 2
        cell, plate, well = ("HEPG2", "HUVEC")[number % 2], 1 + number % 4, f"B{number % 9:02d}"
        experiment = f"{cell}-0{number % 3 + 1}"
        rows.append(f"s{number},w{number},{cell},{dataset},{experiment},{plate},{well},{site},treatment,x,{number // 3 % 5}")
        save(base / "images" / experiment / f"Plate{plate}" / f"{well}_s{site}.png", number, size=(8, 8))
    text(base / "metadata.csv", rows)
    return root


def wilds_waterbirds(root):
    base = _release(root / "waterbirds_v1.0", "1.0")
    rows = ["img_id,img_filename,y,split,place,place_filename"]
    for number in range(24):
        save(base / f"birds/{number}.png", number)
        rows.append(f"{number + 1},birds/{number}.png,{number % 2},{number % 3},{number // 6 % 2},p")
    text(base / "metadata.csv", rows)
    return root


def wilds_celebA(root):  # noqa: N802 - the name of the set.
    base = _release(root / "celebA_v1.0", "1.0")
    rows, parts = ["image_id,Blond_Hair,Male"], ["image_id,partition"]
    for number in range(24):
        rows.append(f"{number:06d}.jpg,{(-1, 1)[number % 2]},{(-1, 1)[number // 6 % 2]}")
        parts.append(f"{number:06d}.jpg,{number % 3}")
        save(base / f"img_align_celeba/{number:06d}.jpg", number)
    text(base / "list_attr_celeba.csv", rows)
    text(base / "list_eval_partition.csv", parts)
    return root


def wilds_domainnet(root):
    from wilds.datasets.domainnet_dataset import DOMAIN_NET_CATEGORIES

    base = _release(root / "domainnet_v1.0", "1.0")
    rows = ['"image_path","domain","split","category","y"']
    for number in range(48):
        domain, split, y = ("sketch", "real")[number % 2], ("train", "test")[number // 2 % 2], number // 4
        path = f"{domain}/{number}.jpg"
        rows.append(f'"{path}","{domain}","{split}","{DOMAIN_NET_CATEGORIES[y]}",{y}')
        save(base / path, number)
    text(base / "metadata.csv", rows)
    return root


def arrays_of(family, split):
    """The images and labels of a data set that makes itself, as arrays."""
    examples = family().listing(None, split).examples
    return SimpleNamespace(images=np.stack([e.source for e in examples]), labels=np.array([e.label for e in examples]))


def view_of(ids, labels):
    """A view of examples without images."""
    return View(None, np.asarray(ids), np.asarray(labels), (), ())


def domains(root, folder, names, classes):
    for number, domain in enumerate(names):
        for label, name in enumerate(classes):
            for row in range(2):
                save(root / folder / domain / name / f"{row}.jpg", 100 * number + 10 * label + row, size=(8, 8), colour=label)
    return root / folder


def pacs(root):
    classes = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")
    return domains(root, "PACS", ("art_painting", "cartoon", "photo", "sketch"), classes)


def vlcs(root):
    return domains(root, "VLCS", ("Caltech101", "LabelMe", "SUN09", "VOC2007"), ("bird", "car", "chair", "dog", "person"))


def office_home(root):
    return domains(root, "office_home", ("Art", "Clipart", "Product", "Real World"), [f"Thing_{n:02d}" for n in range(65)])


def terra_incognita(root):
    classes = ("bird", "bobcat", "cat", "coyote", "dog", "empty", "opossum", "rabbit", "raccoon", "squirrel")
    return domains(root, "terra_incognita", [f"location_{n}" for n in (38, 43, 46, 100)], classes)


def domainnet(root):
    return domains(root, "domain_net", ("clipart", "sketch"), [f"thing_{n:03d}" for n in range(345)])


def validation_images(root):
    """Return ImageNet's validation folder with an image for each class: number n + 1 is of the class n."""
    base = root / "imagenet"
    for label, wnid in enumerate(synsets()):
        save(base / "val" / wnid / f"ILSVRC2012_val_{label + 1:08d}.JPEG", label, size=(8, 8), colour=label)
    return base


REAL = {0: [0], 1: [], 2: [7, 2], 3: [900]}
"""Labels of the first images of ImageNet-ReaL's miniature; all others have their own."""


def imagenet_real(root):
    base = validation_images(root)
    dump(base / "real.json", [REAL.get(label, [label]) for label in range(1000)])
    return base


def imagenet_x(root):
    base = validation_images(root)
    factors = ("pose", "background", "texture")
    for kind in ("top", "multi"):
        rows = []
        for label in range(1000):
            said = {factor: int(label % 4 == row or (kind == "multi" and factor == "pose")) for row, factor in enumerate(factors)}
            rows.append(
                json.dumps({"file_name": f"ILSVRC2012_val_{label + 1:08d}.JPEG", "class": label, **said, "justification": "-"})
            )
        text(base / f"imagenet_x_val_{kind}_factor.jsonl", rows)
    return base


def imagenet_hard(root):
    import io

    import pyarrow as pa
    from pyarrow import parquet

    rows = [([3], "ImageNet-V2"), ([9, 5], "ImageNet-A"), ([999], "ObjectNet")]
    images = []
    for number in range(len(rows)):
        stream = io.BytesIO()
        Image.fromarray(pixels(number)).save(stream, "PNG")
        images.append({"bytes": stream.getvalue(), "path": None})
    table = pa.table({"image": images, "label": [labels for labels, _ in rows], "origin": [origin for _, origin in rows]})
    folder = root / "imagenet-hard" / "data"
    folder.mkdir(parents=True)
    parquet.write_table(table, folder / "validation-00000-of-00001-36efe923955f51bb.parquet", row_group_size=2)
    return root / "imagenet-hard"


def cue_conflict(root):
    base = root / "cue-conflict"
    names = list(SIXTEEN)
    for label, shape in enumerate(names):
        for texture in (names[(label + 1) % 16], shape):
            save(base / shape / f"{shape}1-{texture}2.png", 20 * label + names.index(texture), size=(8, 8))
    return base


def clevr_counts(root):
    base = root / "CLEVR_v1.0"
    for split, count in (("train", 40), ("val", 8)):
        scenes = []
        for number in range(count):
            name = f"CLEVR_{split}_{number:06d}.png"
            save(base / "images" / split / name, 1000 * (split == "val") + number)
            scenes.append({"image_filename": name, "objects": [{}] * (3 + number % 8)})
        dump(base / f"scenes/CLEVR_{split}_scenes.json", {"scenes": scenes})
    return base


def laion_c(root):
    for number, name in enumerate(LAION_C):
        save(root / "laion-c/luminance_checkerboard/intensity_level_5" / name / "1.png", number, size=(8, 8))
    return root / "laion-c"


def own_images(root):
    """Images of one's own as the documentation names them: a folder of classes, a table with files, tars, a folder of the hub."""
    import io
    import tarfile

    import pyarrow as pa
    from pyarrow import parquet

    rows = []
    for number in range(20):
        name = f"{number}.png"
        save(root / "all" / ("rose" if number % 2 else "tulip") / name, number)
        save(root / "files" / name, number)
        rows.append(f"{name},{'clear' if number % 2 else 'opaque'},hospital {number // 5}")
    text(root / "labels.csv", ["file,finding,hospital", *rows])
    text(root / "names.txt", ["cat", "dog"])
    for number in range(10):
        with tarfile.open(root / f"shards-{number:03d}.tar", "w") as archive:
            members = {f"{number}.png": (root / "files" / f"{number}.png").read_bytes(), f"{number}.cls": str(number % 2).encode()}
            for name, data in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    images = [{"bytes": (root / "files" / f"{number}.png").read_bytes(), "path": None} for number in range(6)]
    (root / "hub").mkdir()
    parquet.write_table(pa.table({"image": images, "label": ["cat", "dog"] * 3}), root / "hub" / "test-00000-of-00001.parquet")
