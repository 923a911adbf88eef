"""Bulk density from organic matter: BD = alpha + beta exp(-gamma OM) (Grigal et al. 1989).

BD in g cm-3, OM = 1.724 x organic carbon (P-section 2.1; docs/theory.md#observation). The paper
states carbon in per cent, but its constants fit only with organic matter in g kg-1; `compare` shows
this for any data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import optimize

from proda.errors import ObservationError

OM_PER_SOC = 1.724
"""Organic matter per organic carbon (van Bemmelen)."""

MINIMUM_LAYERS = 100

ORGANIC_SOC = 120.0
"""Organic horizons have at least this much carbon, g kg-1 (WRB: 12 to 18 %, by clay)."""


@dataclass(frozen=True)
class Pedotransfer:
    """The three constants, with organic matter in g kg-1.

    Parameters
    ----------
    alpha, beta
        g cm-3: density of pure organic matter (approximately), and the excess of mineral soil.
    gamma
        kg g-1.
    name
        Where they come from.
    errors
        Standard errors of the three, allowing for correlation of layers within a profile; empty if
        unknown.
    """

    alpha: float
    beta: float
    gamma: float
    name: str
    errors: tuple[float, ...] = ()

    def density(self, soc: np.ndarray) -> np.ndarray:
        """Return the bulk density of the fine earth, kg m-3, from carbon content in g kg-1."""
        return 1000.0 * (self.alpha + self.beta * np.exp(-self.gamma * OM_PER_SOC * soc))

    def per_cent_reading(self) -> Pedotransfer:
        """Return the curve of the same constants if they refer to OM in per cent."""
        return Pedotransfer(self.alpha, self.beta, self.gamma / 10.0, f"{self.name}, OM in %")


PAPER = Pedotransfer(0.32, 1.30, 0.0089, "paper")
"""Fitted by the paper to 78,913 layers of WoSIS 2019 (R2 0.55)."""


def fit(soc: np.ndarray, density: np.ndarray, profile: np.ndarray) -> Pedotransfer:
    """Fit the constants by least squares.

    Parameters
    ----------
    soc
        Organic carbon, g kg-1, (layer,).
    density
        Measured bulk density of the fine earth, kg m-3, (layer,).
    profile
        Number of each layer's profile, (layer,): layers of one profile are not independent, so
        the standard errors are those of whole profiles (cluster-robust sandwich).

    Raises
    ------
    ObservationError
        If there are too few layers, or they do not determine the constants.
    """
    if len(soc) < MINIMUM_LAYERS:
        raise ObservationError(
            f"Only {len(soc)} layers have both carbon content and bulk density; the pedotransfer "
            f"function needs {MINIMUM_LAYERS}. Use pedotransfer = 'paper' or give its constants."
        )
    om, bd = OM_PER_SOC * soc, density / 1000.0

    def curve(om: np.ndarray, alpha: float, beta: float, gamma: float) -> np.ndarray:
        return alpha + beta * np.exp(-gamma * om)

    try:
        constants, _ = optimize.curve_fit(
            curve,
            om,
            bd,
            p0=(PAPER.alpha, PAPER.beta, PAPER.gamma),
            x_scale=(1.0, 1.0, 0.01),
            bounds=((0.0, 0.0, 1e-5), (2.0, 3.0, 1.0)),
        )
    except (RuntimeError, ValueError) as error:
        raise ObservationError(
            f"The pedotransfer function could not be fitted to {len(soc)} layers ({error})."
        ) from error
    alpha, beta, gamma = (float(c) for c in constants)
    decay = np.exp(-gamma * om)
    slopes = np.stack([np.ones_like(om), decay, -beta * om * decay], axis=1)
    residual = bd - curve(om, alpha, beta, gamma)
    scores = np.zeros((int(profile.max()) + 1, 3))
    np.add.at(scores, profile, slopes * residual[:, None])
    # Scaled columns: gamma's slope is a thousand times the others.
    if np.linalg.matrix_rank(slopes / np.linalg.norm(slopes, axis=0)) < 3:
        raise ObservationError(
            "The layers do not determine the pedotransfer function: their carbon contents are too "
            "much alike. Use pedotransfer = 'paper' or give its constants."
        )
    bread = np.linalg.inv(slopes.T @ slopes)
    errors = np.sqrt(np.diag(bread @ scores.T @ scores @ bread))
    return Pedotransfer(alpha, beta, gamma, "refit", tuple(float(e) for e in errors))


def compare(curves: Sequence[Pedotransfer], soc: np.ndarray, density: np.ndarray) -> pd.DataFrame:
    """Return measures of the fit of each curve to measured layers (g kg-1, kg m-3).

    Columns: the constants; r2 = 1 - SSE/SST, negative where the curve is worse than the mean; rmse
    and bias, g cm-3; log_rms, the root mean square of ln(estimate/measured), which carries over to
    the stock; organic_ratio, the median of estimate/measured over the n_organic layers with more
    than 120 g kg-1 carbon (NaN where there are none); n.
    """
    bd = density / 1000.0
    organic = soc > ORGANIC_SOC
    total = float(np.sum((bd - bd.mean()) ** 2))
    rows = []
    for curve in curves:
        estimate = curve.density(soc) / 1000.0
        residual, ratio = bd - estimate, estimate / bd
        rows.append(
            {
                "name": curve.name,
                "alpha": curve.alpha,
                "beta": curve.beta,
                "gamma": curve.gamma,
                "r2": 1.0 - float(residual @ residual) / total,
                "rmse": float(np.sqrt(np.mean(residual**2))),
                "bias": float(-residual.mean()),
                "log_rms": float(np.sqrt(np.mean(np.log(ratio) ** 2))),
                "organic_ratio": float(np.median(ratio[organic]))
                if organic.any()
                else float("nan"),
                "n_organic": int(organic.sum()),
                "n": len(bd),
            }
        )
    return pd.DataFrame(rows)
