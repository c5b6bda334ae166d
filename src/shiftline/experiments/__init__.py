"""Studies that are ready to run, by the name that the command line takes."""

BUILT_IN = {
    "digits": "shiftline.experiments.digits:Digits",
    "imagenet_synthetic_shift": "shiftline.experiments.imagenet_synthetic_shift:ImageNetSyntheticShift",
    "imagenet_support_split": "shiftline.experiments.imagenet_support_split:ImageNetSupportSplit",
    "wilds_fmow": "shiftline.experiments.wilds_fmow:WildsFMoW",
    "cifar10_brightness": "shiftline.experiments.cifar10_brightness:Cifar10Brightness",
    "typographic": "shiftline.experiments.typographic:Typographic",
    "wise_ft": "shiftline.experiments.wise_ft:WiseFT",
}
