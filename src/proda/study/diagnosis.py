"""Results of a diagnosis: a table, the posteriors for training, figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from proda.files import write_csv, write_dataset
from proda.inference.assessment import Assessment, kept_posterior
from proda.inference.stream_fit import stream_fit
from proda.learning.learning_settings import LearningSettings
from proda.learning.targets import targets
from proda.models.registry import load_recorded
from proda.observations.land import open_land_mask

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure


def write_table(assessment: Assessment, path: Path) -> None:
    """Write one row per site, with its verdict and the limits (CSV)."""
    limits = {name: value for name, value in asdict(assessment.limits).items() if value is not None}
    write_csv(assessment.sites.assign(is_posterior=assessment.caveat or "yes", **limits), path)


def write_kept(assessment: Assessment, path: Path) -> xr.Dataset:
    """Write the posteriors of the kept sites, for training.

    Raises
    ------
    LearningError
        If a network cannot be trained on them.
    """
    kept = kept_posterior(assessment)
    targets(kept, LearningSettings())  # refuses posteriors on which no network can be trained
    write_dataset(kept, path)
    return kept


def figures_of(
    assessment: Assessment,
    draws: xr.Dataset,
    *,
    site: str | None = None,
    land_mask: Path | None = None,
) -> dict[str, Callable[[], Figure]]:
    """Return the figures of an assimilation by name, as functions that draw them.

    Parameters
    ----------
    assessment
        From :func:`proda.inference.assessment.assess`.
    draws
        Posterior draws, from :func:`proda.inference.assimilation_run.open_posterior`.
    site
        Site whose chains are drawn; by default the one with the poorest mixing.
    land_mask
        File with land_fraction or land_mask, drawn behind the map of sites.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from proda.plots import assimilation, assimilation_marginals, assimilation_sites
    from proda.plots.streams import stream_scatter

    land = open_land_mask(land_mask, tolerance=0.0).grid() if land_mask is not None else None
    rows = load_recorded(assessment.summary.attrs, "this posterior").rows
    defaults = {row.name: row.default for row in rows}
    of_streams = {"streams": lambda: stream_scatter(assessment.summary)}
    return {
        "verdicts_map": lambda: assimilation_sites.site_verdicts(assessment, land),
        "convergence_and_fit": lambda: assimilation_sites.convergence_and_fit(assessment),
        "information": lambda: assimilation_sites.information(assessment),
        "layers": lambda: assimilation_sites.layers(assessment),
        "profiles": lambda: assimilation.profiles(
            assessment, assimilation.spread_of_fit(assessment, 12)
        ),
        "marginals": lambda: assimilation_marginals.marginals(assessment, draws, defaults),
        "traces": lambda: assimilation.traces(
            assessment, draws, site or assimilation.worst_site(assessment)
        ),
        **(of_streams if len(stream_fit(assessment.summary)) else {}),
    }
