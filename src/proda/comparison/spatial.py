"""The effective number of independent cells in a correlation of two maps.

Neighbouring cells are similar, so that a naive test of a correlation is almost always significant.
The modified t test of Clifford, Richardson and Hemon (1989, Biometrics 45, 123-134) in the version
of Dutilleul (1993, Biometrics 49, 305-314) takes the variance of r between two independent,
autocorrelated fields,

    var(r) = tr(B Sx B Sy) / (tr(B Sx) tr(B Sy)),   where B is the matrix that subtracts the mean,

and tests with the n that gives r the same variance: n_eff = 1 + 1/var(r). Sx and Sy hold the
fields' own autocovariances, estimated in classes of great-circle distance. Here cells carry weights
(land).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from proda.errors import ComparisonError
from proda.places import great_circle_km, unit_vectors

CLASS_KM = 100.0
"""Width of a class of distance, about two half-degree cells at the equator."""
MOST_POINTS = 2500
"""Number of points of which all pairs are used: 3 million pairs, a few hundred in the nearest
class."""


@dataclass(frozen=True)
class CorrelationTest:
    """A correlation with its naive and its modified t test.

    `n` counts cells, `n_effective` is their effective number; `p_naive` and `p` are two-sided;
    `low` and `high` are the ends of the 95 % interval by Fisher's z with n_effective. NaN where
    n_effective is too small (2 for p, 3 for the interval).
    """

    r: float
    n: int
    n_effective: float
    p_naive: float
    p: float
    low: float
    high: float


def effective_size(
    x: Float[np.ndarray, " n"],
    y: Float[np.ndarray, " n"],
    lat: Float[np.ndarray, " n"],
    lon: Float[np.ndarray, " n"],
    weights: Float[np.ndarray, " n"] | None = None,
    points: int = MOST_POINTS,
    class_km: float = CLASS_KM,
    seed: int = 0,
) -> float:
    """Return the effective number of independent cells in the correlation of x and y.

    Of more than `points` cells, that many are drawn without replacement with probabilities in
    proportion to their weights, and pairs of different cells are averaged over these. The diagonal
    terms are those of all cells, so that the result does not decrease with the sample size.

    Parameters
    ----------
    x, y
        Two fields at the same places.
    lat, lon
        Degrees.
    weights
        Such as the area of land; None: equal weights.
    points, class_km, seed
        Size of the sample, width of a class of distance (km), seed of the draw.

    Returns
    -------
    float
        At most the effective number given unequal weights, (sum w)^2 / sum w^2. NaN where a field
        varies so rarely that it is the same in all cells that are drawn.

    Raises
    ------
    ComparisonError
        If a field is constant, or there are fewer than four places.
    """
    if len(x) < 4:
        raise ComparisonError(f"{len(x)} places are too few to estimate an effective number.")
    w = np.ones(len(x)) if weights is None else np.asarray(weights, dtype=np.float64)
    w = w / w.sum()
    alone = float((w**2).sum())
    if len(x) > points:
        rng = np.random.default_rng(seed)
        chosen = np.sort(rng.choice(len(x), points, replace=False, p=w))
        x, y, lat, lon, w = x[chosen], y[chosen], lat[chosen], lon[chosen], np.ones(points) / points
        if np.ptp(x) == 0 or np.ptp(y) == 0:
            return float("nan")
    u, v = (_standardised(field, w) for field in (x, y))
    first, second, classes = _pairs(_bytes(lat), _bytes(lon), class_km)
    pair = w[first] * w[second]
    in_class = np.bincount(classes, pair)
    share = np.where(in_class > 0, in_class, 1.0)
    covariance = [
        (np.bincount(classes, pair * field[first] * field[second]) / share) for field in (u, v)
    ]
    off = 1.0 - alone
    together = float((in_class * covariance[0] * covariance[1]).sum() / in_class.sum())
    rows = []
    for own in covariance:
        each = pair * own[classes]
        row = np.bincount(first, each, len(u)) + np.bincount(second, each, len(u))
        # Mean covariance of a place with all: its own variance (1) and that with the others.
        rows.append(alone + off * row / (w * (1.0 - w)))
    centre = [float((w * row).sum()) for row in rows]
    total = alone + off * together
    variance = total - 2.0 * float((w * rows[0] * rows[1]).sum()) + centre[0] * centre[1]
    variance /= (1.0 - centre[0]) * (1.0 - centre[1])
    most = 1.0 / alone
    return float(min(1.0 + 1.0 / variance, most)) if variance > 0 else most


def _bytes(degrees: np.ndarray) -> bytes:
    return np.asarray(degrees, dtype=np.float64).tobytes()


@lru_cache(maxsize=2)
def _pairs(
    lat: bytes, lon: bytes, class_km: float
) -> tuple[Int[np.ndarray, " pair"], Int[np.ndarray, " pair"], Int[np.ndarray, " pair"]]:
    """Return both places of all pairs and their class of distance.

    Kept for the next fields, because many of them are compared at the same places; 75 MB for 2,500
    places. Only pairs i < j, because the diagonal is known.
    """
    where = unit_vectors(np.frombuffer(lat), np.frombuffer(lon))
    first, second = np.triu_indices(len(where), 1)
    classes = (great_circle_km(where, where)[first, second] / class_km).astype(np.int64)
    return first, second, classes


def _standardised(values: np.ndarray, w: np.ndarray) -> np.ndarray:
    centred = np.asarray(values, dtype=np.float64) - np.average(values, weights=w)
    variance = float((w * centred**2).sum())
    if not variance > 0:
        raise ComparisonError("A field that is the same everywhere has no correlation.")
    return np.asarray(centred / np.sqrt(variance))


def correlation_test(
    x: Float[np.ndarray, " n"],
    y: Float[np.ndarray, " n"],
    lat: Float[np.ndarray, " n"],
    lon: Float[np.ndarray, " n"],
    weights: Float[np.ndarray, " n"] | None = None,
    points: int = MOST_POINTS,
    seed: int = 0,
) -> CorrelationTest:
    """Correlate two fields and test it, naively and with the effective number of cells.

    Parameters are those of :func:`effective_size`; r is weighted.

    Raises
    ------
    ComparisonError
        If a field is constant, or there are fewer than four places.
    """
    w = np.ones(len(x)) if weights is None else np.asarray(weights, dtype=np.float64)
    n_effective = effective_size(x, y, lat, lon, w, points, seed=seed)
    r = weighted_correlation(x, y, w)
    low, high = interval(r, n_effective)
    return CorrelationTest(
        r, len(x), n_effective, p_value(r, len(x)), p_value(r, n_effective), low, high
    )


def weighted_correlation(
    x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], weights: Float[np.ndarray, " n"]
) -> float:
    """Return Pearson's r of two fields, weighted.

    The fields are standardised first, as for :func:`effective_size`; the last digits of r therefore
    differ from those of :func:`proda.weighted.correlation`, which is NaN for a constant field.

    Raises
    ------
    ComparisonError
        If a field is constant.
    """
    w = np.asarray(weights, dtype=np.float64)
    w = w / w.sum()
    return float(np.clip((w * _standardised(x, w) * _standardised(y, w)).sum(), -1.0, 1.0))


def p_value(r: float, n: float) -> float:
    """Return the two-sided p of Student's t test of r from n independent pairs."""
    if not n > 2:
        return float("nan")
    if abs(r) >= 1.0:
        return 0.0
    return float(2.0 * stats.t.sf(abs(r) * np.sqrt((n - 2.0) / (1.0 - r**2)), n - 2.0))


def interval(r: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Return the ends of the interval of r from n independent pairs, by Fisher's z."""
    if not n > 3:
        return float("nan"), float("nan")
    if abs(r) >= 1.0:
        return r, r
    half = stats.norm.ppf(0.5 + level / 2.0) / np.sqrt(n - 3.0)
    return float(np.tanh(np.arctanh(r) - half)), float(np.tanh(np.arctanh(r) + half))


def difference_of_correlations(
    before: tuple[float, float], after: tuple[float, float], level: float = 0.95
) -> tuple[float, float, float]:
    """Return after - before, each (r, n_effective), with its interval.

    Zou (2007, Psychological Methods 12, 399-413), assuming that the two are independent, which is
    conservative where they are computed from the same cells.
    """
    ends = [interval(*each, level) for each in (before, after)]
    gain = after[0] - before[0]
    down = np.hypot(after[0] - ends[1][0], ends[0][1] - before[0])
    up = np.hypot(ends[1][1] - after[0], before[0] - ends[0][0])
    return gain, float(gain - down), float(gain + up)
