"""What several tests share."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from platform import node
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import psutil
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import proda
from proda.column.column import Column, prepare
from proda.learning.contract_columns import rough_forcing, rough_parameters
from proda.machine import ONE_THREAD, PROCESSORS, remove_unused
from tests import scheduling

if TYPE_CHECKING:  # nothing that starts JAX may be imported before its flags are set
    from proda.learning.through_model import ThroughResult
    from tests.training_worlds import World

__all__ = ["rough_forcing", "rough_parameters"]

HERE = Path(__file__).parent
QUICK = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
)
"""Flags by which XLA compiles about seven times faster, to programs that are two to three times
slower. They stand before ONE_THREAD because XLA reads no flag behind a word without dashes."""
MOST_MEMORY = 2.5e9
"""Bytes of a process above which it drops compiled programs; they are seldom those of two files."""
AS_FOR_USERS = "PRODA_TESTS_OPTIMISED"
"""Environment variable that, if set, has programs optimised as they are for users."""


def pytest_configure(config: pytest.Config) -> None:
    """Compile quickly, and keep programs for all processes of the tests and those they start.

    They lie in pytest's cache, by machine, because the code is for its processor. All processes
    have the same flags, else they could not share programs.
    """
    flags = ONE_THREAD if os.environ.get(AS_FOR_USERS) else f"{QUICK} {ONE_THREAD}"
    os.environ.setdefault("XLA_FLAGS", flags)
    os.environ.setdefault(PROCESSORS, "1")
    # the threads of scikit-learn's trees wait busily for each other where workers share the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Tracing allocates many objects that stay; searching them for cycles takes a sixth of its time.
    gc.set_threshold(100_000, 50, 50)
    if getattr(config, "cache", None) is None or "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    place = config.cache.mkdir(f"compiled-{node()}")
    remove_unused(place, days=7.0)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(place)
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    # This process has read its environment; those of pytest-xdist are still to start.
    jax.config.update("jax_compilation_cache_dir", str(place))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def pytest_sessionfinish() -> None:
    """Do not search what is left for cycles: pytest and Python do so several times at the end.

    Programs that JAX has compiled leave millions of objects, which take seconds each time.
    """
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> scheduling.LongestFirst:
    return scheduling.make_scheduler(config, log)


@pytest.hookimpl(tryfirst=True)  # before pytest looks at the marks that -m names
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    scheduling.mark(items)


@pytest.fixture(scope="module", autouse=True)
def forget_programs() -> Iterator[None]:
    """Drop compiled programs between files once they fill this process, which keeps them all."""
    yield
    if psutil.Process().memory_info().rss > MOST_MEMORY:
        jax.clear_caches()


@contextmanager
def undrawn_figures() -> Iterator[None]:
    """Save figures without what their axes hold, where only what is written about them counts.

    Figures are made, but not drawn, and saved with few pixels: drawing them and choosing 256
    colours takes most of the time of a study of a few sites. test_report.py and the tests of
    figures draw them as users have them.
    """
    from proda.plots import figure_files

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figure_files, "RESOLUTIONS", (10,))
        patch.setattr(Figure, "set_layout_engine", lambda *_, **__: None)
        patch.setattr(Axes, "draw", lambda axes, _: setattr(axes, "stale", False))
        yield


@pytest.fixture(scope="module")
def quick_figures() -> Iterator[None]:
    with undrawn_figures():
        yield


@contextmanager
def blocks_of_tests() -> Iterator[None]:
    """Fill no blocks of a thousand columns, where a test has a hundred and one process."""
    from proda.learning import inversion, layers
    from proda.maps import run_members

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inversion, "BLOCK", 128)
        patch.setattr(layers, "BLOCK", 256)
        patch.setattr(run_members, "CPU_BLOCK", 128)
        yield


@pytest.fixture(scope="module")
def small_blocks() -> Iterator[None]:
    with blocks_of_tests():
        yield


@pytest.fixture(scope="session")
def twin_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The synthetic world of end-to-end training."""
    from tests.training_worlds import make_world

    return make_world(tmp_path_factory.mktemp("twin"))


@pytest.fixture(scope="session")
def twin_trained(twin_world: World) -> ThroughResult:
    """Networks trained end to end on the carbon of that world, in its folder `through`."""
    from proda.learning.through_model import train_end_to_end
    from tests.training_worlds import QUICK

    with blocks_of_tests():
        return train_end_to_end(
            twin_world.path("sites.parquet"),
            twin_world.path("through"),
            **twin_world.data(),
            model="clm5",
            settings=QUICK,
            folds=2,
            fold_members=2,
            residual=True,
        )


def data_folder() -> Path:
    """Return where the real data lie: $PRODA_DATA, or ../shared/data beside the project."""
    return Path(os.environ.get("PRODA_DATA", HERE.parent.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    folder = data_folder()
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}; set PRODA_DATA")
    return folder


def parameters_of(dataset: xr.Dataset) -> dict[str, np.ndarray]:
    """Return the `param_NAME` variables of a reference file, without the prefix."""
    return {
        str(name).removeprefix("param_"): dataset[name].to_numpy()
        for name in dataset
        if str(name).startswith("param_")
    }


def one_column(forcing: proda.Forcing, i: int = 0) -> Column:
    """Return the column of one site."""
    return jax.tree.map(lambda leaf: leaf[0], prepare(forcing.select([i])))


def one_set(values: dict | xr.Dataset, i: int = 0) -> dict[str, jax.Array]:
    """Return the parameters of one site."""
    return {str(name): jnp.asarray(np.asarray(values[name])[i]) for name in values}


@pytest.fixture(scope="session")
def examples() -> proda.Forcing:
    return proda.Forcing.from_dataset(proda.example_columns())


@pytest.fixture(params=["clm5", "compas"])
def model(request) -> proda.SoilModel:
    return proda.load_model(request.param)


def defaults(model: proda.SoilModel, forcing: proda.Forcing) -> xr.Dataset:
    return proda.default_parameters(model, forcing, b=0.95)
