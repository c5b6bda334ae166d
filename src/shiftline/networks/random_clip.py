"""A small CLIP with random weights: open_clip's own class, small, for trying things where no weights can be had."""

from __future__ import annotations

import torch

SIDE = 64
EMBEDDING = 64


def build_random_clip(seed: int = 0) -> torch.nn.Module:
    """Build `open_clip.CLIP` with a small transformer for each side, and weights drawn from a seed."""
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: torch.nn.Module = CLIP(
            embed_dim=EMBEDDING,
            vision_cfg=CLIPVisionCfg(layers=2, width=64, head_width=32, patch_size=16, image_size=SIDE),
            text_cfg=CLIPTextCfg(width=32, heads=2, layers=1),
            quick_gelu=True,
        )
    return model
