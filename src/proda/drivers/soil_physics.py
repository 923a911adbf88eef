"""Soil temperature, water potential and scalars from simple rules.

Equations: docs/theory.md#forcing-estimated-from-climate.

Pure functions of arrays; each works on any leading dimensions. Depths come from the grid.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from proda.drivers.forcing_settings import W_FLOOR
from proda.forcing import N_MONTHS
from proda.grid import CLM5_GRID, Grid

FREEZING_K = 273.15
DAMPING_DEPTH_M = 2.24
"""Depth at which the annual wave has fallen to 1/e: sqrt(2 D / omega), D = 5e-7 m2 s-1."""
DIURNAL_RANGE_K = 10.0
"""Part of (tmax - tmin) of months that is the daily, not the annual, wave."""
SNOW_DAMPING = 0.6
"""Share of the annual wave that snow lets through where the coldest month is below freezing."""
HARMONICS = (1, 2, 4, 6, 8)
"""Harmonics of the year that describe a wave whose winter half is damped."""
DAYS_PER_YEAR = 365.0
SECONDS_PER_DAY = 86400.0

GRAVITY = 9.81
LATENT_HEAT_OF_FUSION = 3.337e5
"""J kg-1."""
MPA_PER_MM = 1e-6 * GRAVITY
"""A column of 1 mm of water weighs 9.81 Pa."""
WATER_DENSITY = 1e3
"""kg m-3."""
THAWED_CONDUCTIVITY = 1.0
"""Thermal conductivity of thawed soil, W m-1 K-1: peat has about 0.5, moist mineral soil 1.5."""
LEAST_WATER_STEFAN = 0.05
"""Smallest water content (m3 m-3) used in Stefan's equation: it has no solution in dry soil."""
PSI_MIN_MPA = -2.0
PSI_MIN_DECOMPOSERS_MPA = -15.0
"""Potential at which microbial respiration ends in mineral soil (Manzoni et al. 2012), MPa."""
PSI_MAX_MPA = -0.002


def annual_amplitude(
    tmax_warmest: Float[np.ndarray, "*n"], tmin_coldest: Float[np.ndarray, "*n"]
) -> Float[np.ndarray, "*n"]:
    """Amplitude of the annual wave of surface temperature, K.

    max(0, (tmax_warmest - tmin_coldest - 10)/2), times 0.6 where the minimum of the coldest month
    is below 0 C, which stands for snow. Both temperatures in degrees Celsius.
    """
    amplitude = np.maximum(0.0, (tmax_warmest - tmin_coldest - DIURNAL_RANGE_K) / 2)
    return np.where(tmin_coldest < 0, SNOW_DAMPING, 1.0) * amplitude


def air_wave(
    tmax_warmest: Float[np.ndarray, "*n"], tmin_coldest: Float[np.ndarray, "*n"]
) -> tuple[Float[np.ndarray, "*n"], Float[np.ndarray, "*n"]]:
    """Mean (degrees Celsius) and amplitude (K) of the annual wave of monthly air temperature.

    The amplitude is :func:`annual_amplitude` without snow; half of the daily range lies between a
    month's mean and its maximum or minimum.
    """
    amplitude = np.maximum(0.0, (tmax_warmest - tmin_coldest - DIURNAL_RANGE_K) / 2)
    return (tmax_warmest + tmin_coldest) / 2, amplitude


def thawing_index(
    mean: Float[np.ndarray, "*n"], amplitude: Float[np.ndarray, "*n"]
) -> Float[np.ndarray, "*n"]:
    """Sum over the year of the degrees above 0 C of mean + amplitude cos(t), degree days."""
    within = np.clip(mean, -amplitude, amplitude)  # beyond, it thaws all year or never
    flat = np.where(mean > 0, 1.0, -1.0)
    ratio = np.divide(within, amplitude, where=amplitude > 0, out=flat)
    half = np.arccos(-ratio)  # half of the thawing season, as an angle
    return DAYS_PER_YEAR / np.pi * np.maximum(amplitude * np.sin(half) + mean * half, 0.0)


def stefan_depth(
    index: Float[np.ndarray, "*n"],
    saturation: Float[np.ndarray, "*n"],
    sand: Float[np.ndarray, "*n"],
    grid: Grid = CLM5_GRID,
) -> Float[np.ndarray, "*n"]:
    """Thaw depth by Stefan's equation, m (Lunardini 1981; Nelson et al. 1997).

    sqrt(2 k I / (rho L theta)): k = 1 W m-1 K-1, I the thawing index at the surface (the thawing
    n-factor is 1), theta = saturation x porosity with porosity = 0.489 - 0.00126 sand (Cosby et
    al. 1984). Not deeper than the grid.

    Parameters
    ----------
    index
        Degree days above 0 C.
    saturation
        Water and ice as a share of pore space.
    sand
        Per cent.
    """
    water = np.maximum(saturation * (0.489 - 0.00126 * sand), LEAST_WATER_STEFAN)
    energy = WATER_DENSITY * LATENT_HEAT_OF_FUSION * water
    depth = np.sqrt(2 * THAWED_CONDUCTIVITY * index * SECONDS_PER_DAY / energy)
    return np.minimum(depth, grid.interface[-1])


