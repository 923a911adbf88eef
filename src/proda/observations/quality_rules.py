"""The rules by name, in the order in which they are applied, and their limits.

Layers are judged individually first, then each profile by its remaining layers; the first rule that
applies is the reason (`quality` applies them).
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

SocBasis = Literal["organic carbon", "total carbon", "total minus inorganic carbon", "spectroscopy"]
"""Kinds of carbon values; the same as `schema.SOC_BASES`."""

LAYER_REASONS: dict[str, str] = {
    "no_profile_row": "no row of the profile table has this layer's profile",
    "depth_missing": "a bound is missing or infinite",
    "litter": "lies on the mineral soil (negative depth, or written upwards), or the source calls "
    "it litter",
    "depth_inverted": "lower bound above the upper bound, or depths that count down as negative "
    "numbers",
    "depth_no_thickness": "lower bound equal to the upper bound",
    "depth_implausible": "lower bound deeper than max_depth, or as far above the mineral soil",
    "values_conflict": "another row with the same bounds, without carbon, gives another density or "
    "other stones",
    "row_joined": "a row without carbon whose density or other values fill the row with carbon and "
    "the same bounds",
    "soc_missing": "neither carbon content nor carbon stock",
    "soc_negative": "carbon below 0",
    "soc_zero": "carbon exactly 0: below detection, and without a logarithm",
    "soc_impossible": "carbon content above max_soc, or given stock above max_stock",
    "soc_basis_excluded": "the carbon number is of a kind listed in exclude_soc_basis",
    "total_carbon_alkaline": "total carbon, carbonate not measured, pH above total_carbon_max_ph",
    "coarse_impossible": "coarse fragments below 0 %, or no fine earth left (100 % or more)",
    "density_impossible": "bulk density outside min_density-max_density (as fine earth too), or "
    "a carbon stock above max_stock with it",
    "repeated_layer": "the same bounds and values as another layer of the profile",
    "replicate_averaged": "the same bounds as another layer, other values: averaged into it",
}
"""Reasons a layer is left out for, in the order in which the rules are applied."""

PROFILE_REASONS: dict[str, str] = {
    "coordinates_conflict": "several rows with this identifier and different coordinates",
    "coordinates_missing": "latitude or longitude missing",
    "coordinates_swapped": "in the sea or out of range as given, on land when swapped",
    "coordinates_out_of_range": "latitude beyond 90 or longitude beyond 180 degrees",
    "coordinates_zero": "exactly 0 N 0 E",
    "coordinates_in_sea": "farther than coast_tolerance from land (only with a land mask)",
    "location_uncertain": "stated location error above max_location_error",
    "treated": "manipulated plot",
    "depths_reconstructed": "bounds reconstructed from mid-depths",
    "no_layers": "no row of the layer table has this profile",
    "no_valid_layers": "every layer was left out",
    "layers_overlap": "layers overlap by more than overlap_tolerance",
    "layers_gapped": "more than max_gap without a value between layers",
    "top_missing": "the first layer starts deeper than max_top_depth",
    "too_few_layers": "fewer than min_layers layers are left",
    "too_shallow": "the deepest layer left does not reach below min_max_depth",
    "duplicate": "the same profile from another source, or twice from one",
}
"""Reasons a profile is left out for, in the order in which the rules are applied."""


class Rules(BaseModel):
    """Limits and choices of the rules; every default is here."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    min_layers: int = Field(
        3, ge=1, description="Minimum number of layers of a profile (the study: more than two)."
    )
    min_max_depth: float = Field(
        0.5, ge=0, description="A profile must extend below this depth, m (the study: 50 cm)."
    )
    max_depth: float = Field(10.0, gt=0, description="Maximum plausible lower bound, m.")
    max_soc: float = Field(
        600.0,
        gt=0,
        le=1000,
        description="Highest plausible content, g kg-1 (pure organic matter: 580).",
    )
    max_stock: float = Field(
        3e5, gt=0, description="Maximum plausible stock, g m-3; dense peat has 1e5."
    )
    min_density: float = Field(10.0, ge=0, description="Minimum plausible bulk density, kg m-3.")
    max_density: float = Field(
        2300.0, gt=0, description="Maximum plausible bulk density, kg m-3 (mineral grains: 2650)."
    )
    impossible_density: Literal["reject", "estimate"] = Field(
        "reject",
        description="A layer with an impossible density is left out, or keeps its carbon and gets "
        "an estimated density.",
    )
    overlap_tolerance: float = Field(
        0.005, ge=0, description="Overlap that is treated as rounding, m."
    )
    replicates: Literal["average", "reject"] = Field(
        "average",
        description="Layers with equal bounds and other values are averaged, or left as an "
        "overlap, which rejects the profile.",
    )
    max_gap: float | None = Field(
        None,
        ge=0,
        description="Maximum sum of gaps, m; by default unlimited: each layer is "
        "compared with the model on its own.",
    )
    max_top_depth: float | None = Field(
        None,
        ge=0,
        description="Maximum depth at which the first layer starts, m; by default unlimited.",
    )
    exclude_treated: bool = Field(True, description="Leave out plots known to be manipulated.")
    exclude_reconstructed: bool = Field(
        False, description="Leave out profiles whose bounds are reconstructed from mid-depths."
    )
    exclude_soc_basis: tuple[SocBasis, ...] = Field(
        ("spectroscopy",), description="Kinds of carbon number that are left out."
    )
    total_carbon_max_ph: float = Field(
        7.2,
        description="Total carbon counts as organic only up to this pH (carbonate above it); "
        "a layer of unknown pH is kept.",
    )
    max_location_error: float | None = Field(
        None, gt=0, description="Maximum stated location error, degrees; by default unlimited."
    )
    coast_tolerance: float = Field(
        0.5,
        ge=0,
        description="Tolerance at the coast: points within this distance of land are "
        "on land, degrees.",
    )
    prefer: tuple[str, ...] = Field(
        (),
        description="Sources or collections in the order in which they are kept where one profile "
        "came from several; the others follow in the order of the settings.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Rules:
        if self.min_density >= self.max_density:
            raise ValueError("min_density must be below max_density")
        return self
