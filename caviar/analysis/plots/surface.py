"""A surface through scattered values, which knows where it knows nothing."""

from __future__ import annotations

import numpy as np

from caviar.messages import Floats

BANDWIDTH = 0.29
"""Of the kernel, for one value on the unit square: the deviation of evenly spread ones. With n values it is that
times n ** (-1/6) (Scott's rule in two dimensions)."""

NEAR = 2.0
"""The surface is blank where the kernel's weights, at most 1 for each value, do not come to so much."""

RIDGE = 1e-3
"""What keeps the slope finite where all values lie on a line."""


def surface(
    x: Floats, y: Floats, value: Floats, *, grid_x: Floats, grid_y: Floats, smooth_x: bool, smooth_y: bool
) -> Floats:
    """The local linear regression of values at (x, y) with a Gaussian kernel, of shape (len(grid_y), len(grid_x));
    NaN where too few values are near. It stays within the values.

    ``smooth_x``: whether x runs over [0, 1]; else it counts things that have no order, and only values of the same
    thing count. The same for y. Values are finite. (Fan and Gijbels, Local Polynomial Modelling, 1996.)
    """
    width = BANDWIDTH * max(len(value), 1) ** (-1 / 6)
    along = _moments(x, grid_x, width, smooth=smooth_x)
    up = _moments(y, grid_y, width, smooth=smooth_y)

    # the kernel is a product, so each of these sums over all values is a product of two small matrices
    def total(power_x: int, power_y: int) -> Floats:
        return np.asarray(up[power_y] @ along[power_x].T)

    centre = float(np.median(value)) if len(value) else 0.0
    lifted = value - centre
    mass = total(0, 0)
    moments = np.empty((*mass.shape, 3, 3))
    heights = np.empty((*mass.shape, 3))
    powers = ((0, 0), (1, 0), (0, 1))
    for i, (a, b) in enumerate(powers):
        heights[..., i] = up[b] @ (along[a] * lifted).T
        for j, (c, d) in enumerate(powers[: i + 1]):
            moments[..., i, j] = moments[..., j, i] = total(a + c, b + d)
    moments[..., [1, 2], [1, 2]] += RIDGE * np.maximum(mass, 1e-9)[..., None]
    moments[..., 0, 0] += 1e-12
    found = np.linalg.solve(moments, heights[..., None])[..., 0, 0] + centre
    found = np.clip(found, value.min(initial=np.inf), value.max(initial=-np.inf)) if len(value) else found
    return np.where(mass >= NEAR, found, np.nan)


def _moments(at: Floats, grid: Floats, width: float, *, smooth: bool) -> tuple[Floats, Floats, Floats]:
    """For each place of the grid the kernel at each value, and that times how far it lies away, in widths of the
    kernel, and times its square."""
    if not smooth:
        same = (grid[:, None] == at[None, :]).astype(np.float64)
        return same, np.zeros_like(same), np.zeros_like(same)
    away = (at[None, :] - grid[:, None]) / width
    near = np.exp(-0.5 * away**2)
    return near, near * away, near * away**2


def telling(place: Floats, rank: Floats, *, parts: int = 8) -> float:
    """What part of the variance of ranks lies between parts of the range of a param, or between its choices: 0 to
    1, also where good values lie in the middle. Less what chance alone would give (as adjusted R squared)."""
    known = np.isfinite(place) & np.isfinite(rank)
    place, rank = place[known], rank[known]
    values, part = np.unique(place, return_inverse=True)
    if len(values) > parts:
        edges = np.quantile(place, np.linspace(0, 1, parts + 1)[1:-1])
        _, part = np.unique(np.searchsorted(edges, place, side="right"), return_inverse=True)
    counts = np.bincount(part)
    whole = float(((rank - rank.mean()) ** 2).sum()) if len(rank) else 0.0
    if len(counts) < 2 or len(rank) <= len(counts) or whole == 0:
        return 0.0
    means = np.bincount(part, rank) / counts
    within = float(((rank - means[part]) ** 2).sum())
    return max(1 - within / whole * (len(rank) - 1) / (len(rank) - len(counts)), 0.0)