def soil_temperature_under_snow(
    mean: Float[np.ndarray, "*n"],
    amplitude: Float[np.ndarray, "*n"],
    winter: Float[np.ndarray, "*n"],
    latitude: Float[np.ndarray, "*n"],
    grid: Grid = CLM5_GRID,
) -> Float[np.ndarray, "*n layer month"]:
    """Monthly soil temperature, K, where snow damps the winter half of the annual wave alone.

    At the surface the wave is amplitude cos(t) in the summer half and `winter` times that in the
    winter half, less its own mean: `mean` stays the annual mean. Its Fourier series is
    (1+winter)/2 cos t + (1-winter)/2 (2/pi) sum over even k of 2 (-1)^(k/2+1)/(k^2-1) cos kt. Each
    harmonic k is damped and delayed with depth as the heat equation has it, by z sqrt(k) / 2.24 m.

    Parameters
    ----------
    mean
        Mean annual soil temperature, degrees Celsius.
    amplitude
        Amplitude of the wave without snow, K.
    winter
        Share of the winter half that reaches the soil, 0-1; 1 gives :func:`soil_temperature`.
    latitude
        Degrees north.
    """
    month = np.arange(1, N_MONTHS + 1)
    warmest = np.where(latitude >= 0, 7, 1)[..., None, None]
    angle = 2 * np.pi * (month - warmest) / N_MONTHS
    wave = np.zeros((*np.shape(mean), len(grid), N_MONTHS))
    for k in HARMONICS:
        if k == 1:
            share = (1 + winter) / 2
        else:
            share = (1 - winter) * 2 / np.pi * (-1.0) ** (k // 2 + 1) / (k**2 - 1)
        lag = (np.sqrt(k) * grid.node / DAMPING_DEPTH_M)[:, None]
        wave += share[..., None, None] * np.exp(-lag) * np.cos(k * angle - lag)
    return FREEZING_K + mean[..., None, None] + amplitude[..., None, None] * wave


def soil_temperature(
    mean: Float[np.ndarray, "*n"],
    amplitude: Float[np.ndarray, "*n"],
    latitude: Float[np.ndarray, "*n"],
    grid: Grid = CLM5_GRID,
) -> Float[np.ndarray, "*n layer month"]:
    """Monthly soil temperature, K: an annual wave damped and delayed with depth.

    T(z, m) = mean + amplitude exp(-z/d) cos(2 pi (m - m_warm)/12 - z/d), d = 2.24 m, warmest in
    July (m = 7) from the equator northwards and in January (m = 1) south of it.

    Parameters
    ----------
    mean
        Mean annual soil temperature, degrees Celsius.
    amplitude
        Amplitude at the surface, K.
    latitude
        Degrees north.
    grid
        Its node depths are used.
    """
    lag = (grid.node / DAMPING_DEPTH_M)[:, None]
    month = np.arange(1, N_MONTHS + 1)
    warmest = np.where(latitude >= 0, 7, 1)[..., None, None]
    wave = np.exp(-lag) * np.cos(2 * np.pi * (month - warmest) / N_MONTHS - lag)
    return FREEZING_K + mean[..., None, None] + amplitude[..., None, None] * wave


def active_layer_depth(
    temperature: Float[np.ndarray, "*n layer month"], grid: Grid = CLM5_GRID
) -> Float[np.ndarray, "*n"]:
    """Deepest depth that is above 0 C in some month, m.

    Temperature (K) is linear between nodes. 0 where no node ever thaws; the bottom of the grid
    (8.6 m) where the deepest node does.
    """
    above = temperature > FREEZING_K
    thaws = np.asarray(above.any(axis=-1))
    n = len(grid)
    deepest = n - 1 - np.argmax(thaws[..., ::-1], axis=-1)
    upper = np.take_along_axis(temperature, deepest[..., None, None], axis=-2)[..., 0, :]
    next_node = np.minimum(deepest + 1, n - 1)
    lower = np.take_along_axis(temperature, next_node[..., None, None], axis=-2)[..., 0, :]
    excess = np.maximum(upper - FREEZING_K, 0.0)
    # Below the deepest node that thaws every month is at or below 0 C, so no divisor is negative.
    fall = np.where(excess > 0, excess + FREEZING_K - lower, 1.0)
    share = np.max(np.divide(excess, fall, where=fall > 0, out=np.zeros_like(fall)), axis=-1)
    depth = grid.node[deepest] + share * (grid.node[next_node] - grid.node[deepest])
    depth = np.where(deepest == n - 1, grid.interface[-1], depth)
    return np.where(thaws.any(axis=-1), depth, 0.0)


def water_potential(
    saturation: Float[np.ndarray, "*n"],
    sand: Float[np.ndarray, "*n"],
    clay: Float[np.ndarray, "*n"],
) -> Float[np.ndarray, "*n"]:
    """Matric potential of liquid water, MPa (Clapp and Hornberger 1978; Cosby et al. 1984).

    psi_sat s^-B with B = 2.91 + 0.159 clay and psi_sat = -10 x 10^(1.88 - 0.0131 sand) mm.

    Parameters
    ----------
    saturation
        Liquid water as a share of pore space, 0-1; 0 gives -infinity.
    sand, clay
        Per cent.
    """
    exponent = 2.91 + 0.159 * clay
    at_saturation = -10.0 * 10.0 ** (1.88 - 0.0131 * sand) * MPA_PER_MM
    with np.errstate(divide="ignore", over="ignore"):  # dry soil: -infinity is the right answer
        return at_saturation * np.power(saturation, -exponent)


def freezing_potential(temperature: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Potential at which water freezes at `temperature` (K), MPa; 0 above 0 C.

    1e3 L_f (T - 273.15) / (9.81 T) mm: water at a higher potential would be ice (Clausius and
    Clapeyron; the freezing-point depression, about -1.2 MPa per K).
    """
    below = np.minimum(temperature - FREEZING_K, 0.0)
    return 1e3 * LATENT_HEAT_OF_FUSION * below / (GRAVITY * temperature) * MPA_PER_MM


def water_scalar(
    potential: Float[np.ndarray, "*n"], floor: float = W_FLOOR, psi_min: float = PSI_MIN_MPA
) -> Float[np.ndarray, "*n"]:
    """Water scalar of decomposition (Andren and Paustian 1987, as in CLM), `floor` to 1.

    ln(psi_min/psi) / ln(psi_min/psi_max), psi_min = -2 MPa, psi_max = -0.002 MPa; 0 where drier
    than psi_min and 1 where wetter than psi_max.

    Parameters
    ----------
    potential
        Soil water potential, MPa (not above 0); NaN stays NaN.
    floor
        Least value. 0 is CLM's own; 0.05 keeps a steady state in soil that is
        frozen or dry all year.
    psi_min
        Potential at which decomposition ends, MPa.
    """
    bounded = np.clip(potential, psi_min, PSI_MAX_MPA)
    scalar = np.log(psi_min / bounded) / np.log(psi_min / PSI_MAX_MPA)
    return np.clip(scalar, floor, 1.0)


def miami_npp(
    air_temperature: Float[np.ndarray, "*n"], precipitation: Float[np.ndarray, "*n"]
) -> Float[np.ndarray, "*n"]:
    """Net primary production of the Miami model, g C m-2 yr-1 (Lieth 1975).

    Half (carbon in dry matter) of min(3000/(1 + exp(1.315 - 0.119 T)),
    3000 (1 - exp(-0.000664 P))), T the annual mean in degrees Celsius, P in mm yr-1.
    """
    warmth = 3000 / (1 + np.exp(1.315 - 0.119 * air_temperature))
    water = 3000 * (1 - np.exp(-0.000664 * precipitation))
    return 0.5 * np.minimum(warmth, water)


LEAST_OXYGEN = 0.2
"""CLM5's smallest oxygen scalar (`mino2lim`): decomposition in soil without oxygen."""
DRAINAGE = {
    "very_poor": (0.0, 1.0),
    "poor": (0.25, 0.5),
    "imperfect": (0.5, 0.25),
    "moderately_well": (np.inf, 0.0),
    "well": (np.inf, 0.0),
    "somewhat_excessive": (np.inf, 0.0),
    "excessive": (np.inf, 0.0),
}
"""Drainage class: depth of free water (m), and share of the year in which the soil below is wet.

Depths after the Soil Survey Manual (Soil Science Division Staff 2017, chapter 3); the shares put
numbers on its words "persistent", "long periods" and "significant short periods".
"""


def oxygen_scalar(
    water_table: Float[np.ndarray, "*n"],
    wet_share: Float[np.ndarray, "*n"],
    grid: Grid = CLM5_GRID,
) -> Float[np.ndarray, "*n layer"]:
    """Oxygen scalar: 1 above free water; below, 0.2 (CLM5's least) in the wet share of the year.

    Parameters
    ----------
    water_table
        Depth of free water, m; infinite where there is none. Nodes below it are wet.
    wet_share
        Share of the year, 0-1.
    """
    below = grid.node > water_table[..., None]
    return np.where(below, 1.0 - (1.0 - LEAST_OXYGEN) * wet_share[..., None], 1.0)
