"""Pre-train the small CLIP that ships with shiftline, on typed characters drawn on the fly.

    .venv/bin/python scripts/pretrain_glyph_clip.py --out src/shiftline/assets/glyph_clip.safetensors

Nothing is downloaded and no handwritten digit is seen: the accuracy on handwritten digits that is printed at the end,
and stored in the file's metadata, is measured once, after training. About seven minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from safetensors.torch import save_file
from torch.nn import functional as F

from shiftline.data.glyphs import DIGITS, HELD_OUT_FONTS, LETTERS, TRAINING_FONTS, glyph_masks
from shiftline.datasets.digits import HandwrittenDigits, TypedDigits
from shiftline.networks.glyph_clip import COLOURS, DIGIT_NAMES, PLAIN_TEMPLATES, TEMPLATES, build_glyph_clip, glyph_tokenizer
from shiftline.networks.heads import zero_shot_head

RECIPE = {
    "steps": 3000,
    "batch": 128,
    "lr": 2e-3,
    "weight_decay": 0.1,
    "betas": [0.9, 0.98],
    "warmup_steps": 100,
    "schedule": "cosine",
    "clip_norm": 1.0,
    "curriculum_steps": 800,
    "digit_share": 0.4,
}
ATTRIBUTE_TEMPLATES = TEMPLATES[len(PLAIN_TEMPLATES) :]


def character_name(character: str) -> str:
    if character in DIGITS:
        return f"digit {DIGIT_NAMES[int(character)]}"
    return f"capital letter {character.lower()}" if character.isupper() else f"letter {character}"


class Corpus:
    """Batches of (images in [0, 1] of shape (B, 3, 32, 32), captions), distorted with a strength from 0 to 1."""

    def __init__(self, seed: int) -> None:
        self.characters = DIGITS + LETTERS
        masks = glyph_masks(self.characters, TRAINING_FONTS)
        self.masks = torch.from_numpy(masks).flatten(1, 2).float() / 255  # (characters, drawings, 64, 64)
        self.rng = np.random.default_rng(seed)
        self.torch_rng = torch.Generator().manual_seed(seed)
        self.palette = torch.tensor(list(COLOURS.values()))
        self.colour_names = list(COLOURS)

    def _uniform(self, n: int, low: float, high: float) -> torch.Tensor:
        return torch.rand(n, generator=self.torch_rng) * (high - low) + low

    def batch(self, size: int, strength: float) -> tuple[torch.Tensor, list[str]]:
        digit = self.rng.random(size) < RECIPE["digit_share"]
        letters = self.rng.integers(len(DIGITS), len(self.characters), size)
        chosen = np.where(digit, self.rng.integers(0, len(DIGITS), size), letters)
        ink = self.masks[torch.from_numpy(chosen), torch.from_numpy(self.rng.integers(0, self.masks.shape[1], size))]

        angle = self._uniform(size, -1, 1) * strength * math.radians(20)
        ink = self._warp(ink[:, None], angle, strength)[:, 0]
        coarse = self.rng.random(size) < 0.5 * strength
        ink = self._resample(ink, torch.from_numpy(coarse))
        blur = torch.from_numpy(self.rng.random(size) < 0.3 * strength)
        blurred = self._blur(ink, sigma=1.1)
        ink = torch.where(blur[:, None, None], blurred, ink)
        ink = (ink * self._uniform(size, 1 - 0.2 * strength, 1 + 0.8 * strength)[:, None, None]).clamp(0, 1)

        colours, names = self._colours(size, strength)
        faint = torch.from_numpy(self.rng.random(size) < 0.15 * strength)
        contrast = torch.where(faint, 0.35, 1.0)[:, None]
        ground, stroke = colours[:, 1], colours[:, 1] + (colours[:, 0] - colours[:, 1]) * contrast
        images = ground[:, :, None, None] + (stroke - ground)[:, :, None, None] * ink[:, None]
        noisy = torch.from_numpy(self.rng.random(size) < 0.3 * strength)
        sigma = torch.where(noisy, self._uniform(size, 0.05, 0.25), self._uniform(size, 0, 0.04) * strength)
        images = images + sigma[:, None, None, None] * torch.randn(images.shape, generator=self.torch_rng)

        flags = {
            "noisy": noisy,
            "blurry": blur,
            "faint": faint,
            "low resolution": torch.from_numpy(coarse),
            "rotated": angle.abs() > math.radians(12),
        }
        captions = [
            self._caption(self.characters[c], names[i], [k for k, v in flags.items() if v[i]], strength)
            for i, c in enumerate(chosen)
        ]
        return images.clamp(0, 1), captions

    def _warp(self, ink: torch.Tensor, angle: torch.Tensor, strength: float) -> torch.Tensor:
        """Apply one rotation, shear, zoom, aspect, shift and elastic field per image, from 64 to 32 pixels."""
        n = len(ink)
        zoom = torch.exp(self._uniform(n, -0.30, 0.25) * strength) * 0.95
        aspect = torch.exp(self._uniform(n, -0.3, 0.3) * strength)
        shear = self._uniform(n, -0.35, 0.35) * strength
        cos, sin = torch.cos(angle), torch.sin(angle)
        rows = torch.stack(
            [
                torch.stack([cos * aspect, -sin + shear * cos, self._uniform(n, -0.15, 0.15) * strength], 1),
                torch.stack([sin * aspect, cos + shear * sin, self._uniform(n, -0.15, 0.15) * strength], 1),
            ],
            1,
        )
        rows[:, :, :2] /= zoom[:, None, None]
        grid = F.affine_grid(rows, [n, 1, 32, 32], align_corners=False)
        field = torch.randn(n, 2, 5, 5, generator=self.torch_rng) * 0.07 * strength
        grid = grid + F.interpolate(field, (32, 32), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
        # Halving the mask first is the antialiasing.
        return F.grid_sample(F.avg_pool2d(ink, 2), grid, align_corners=False)

    def _resample(self, ink: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        side = int(self.rng.choice([9, 10, 11, 12, 14, 16]))
        small = F.interpolate(ink[:, None], (side, side), mode="area")
        coarse = F.interpolate(small, (32, 32), mode="bilinear", align_corners=False)[:, 0]
        return torch.where(chosen[:, None, None], coarse, ink)

    @staticmethod
    def _blur(ink: torch.Tensor, sigma: float) -> torch.Tensor:
        kernel = torch.exp(-(torch.arange(-3, 4) ** 2) / (2 * sigma**2))
        kernel = kernel / kernel.sum()
        rows = F.conv2d(ink[:, None], kernel[None, None, None], padding=(0, 3))
        return F.conv2d(rows, kernel[None, None, :, None], padding=(3, 0))[:, 0]

    def _colours(self, n: int, strength: float) -> tuple[torch.Tensor, list[tuple[str, str]]]:
        pairs = np.stack([self.rng.integers(0, len(self.palette), n), self.rng.integers(0, len(self.palette), n)], 1)
        for row in range(n):
            while (self.palette[pairs[row, 0]] - self.palette[pairs[row, 1]]).abs().max() < 0.4:
                pairs[row] = self.rng.integers(0, len(self.palette), 2)
        plain = self.rng.random(n) > strength * 0.75
        pairs[plain] = [self.colour_names.index("white"), self.colour_names.index("black")]
        colours = self.palette[torch.from_numpy(pairs)]
        colours = colours + torch.randn(colours.shape, generator=self.torch_rng) * 0.05 * strength
        return colours.clamp(0, 1), [(self.colour_names[a], self.colour_names[b]) for a, b in pairs]

    def _caption(self, character: str, colours: tuple[str, str], attributes: list[str], strength: float) -> str:
        name = character_name(character)
        if self.rng.random() > 0.5 * strength:
            return str(self.rng.choice(PLAIN_TEMPLATES)).format(name)
        usable = [t for t in ATTRIBUTE_TEMPLATES if attributes or "{attribute}" not in t]
        attribute = str(self.rng.choice(attributes)) if attributes else ""
        return str(self.rng.choice(usable)).format(name, attribute=attribute, ink=colours[0], ground=colours[1])


def learning_rate(step: int) -> float:
    warm = min(1.0, (step + 1) / RECIPE["warmup_steps"])
    return RECIPE["lr"] * warm * 0.5 * (1 + math.cos(math.pi * step / RECIPE["steps"]))


def train(model: torch.nn.Module, corpus: Corpus) -> None:
    tokenizer = glyph_tokenizer()
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": RECIPE["weight_decay"]}, {"params": others, "weight_decay": 0.0}],
        lr=RECIPE["lr"],
        betas=tuple(RECIPE["betas"]),
    )
    model.train()
    for step in track(range(RECIPE["steps"]), description="pre-training"):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        images, captions = corpus.batch(RECIPE["batch"], min(1.0, step / RECIPE["curriculum_steps"]))
        image, text, scale = model((images - 0.5) / 0.5, tokenizer(captions))
        logits = scale * image @ text.T
        targets = torch.arange(len(images))
        loss = (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), RECIPE["clip_norm"])
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        if step % 200 == 199:
            print(f"step {step + 1}: loss {loss.item():.3f}", flush=True)


def zero_shot_accuracy(model: torch.nn.Module, images: np.ndarray, labels: np.ndarray) -> float:
    """Accuracy of the zero-shot head "digit {name}" over the plain templates, on uint8 images (N, 32, 32, 3)."""
    names = [f"digit {name}" for name in DIGIT_NAMES]
    model.eval()
    with torch.no_grad():
        weights, _ = zero_shot_head(model, glyph_tokenizer(), [(name,) for name in names], PLAIN_TEMPLATES)
        pixels = (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
        logits = F.normalize(model.visual(pixels), dim=-1) @ weights.T
    return float((logits.argmax(1).numpy() == labels).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=RECIPE["steps"])
    arguments = parser.parse_args()
    RECIPE["steps"] = arguments.steps

    torch.manual_seed(arguments.seed)
    model = build_glyph_clip()
    start = time.time()
    train(model, Corpus(arguments.seed))
    # float16 halves the file; the accuracies below are those of the rounded weights.
    state = {name: tensor.half().contiguous() for name, tensor in model.state_dict().items()}
    model.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    accuracies = {}
    for name, family in (("handwritten/test", HandwrittenDigits), ("typed (held-out fonts)", TypedDigits)):
        examples = family().listing(Path(), "test").examples
        images, labels = np.stack([example.source for example in examples]), np.array([example.label for example in examples])
        accuracies[name] = zero_shot_accuracy(model, images, labels)
    metadata = {
        "recipe": RECIPE | {"seed": arguments.seed, "training_fonts": TRAINING_FONTS, "held_out_fonts": HELD_OUT_FONTS},
        "accuracies": accuracies,
        "minutes": round((time.time() - start) / 60, 1),
    }
    save_file(state, arguments.out, metadata={"shiftline": json.dumps(metadata)})
    print(json.dumps(accuracies, indent=2))
    print(f"{arguments.out}: {arguments.out.stat().st_size} bytes, {metadata['minutes']} minutes")


if __name__ == "__main__":
    main()
