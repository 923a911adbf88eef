"""Where parameters at cells come from: an ensemble, the ad hoc defaults, or one set for all."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from proda.default_b import b_where_needed
from proda.errors import ParameterError
from proda.forcing import Forcing
from proda.models.model import SoilModel
from proda.parameters import Bounds, as_arrays
from proda.simulate import default_parameters

Predict = Callable[[np.ndarray], np.ndarray]
"""Positions in the list of land cells -> (member, cell, parameter), in the registry's order."""

Member = dict[str, np.ndarray]
"""Checked parameters of one member: name -> (cell,) or (cell, layer)."""


class ParameterSource(abc.ABC):
    """Gives the parameters of any cells, so that those of the whole grid are never in memory."""

    @abc.abstractmethod
    def at(
        self, model: SoilModel, cells: Int[np.ndarray, " cell"], forcing: Forcing, bounds: Bounds
    ) -> tuple[list[Member], Bool[np.ndarray, "member cell"]]:
        """Return the checked parameters of each member, and where they are known at all."""


@dataclass(frozen=True)
class EnsembleParameters(ParameterSource):
    """Parameters of several members, in physical units.

    Parameters
    ----------
    predict
        Called with positions in the list of land cells (:func:`proda.maps.cells.land_cells`),
        returns (member, cell, parameter) in the order of `model.rows`. A cell for which nothing
        can be predicted is NaN in all its parameters; it is counted as `no_parameters`.
    """

    predict: Predict

    def at(
        self, model: SoilModel, cells: Int[np.ndarray, " cell"], forcing: Forcing, bounds: Bounds
    ) -> tuple[list[Member], Bool[np.ndarray, "member cell"]]:
        """Call `predict` and check what it returns."""
        return checked_members(self.predict(cells), model, forcing, bounds)


def checked_members(
    values: Float[np.ndarray, "member cell parameter"],
    model: SoilModel,
    forcing: Forcing,
    bounds: Bounds,
) -> tuple[list[Member], Bool[np.ndarray, "member cell"]]:
    """Return the parameters of each member by name, and where they are known at all.

    Parameters
    ----------
    values
        Physical values in the order of `model.rows`; NaN in all parameters of a cell without any.
    model, forcing, bounds
        The model, the cells, and the limits to hold to.

    Raises
    ------
    ParameterError
        If the shape is another one, a cell has some of its parameters only, or a value is outside
        the bounds, naming parameter and cell.
    """
    values = np.asarray(values, dtype=np.float64)
    expected = (len(forcing), len(model.rows))
    if values.ndim != 3 or values.shape[1:] != expected or values.shape[0] == 0:
        raise ParameterError(
            f"Parameters at cells have the shape {values.shape}; expected (member, cell, "
            f"parameter) = (1 or more, {expected[0]}, {expected[1]})."
        )
    absent = np.isnan(values)
    known = np.logical_not(absent.all(axis=2))
    if (partly := absent.any(axis=2) & known).any():
        member, cell = (int(i) for i in np.argwhere(partly)[0])
        name = model.rows[int(np.argmax(absent[member, cell]))].name
        raise ParameterError(
            f"{name} is missing (NaN) at {forcing.site[cell]}, member {member + 1}, where "
            "other parameters are given; a cell needs all of them, or NaN in all."
        )
    # Not a fill: whatever is computed here is thrown away by `known`; it must only be computed.
    middle = np.array([row.middle for row in model.rows])
    values = np.where(known[:, :, None], values, middle)
    return [_named(model, member, forcing, bounds) for member in values], known


def _named(
    model: SoilModel, values: Float[np.ndarray, "cell parameter"], forcing: Forcing, bounds: Bounds
) -> Member:
    named = {row.name: values[:, j] for j, row in enumerate(model.rows)}
    return as_arrays(model.rows, named, forcing.site, len(forcing.grid), bounds, model.shares)


@dataclass(frozen=True, eq=False)
class Everywhere(ParameterSource):
    """One set of parameters for all cells (P-section 2.5: COMPAS takes the mean of its sites).

    Parameters
    ----------
    values
        Physical value of every parameter, by name.
    """

    values: Mapping[str, float]

    def at(
        self, model: SoilModel, cells: Int[np.ndarray, " cell"], forcing: Forcing, bounds: Bounds
    ) -> tuple[list[Member], Bool[np.ndarray, "member cell"]]:
        """Return the same values at every cell."""
        member = as_arrays(
            model.rows, dict(self.values), forcing.site, len(forcing.grid), bounds, model.shares
        )
        return [member], np.ones((1, len(cells)), dtype=bool)


@dataclass(frozen=True, eq=False)
class Default(ParameterSource):
    """The model's ad hoc parameterisation (P-section 2.5).

    Parameters
    ----------
    b
        Depth profile of carbon input, for all cells or one per land cell (:func:`b_by_type`),
        as :func:`proda.default_b.b_where_needed` takes it.
    """

    b: float | np.ndarray | None = None

    def at(
        self, model: SoilModel, cells: Int[np.ndarray, " cell"], forcing: Forcing, bounds: Bounds
    ) -> tuple[list[Member], Bool[np.ndarray, "member cell"]]:
        """Take the defaults, some of which depend on the forcing of the cell."""
        given = self.b[cells] if isinstance(self.b, np.ndarray) else self.b
        b = b_where_needed(model.rows, given)
        dataset = default_parameters(model, forcing, b=b)
        member = as_arrays(
            model.rows, dataset, forcing.site, len(forcing.grid), bounds, model.shares
        )
        return [member], np.ones((1, len(cells)), dtype=bool)


def b_by_type(
    types: np.ndarray, table: Mapping[str, float] | Mapping[int, float]
) -> Float[np.ndarray, " cell"]:
    """Return b of each cell from its plant functional type.

    Parameters
    ----------
    types
        Name or number of the type of every land cell, (cell,).
    table
        b of each type (CLM5: `rootprof_beta` of its parameter file).

    Raises
    ------
    ParameterError
        Naming the types that the table lacks, with the number of their cells.
    """
    present, inverse, counts = np.unique(types, return_inverse=True, return_counts=True)
    keys = [kind.item() if isinstance(kind, np.generic) else kind for kind in present]
    known: Mapping = table
    if lacking := [
        f"{k} ({n:,} cells)" for k, n in zip(keys, counts, strict=True) if k not in known
    ]:
        raise ParameterError(f"The table of b has no plant functional type {', '.join(lacking)}.")
    return np.array([float(known[k]) for k in keys])[inverse]
