"""Limits by which sites of an assimilation are used for training (P-section 2.1)."""

from __future__ import annotations

from pydantic import Field

from proda.settings_table import SettingsTable

MAX_GELMAN_RUBIN = 1.05
"""The paper's limit of the mean Gelman-Rubin statistic."""
MIN_NASH_SUTCLIFFE = 0.0
"""The paper's limit of the Nash-Sutcliffe efficiency."""


class FilterSettings(SettingsTable):
    """Limits for the posterior of a site; the defaults are the paper's."""

    max_gelman_rubin: float = Field(
        MAX_GELMAN_RUBIN, description="Mean Gelman-Rubin statistic over parameters must be below."
    )
    min_nse: float = Field(
        MIN_NASH_SUTCLIFFE, description="Nash-Sutcliffe efficiency must be above."
    )
    max_rhat: float | None = Field(
        None,
        description="Largest rank-normalised R-hat must be below; without it there is no limit.",
    )
    min_ess: float | None = Field(
        None,
        description="Smallest effective size must be at least this; without it there is no limit.",
    )
