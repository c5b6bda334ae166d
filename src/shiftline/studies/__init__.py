"""Studies that are ready to run, by the name that the command line takes."""

BUILT_IN = {
    "digits": "shiftline.studies.digits:Digits",
    "imagenet_synthetic_shift": "shiftline.studies.imagenet_synthetic_shift:ImageNetSyntheticShift",
    "imagenet_support_split": "shiftline.studies.imagenet_support_split:ImageNetSupportSplit",
    "wilds_fmow": "shiftline.studies.wilds_fmow:WildsFMoW",
    "cifar10_brightness": "shiftline.studies.cifar10_brightness:Cifar10Brightness",
    "typographic": "shiftline.studies.typographic:Typographic",
    "wise_ft": "shiftline.papers.wise_ft:WiseFT",
}
