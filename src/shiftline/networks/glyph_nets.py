"""The small networks of the digits study: four baselines and the residual trunk of the small CLIP.

Every network maps images of shape (B, 3, 32, 32) to features of shape (B, `num_features`); the linear head is added
by `shiftline.networks.classifier`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

SIDE = 32


class _Block(nn.Module):
    """A pre-activation residual block whose second convolution starts at zero, so that it starts as its shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(8, inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm2 = nn.GroupNorm(8, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if stride > 1 or inputs != outputs else None
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        active = torch.relu(self.norm1(x))
        residual = self.conv2(torch.relu(self.norm2(self.conv1(active))))
        out: Tensor = residual + (x if self.shortcut is None else self.shortcut(active))
        return out


class GlyphTrunk(nn.Module):
    """A group-norm residual net: stem 5x5 stride 2, one block each of 32, 64 and 128 channels, linear projection."""

    def __init__(self, num_features: int = 64) -> None:
        super().__init__()
        self.num_features = num_features
        self.stem = nn.Conv2d(3, 32, 5, 2, 2, bias=False)
        self.blocks = nn.Sequential(_Block(32, 32, 1), _Block(32, 64, 2), _Block(64, 128, 2))
        self.norm = nn.GroupNorm(8, 128)
        self.projection = nn.Linear(128, num_features)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.stem(x))
        features: Tensor = self.projection(torch.relu(self.norm(x)).mean(dim=(2, 3)))
        return features


class _Flat(nn.Module):
    num_features = 3 * SIDE * SIDE

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


class _Perceptron(nn.Module):
    num_features = 64

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(3 * SIDE * SIDE, 64)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.hidden(x.flatten(1)))


class _Convolutional(nn.Module):
    """Two strided convolutions and a 2 x 2 grid of pooled features, so that position is not lost."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_features = 8 * width
        self.conv1 = nn.Conv2d(3, width, 5, 2, 2)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv2(torch.relu(self.conv1(x))))
        return nn.functional.adaptive_avg_pool2d(x, 2).flatten(1)


def glyph_net(name: str) -> nn.Module:
    """Build one of the small encoders with random weights, by a name of `shiftline.declare.GLYPH_NETS`."""
    builders: dict[str, Callable[[], nn.Module]] = {
        "linear": _Flat,
        "mlp": _Perceptron,
        "conv-narrow": lambda: _Convolutional(8),
        "conv-wide": lambda: _Convolutional(24),
        "trunk": GlyphTrunk,
    }
    return builders[name]()
