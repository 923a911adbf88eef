"""Arrays in files that are read when they are needed, with errors that name file and variable."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

Boundary = Callable[[str], AbstractContextManager[None]]
"""Takes the name of a variable; what is raised inside becomes an error that names it."""


class _Named(BackendArray):
    """An array of another backend, read inside a boundary."""

    def __init__(self, variable: xr.Variable, name: str, boundary: Boundary) -> None:
        self.variable, self.name, self.boundary = variable, name, boundary
        self.shape, self.dtype = variable.shape, variable.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._get
        )

    def _get(self, key: tuple[Any, ...]) -> np.ndarray:
        with self.boundary(self.name):
            return np.asarray(self.variable[key].values)


class _Backend(xr.backends.BackendEntrypoint):
    """Opens with the backend named `inner` and puts the boundary around each array."""

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: Any = None,
        inner: str = "",
        boundary: Boundary | None = None,
        options: dict[str, Any] | None = None,
        **decoding: Any,
    ) -> xr.Dataset:
        opened = xr.open_dataset(
            filename_or_obj,
            engine=inner,
            drop_variables=drop_variables,
            chunks=None,
            cache=False,
            **decoding,
            **(options or {}),
        )
        assert boundary is not None
        for name, variable in opened.variables.items():
            if not variable._in_memory:
                named = indexing.LazilyIndexedArray(
                    _Named(variable.copy(deep=False), str(name), boundary)
                )
                variable.data = named
        return opened


def open_lazily(
    path: str | os.PathLike[str],
    engine: str,
    boundary: Boundary,
    *,
    chunked: bool = False,
    **options: Any,
) -> xr.Dataset:
    """Open a Dataset lazily.

    Parameters
    ----------
    path
        netCDF file or Zarr store.
    engine
        xarray's backend: "netcdf4" or "zarr".
    boundary
        Put around the reading of each variable; it is pickled where Dask runs in processes.
    chunked
        Whether the arrays are Dask's, with the chunks of the file.
    options
        Of the backend.
    """
    return xr.open_dataset(
        path,
        engine=_Backend,
        chunks={} if chunked else None,
        decode_timedelta=False,
        inner=engine,
        boundary=boundary,
        options=options,
    )
