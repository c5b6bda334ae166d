"""Natural shifts of ImageNet, split by whether ImageNet could have produced the image (Cohen-Wang et al. 2024, section 4)."""

from __future__ import annotations

from typing import Any

import shiftline as sl
from shiftline.errors import DeclarationError

SHIFTS = {"v2": sl.imagenet_v2(), "sketch": sl.imagenet_sketch(), "r": sl.imagenet_r()}


def _tags(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FROM_SCRATCH = _tags("""
resnet18.a1_in1k resnet34.a1_in1k resnet50.a1_in1k resnet101.a1h_in1k resnet152.a1h_in1k resnetv2_50.a1h_in1k
resnetv2_101.a1h_in1k legacy_seresnet18.in1k legacy_seresnet34.in1k legacy_seresnet50.in1k legacy_seresnet101.in1k
legacy_seresnet152.in1k resnext50_32x4d.a1h_in1k resnext101_32x4d.gluon_in1k resnext101_32x8d.tv_in1k
wide_resnet50_2.racm_in1k wide_resnet101_2.tv_in1k convit_tiny.fb_in1k convit_small.fb_in1k convit_base.fb_in1k
convnext_tiny.fb_in1k convnext_small.fb_in1k convnext_base.fb_in1k convnext_large.fb_in1k convnextv2_atto.fcmae_ft_in1k
convnextv2_femto.fcmae_ft_in1k convnextv2_pico.fcmae_ft_in1k convnextv2_nano.fcmae_ft_in1k convnextv2_tiny.fcmae_ft_in1k
convnextv2_base.fcmae_ft_in1k convnextv2_large.fcmae_ft_in1k convnextv2_huge.fcmae_ft_in1k densenet121.ra_in1k
densenet161.tv_in1k densenet169.tv_in1k densenet201.tv_in1k mobilenetv3_small_100.lamb_in1k mobilenetv3_large_100.ra_in1k
mobilevitv2_050.cvnets_in1k mobilevitv2_075.cvnets_in1k mobilevitv2_100.cvnets_in1k mobilevitv2_125.cvnets_in1k
mobilevitv2_150.cvnets_in1k mobilevitv2_175.cvnets_in1k mobilevitv2_200.cvnets_in1k spnasnet_100.rmsp_in1k
swinv2_tiny_window8_256.ms_in1k swinv2_tiny_window16_256.ms_in1k swinv2_small_window8_256.ms_in1k
swinv2_small_window16_256.ms_in1k swinv2_base_window8_256.ms_in1k swinv2_base_window16_256.ms_in1k efficientnet_b0.ra_in1k
efficientnet_b1.ft_in1k efficientnet_b2.ra_in1k efficientnet_b3.ra2_in1k efficientnet_b4.ra2_in1k
efficientformerv2_l.snap_dist_in1k efficientformerv2_s0.snap_dist_in1k efficientformerv2_s1.snap_dist_in1k
efficientformerv2_s2.snap_dist_in1k deit3_base_patch16_224.fb_in1k deit3_base_patch16_384.fb_in1k
deit3_small_patch16_224.fb_in1k deit3_small_patch16_384.fb_in1k deit3_medium_patch16_224.fb_in1k
deit3_large_patch16_224.fb_in1k deit3_large_patch16_384.fb_in1k cait_xxs24_224.fb_dist_in1k cait_xxs24_384.fb_dist_in1k
cait_xxs36_224.fb_dist_in1k cait_xxs36_384.fb_dist_in1k cait_xs24_384.fb_dist_in1k cait_s24_224.fb_dist_in1k
cait_s24_384.fb_dist_in1k cait_s36_384.fb_dist_in1k cait_m36_384.fb_dist_in1k cait_m48_448.fb_dist_in1k
""")
"""78 models of timm that were trained on ImageNet alone."""

PRE_TRAINED = _tags("""
resnet18.fb_swsl_ig1b_ft_in1k resnet50.fb_swsl_ig1b_ft_in1k resnext50_32x4d.fb_swsl_ig1b_ft_in1k
resnext101_32x4d.fb_swsl_ig1b_ft_in1k resnext101_32x8d.fb_swsl_ig1b_ft_in1k resnext101_32x8d.fb_wsl_ig1b_ft_in1k
resnext101_32x16d.fb_swsl_ig1b_ft_in1k resnext101_32x16d.fb_wsl_ig1b_ft_in1k resnext101_32x32d.fb_wsl_ig1b_ft_in1k
beit_base_patch16_224.in22k_ft_in22k_in1k beit_base_patch16_384.in22k_ft_in22k_in1k
beit_large_patch16_224.in22k_ft_in22k_in1k beit_large_patch16_384.in22k_ft_in22k_in1k deit3_base_patch16_224.fb_in22k_ft_in1k
deit3_base_patch16_384.fb_in22k_ft_in1k deit3_small_patch16_224.fb_in22k_ft_in1k deit3_small_patch16_384.fb_in22k_ft_in1k
deit3_medium_patch16_224.fb_in22k_ft_in1k deit3_large_patch16_224.fb_in22k_ft_in1k deit3_large_patch16_384.fb_in22k_ft_in1k
convnext_tiny.fb_in22k_ft_in1k convnext_tiny.fb_in22k_ft_in1k_384 convnext_small.fb_in22k_ft_in1k
convnext_small.fb_in22k_ft_in1k_384 convnext_base.fb_in22k_ft_in1k convnext_base.fb_in22k_ft_in1k_384
convnext_base.clip_laion2b_augreg_ft_in1k convnext_base.clip_laion2b_augreg_ft_in12k_in1k
convnext_base.clip_laion2b_augreg_ft_in12k_in1k_384 convnext_base.clip_laiona_augreg_ft_in1k_384
convnext_large.fb_in22k_ft_in1k convnext_large_mlp.clip_laion2b_augreg_ft_in1k
convnext_large_mlp.clip_laion2b_augreg_ft_in1k_384 convnext_large_mlp.clip_laion2b_soup_ft_in12k_in1k_320
convnext_large_mlp.clip_laion2b_soup_ft_in12k_in1k_384 convnext_xxlarge.clip_laion2b_soup_ft_in1k
vit_base_patch32_clip_224.openai_ft_in1k vit_base_patch32_clip_224.laion2b_ft_in12k_in1k
vit_base_patch32_clip_384.openai_ft_in12k_in1k vit_base_patch32_clip_384.laion2b_ft_in12k_in1k
vit_base_patch32_clip_448.laion2b_ft_in12k_in1k vit_base_patch16_clip_224.openai_ft_in1k
vit_base_patch16_clip_224.laion2b_ft_in12k_in1k vit_base_patch16_clip_384.openai_ft_in12k_in1k
vit_base_patch16_clip_384.laion2b_ft_in12k_in1k vit_large_patch14_clip_224.openai_ft_in1k
vit_large_patch14_clip_224.openai_ft_in12k_in1k vit_large_patch14_clip_224.laion2b_ft_in1k
vit_large_patch14_clip_224.laion2b_ft_in12k_in1k vit_large_patch14_clip_336.openai_ft_in12k_in1k
vit_large_patch14_clip_336.laion2b_ft_in1k vit_large_patch14_clip_336.laion2b_ft_in12k_in1k
vit_huge_patch14_clip_224.laion2b_ft_in1k vit_huge_patch14_clip_224.laion2b_ft_in12k_in1k
vit_huge_patch14_clip_336.laion2b_ft_in12k_in1k
""")
"""55 models of timm that were pre-trained on more, and fine-tuned on ImageNet. (The paper's list has one twice, and names a tag
of vit_huge_patch14_clip_336 that timm has not: the one that it has stands in its place.)"""


class ImageNetSupportSplit(sl.ExperimentManager):
    """Is a pre-trained model more robust where ImageNet could have produced the image, or where it could not?

    Parameters
    ----------
    shift : str
        "v2", "sketch", "r", several with commas, or "all".
    threshold : float
        Density ratio below which an image is out of support: 0.2 in the paper, 0.1 in its notebook.
    baseline_models, pretrained_models : str
        Full tags of timm with commas, in the place of the published lists.
    subsets : bool
        Without, models are evaluated on the whole shifts only.
    weights : str
        A folder that holds TAG.safetensors for each model: no download then.
    small : bool
        Small networks trained here, in the place of the published ones, and a classifier on embeddings: to try the study on
        `shiftline data make-miniature imagenet`.
    """

    baseline = "baseline"

    def __init__(
        self,
        *,
        shift: str = "all",
        threshold: float = 0.2,
        baseline_models: str = "",
        pretrained_models: str = "",
        weights: str = "",
        subsets: bool = True,
        small: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        chosen = list(SHIFTS) if shift == "all" else shift.split(",")
        if unknown := [name for name in chosen if name not in SHIFTS]:
            raise DeclarationError(f"there is no shift {unknown[0]!r}: choose of {', '.join(SHIFTS)}, or all.")
        self.small, self.weights = small, weights
        self.scratch = [name for name in baseline_models.split(",") if name] or list(FROM_SCRATCH)
        self.more = [name for name in pretrained_models.split(",") if name] or list(PRE_TRAINED)
        self.name = f"imagenet_support_split{' small' if small else ''}"  # type: ignore[misc]
        self.reference = sl.imagenet_reference()
        classifier = (
            sl.EmbeddingClassifier(sl.random_clip(), inverse_l2=1.0)
            if small
            else sl.FineTunedClassifier(sl.open_clip("ViT-L-14", "laion2b_s32b_b82k"), batch_size=64)
        )
        split = sl.SupportSplit(self.reference.training, classifier)
        self.shifts: dict[str, sl.Distribution] = {}
        for name in chosen:
            whole = SHIFTS[name]
            self.shifts[name] = whole
            if not subsets:
                continue
            self.shifts |= {
                f"{name}, in support": whole.in_support(split, threshold=threshold),
                f"{name}, out of support": whole.out_of_support(split, threshold=threshold),
            }

    def models(self) -> dict[str, dict[str, sl.Model]]:
        if self.small:
            return self._small()
        return {
            "baseline": {tag: sl.Published(self._network(tag)) for tag in self.scratch},
            "pre-trained": {tag: sl.Published(self._network(tag), other_data=True) for tag in self.more},
        }

    def _network(self, tag: str) -> sl.Backbone:
        return sl.LocalWeights(sl.timm(tag), f"{self.weights}/{tag}.safetensors") if self.weights else sl.timm(tag)

    def _small(self) -> dict[str, dict[str, sl.Model]]:
        train = self.reference.training  # type: ignore[union-attr]
        settings = {"batch_size": 100, "optimizer": sl.AdamW(lr=2e-3)}
        return {
            "baseline": {
                f"{net} {share:g}": sl.FromScratch(sl.glyph_net(net), train_on=train.fraction(share), epochs=6, **settings)  # type: ignore[arg-type]
                for net in ("linear", "mlp", "conv-wide")
                for share in (0.3, 1.0)
            },
            "pre-trained": {"random CLIP": sl.FineTune(sl.random_clip(), head="random", epochs=6, **settings)},  # type: ignore[arg-type]
        }
