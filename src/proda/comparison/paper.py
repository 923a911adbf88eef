"""Numbers of Tao et al. (2023) with which a run is compared (P-section 3)."""

from __future__ import annotations

PAIR = ("clm5", "compas")
"""The paper's models, in the order of its differences (COMPAS minus CLM5)."""

TOTALS = {
    ("clm5", "before"): 1281.0,
    ("compas", "before"): 1308.0,
    ("clm5", "after"): 1469.0,
    ("compas", "after"): 1507.0,
}
"""Soil carbon in 0-100 cm, Pg C."""

CORRELATIONS = {
    ("cSoilAbove1m", "before"): -0.026,
    ("cSoilAbove1m", "after"): 0.51,
    ("CTE", "after"): 0.52,
    ("K", "after"): 0.55,
    ("XI", "after"): 0.80,
}
"""Pearson correlation between the models over land; soil carbon as logarithm."""

MICHAELIS_RATIO = 100.0
"""Michaelis constant over substrate above which decay counts as first order in its substrate."""

PARAMETER_VALUES = {"clm5": 1.41e6, "compas": 1.37e6}
"""Parameter values estimated at sites (P-section 4.3)."""

MICROBES_MEASURED = (0.017, 0.0044, 0.0496)
"""Microbial over soil organic carbon, measured: median, 5 and 95 % of 2,666 samples, mostly of the
top 10 cm and half of them of cropland (Xu, Thornton and Post 2013, Global Ecology and Biogeography
22, 737-749; ORNL DAAC data set 1264). Not of Tao et al. (2023)."""

MICROBES_SAMPLES = (
    "microbial over soil organic carbon of 2,666 samples, mostly of the top 10 cm and half of them "
    "of cropland (Xu, Thornton and Post 2013, Global Ecology and Biogeography 22, 737-749)"
)
"""Description of these numbers, for captions and notes."""
