"""Operations on weights: plain functions over state dicts."""

from shiftline.weights.average import average, combine, fisher_average
from shiftline.weights.interpolate import interpolate
from shiftline.weights.soup import greedy_soup

__all__ = ["average", "combine", "fisher_average", "greedy_soup", "interpolate"]
