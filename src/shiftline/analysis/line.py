"""A least-squares line on transformed axes: its coefficients, and how uncertain they are.

Everything about lines that needs no table: several explanatory columns, weights, noise in the explanatory columns, and errors that
are alike within clusters.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from shiftline.analysis.axes import Floats
from shiftline.errors import AnalysisError


@dataclass(frozen=True)
class Noise:
    """What the finite number of images adds to the moments of the points: sums over the points, weighted.

    Attributes
    ----------
    xx : array of shape (k, k)
        Added to the squares and products of the explanatory columns about their means.
    xy : array of shape (k,)
        Added to their products with y.
    """

    xx: Floats
    xy: Floats


class Line:
    """The fit of y on a constant and k columns.

    Parameters
    ----------
    x : array of shape (n, k)
    y : array of shape (n,)
    weights : array of shape (n,)
        With mean 1.
    clusters : int array of shape (n,), optional
        Points of one cluster have errors that are alike. Unless given, errors are independent and of one variance.
    noise : Noise, optional
        Is taken off the moments (errors in the explanatory columns).
    points : int array of shape (n,), optional
        Which models they are, and clusters by the first of theirs: two lines of one table are compared by these.

    Attributes
    ----------
    coefficients : array of shape (k + 1,)
        Constant first.
    residuals : array of shape (n,)
    sse : float
        Weighted sum of their squares.

    Raises
    ------
    AnalysisError
        The columns have no spread of their own: all points have one x, columns repeat each other, or (with noise) all of the
        spread is noise.
    """

    def __init__(
        self,
        x: Floats,
        y: Floats,
        weights: Floats,
        clusters: NDArray[np.int64] | None = None,
        noise: Noise | None = None,
        *,
        points: NDArray[np.int64] | None = None,
    ) -> None:
        self.n, self.k = x.shape
        self.points = np.arange(self.n) if points is None else points
        self.clusters, self.weights = clusters, weights
        self.design = np.column_stack([np.ones(self.n), x])
        root = np.sqrt(weights)
        scaled = self._scaled = self.design * root[:, None]
        moments, products = scaled.T @ scaled, scaled.T @ (y * root)
        self._plain = moments
        self._noise = noise
        if noise is not None:
            moments, products = moments.copy(), products.copy()
            moments[1:, 1:] -= noise.xx
            products[1:] -= noise.xy
        centre = moments[0, 1:] / moments[0, 0]
        spread = moments[1:, 1:] - np.outer(centre, moments[0, 1:])
        if np.linalg.eigvalsh(spread).min() <= 1e-12 * max(1.0, np.trace(moments)):
            raise AnalysisError("the explanatory columns have no spread of their own.")
        self.bread = np.linalg.inv(moments)
        self.coefficients: Floats = self.bread @ products
        self.residuals: Floats = y - self.design @ self.coefficients
        self._scaled_residuals = root * self.residuals
        self.sse = float((weights * self.residuals**2).sum())
        self.total = float((weights * (y - np.average(y, weights=weights)) ** 2).sum())

    @property
    def df(self) -> int:
        """Points minus coefficients."""
        return int(self.n - self.k - 1)

    @property
    def is_classical(self) -> bool:
        """Errors are independent, of one variance, and x is known."""
        return self.clusters is None and self._noise is None

    def at(self, x: Floats) -> Floats:
        """Return the line at points, shape (..., k) -> (...)."""
        value: Floats = self.coefficients[0] + x @ self.coefficients[1:]
        return value

    @cached_property
    def _labels(self) -> NDArray[np.int64]:
        """The clusters; where models are independent, the models."""
        return np.unique(self.points if self.clusters is None else self.clusters)

    @cached_property
    def _groups(self) -> list[NDArray[np.int64]]:
        members = self.points if self.clusters is None else self.clusters
        return [np.flatnonzero(members == label) for label in self._labels]

    @cached_property
    def _adjusted(self) -> list[Floats]:
        """Return, by cluster, the design times ``(I - H)^(-1/2)``: residuals are smaller than errors (Bell & McCaffrey 2002)."""
        inverse = np.linalg.inv(self._plain)
        found = []
        for rows in self._groups:
            own = self._scaled[rows]
            values, vectors = np.linalg.eigh(np.eye(len(rows)) - own @ inverse @ own.T)
            # A cluster that alone fixes a direction of the line says nothing about its own errors there.
            roots = np.where(values > 1e-9, 1 / np.sqrt(np.maximum(values, 1e-9)), 0.0)
            found.append(own.T @ (vectors * roots) @ vectors.T)
        return found

    @cached_property
    def influence(self) -> Floats:
        """What each cluster contributes to the coefficients, shape (clusters, k + 1): their squares sum to the covariance."""
        scores = np.array(
            [adjusted @ self._scaled_residuals[rows] for rows, adjusted in zip(self._groups, self._adjusted, strict=True)]
        )
        if self._noise is not None:
            # Where x is noisy, residuals and x are correlated by -noise: scores sum to zero with it.
            share = np.array([self.weights[rows].sum() for rows in self._groups]) / self.n
            scores[:, 1:] += share[:, None] * (self._noise.xx @ self.coefficients[1:] - self._noise.xy)
        contributed: Floats = scores @ self.bread
        return contributed

    def covariance(self, other: Line | None = None) -> Floats:
        """Return the covariance of the coefficients, with those of another line over (some of) the same models.

        ``s^2 (X'X)^-1`` where the fit is classical; else the cluster-robust CR2 (Bell & McCaffrey 2002).

        Returns
        -------
        array of shape (k + 1, k' + 1)
        """
        other = other or self
        if self.is_classical and other.is_classical:
            mine, theirs = _shared(self.points, other.points)
            errors, others = self._scaled_residuals, other._scaled_residuals
            lengths = np.linalg.norm(errors[mine]) * np.linalg.norm(others[theirs])
            alike = float(errors[mine] @ others[theirs] / lengths) if lengths > 0 else 0.0
            spread = alike * np.sqrt(self.sse / self.df * other.sse / other.df)
            cross: Floats = spread * self.bread @ self._scaled[mine].T @ other._scaled[theirs] @ other.bread
            return cross
        mine, theirs = _shared(self._labels, other._labels)
        return self.influence[mine].T @ other.influence[theirs]

    @cached_property
    def _dependence(self) -> Floats:
        """Return for two coefficients and two clusters how the estimated errors depend on each other under one variance."""
        inverse = np.linalg.inv(self._plain)
        columns = []
        for rows, adjusted in zip(self._groups, self._adjusted, strict=True):
            lifted = np.zeros((self.n, self.k + 1))
            lifted[rows] = adjusted.T @ self.bread
            columns.append(lifted - self._scaled @ (inverse @ (self._scaled.T @ lifted)))
        stacked = np.array(columns)
        dependence: Floats = np.einsum("gna,hnb->abgh", stacked, stacked, optimize=True)
        return dependence

    def degrees_of_freedom(self, directions: Floats) -> Floats:
        """Return the degrees of freedom of the variance of combinations of the coefficients.

        n - k - 1 where the fit is classical; else those of Bell & McCaffrey (2002), by Satterthwaite: near the number of clusters
        for what all of them tell, near 1 for what rests on one.

        Parameters
        ----------
        directions : array of shape (m, k + 1)
        """
        if self.is_classical:
            return np.full(len(directions), float(self.df))
        found = np.empty(len(directions))
        for row, direction in enumerate(directions):
            products = np.einsum("a,b,abgh->gh", direction, direction, self._dependence, optimize=True)
            squares = float((products**2).sum())
            found[row] = float(np.trace(products)) ** 2 / squares if squares > 0 else 1.0
        return found


def _shared(one: NDArray[np.int64], other: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where both have the same labels."""
    _, mine, theirs = np.intersect1d(one, other, assume_unique=True, return_indices=True)
    return mine, theirs
