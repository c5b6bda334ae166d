"""Operations on weights."""

from shiftline.weights.interpolate import interpolate

__all__ = ["interpolate"]
