"""Which CLM history variables make up the carbon input of each litter pool.

A recipe gives, for each pool, the variables to add and their factors. It is data, so that a user
whose files hold other fluxes writes one (TOML) instead of code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from proda.errors import ForcingError
from proda.files import read_toml
from proda.forcing import LITTER

Recipe = Mapping[str, Mapping[str, float]]
"""Pool -> variable -> factor."""

TURNOVER: Recipe = {
    "CWD": {"CWDC_LOSS": 1.0},
    "ML": {"LITR1_HR": 1.0, "LITR1C_TO_SOIL1C": 1.0},
    "CL": {"LITR2_HR": 1.0, "LITR2C_TO_SOIL1C": 1.0, "CWDC_TO_LITR2C": -1.0},
    "LL": {"LITR3_HR": 1.0, "LITR3C_TO_SOIL2C": 1.0, "CWDC_TO_LITR3C": -1.0},
}
"""Carbon that leaves a pool by decomposition, less the transfer from CWD: at steady state this
equals the input from plants. Litter that burns is not counted, as it never decomposes."""

LITTERFALL: Recipe = {
    "CWD": {"WOODC_LOSS": 1.0},
    "ML": {"LITFALL": 0.25},
    "CL": {"LITFALL": 0.50},
    "LL": {"LITFALL": 0.25},
}
"""Litterfall of leaves and fine roots in CLM5's shares, a quarter labile, a half cellulose, a
quarter lignin for every plant functional type and for leaves and roots (clm5_params: lf_flab,
lf_fcel, lf_flig, fr_flab, fr_fcel, fr_flig); and the loss of wood."""

BUILT_IN: Mapping[str, Recipe] = {"turnover": TURNOVER, "litterfall": LITTERFALL}
"""In the order in which `auto` tries them."""


def variables(recipe: Recipe) -> list[str]:
    """Names of the variables that a recipe adds, each once."""
    return list(dict.fromkeys(name for terms in recipe.values() for name in terms))


def describe(recipe: Recipe) -> str:
    """Return a recipe as a line of text, for the attributes of files."""
    return "; ".join(
        f"{pool} = " + " ".join(f"{factor:+g} {name}" for name, factor in terms.items())
        for pool, terms in recipe.items()
    )


def from_npp(shares: Sequence[float]) -> Recipe:
    """NPP split by fixed shares for CWD, ML, CL and LL.

    Raises
    ------
    ForcingError
        If there are not four shares of 0 or more that add up to 1.
    """
    if len(shares) != len(LITTER) or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise ForcingError(
            f"The shares of NPP are {', '.join(f'{s:g}' for s in shares)}; give four, for "
            f"{', '.join(LITTER)}, that add up to 1."
        )
    return {pool: {"NPP": float(s)} for pool, s in zip(LITTER, shares, strict=True)}


def choose(kind: str, shares: Sequence[float] | None, present: Iterable[str]) -> tuple[str, Recipe]:
    """Choose the recipe.

    Parameters
    ----------
    kind
        `auto` (the first of `turnover`, `litterfall` whose variables are all there), one of these,
        `npp` (needs `shares`), or the path of a TOML file with one table per pool.
    shares
        For `npp`: the shares of CWD, ML, CL and LL. There is no default: NPP alone does not
        determine the share of wood.
    present
        Variables that the files have.

    Raises
    ------
    ForcingError
        With the variables that each recipe lacks.
    """
    have = set(present)
    if shares is not None and kind not in ("auto", "npp"):
        raise ForcingError(f"Shares of NPP were given, but the litter inputs are set to {kind!r}.")
    if kind == "npp" or (kind == "auto" and shares is not None):
        if shares is None:
            raise ForcingError(
                "NPP alone does not determine the input of each litter pool: give the shares of "
                f"{', '.join(LITTER)}."
            )
        return _checked("npp", from_npp(shares), have)
    if kind in BUILT_IN:
        return _checked(kind, BUILT_IN[kind], have)
    if kind != "auto":
        return _checked(kind, from_toml(kind), have)
    lacks = []
    for name, recipe in BUILT_IN.items():
        missing = [v for v in variables(recipe) if v not in have]
        if not missing:
            return name, recipe
        lacks.append(f"{name} lacks {', '.join(missing)}")
    raise ForcingError(
        f"The litter inputs cannot be computed: {'; '.join(lacks)}. Add these variables to the "
        "files, give shares of NPP, or a recipe of your own (TOML)."
    )


def _checked(name: str, recipe: Recipe, have: set[str]) -> tuple[str, Recipe]:
    if missing := [v for v in variables(recipe) if v not in have]:
        raise ForcingError(
            f"The litter inputs ({name}) need {', '.join(missing)}, which the history files lack."
        )
    return name, recipe


def from_toml(path: str) -> Recipe:
    """Read a recipe: tables CWD, ML, CL, LL, each with `VARIABLE = factor` lines."""
    try:
        content = read_toml(path, ForcingError)
    except ForcingError as error:
        raise ForcingError(
            f"litter {path!r}: not auto, turnover, litterfall or npp, and not a readable "
            f"TOML file ({error})."
        ) from error
    if sorted(content) != sorted(LITTER):
        raise ForcingError(
            f"{path}: has the tables {', '.join(content) or 'none'}; expected {', '.join(LITTER)}."
        )
    for pool, terms in content.items():
        if (
            not isinstance(terms, dict)
            or not terms
            or not all(type(f) in (int, float) for f in terms.values())
        ):
            raise ForcingError(f"{path}: [{pool}] needs lines of the form VARIABLE = factor.")
    return {pool: {n: float(f) for n, f in content[pool].items()} for pool in LITTER}
