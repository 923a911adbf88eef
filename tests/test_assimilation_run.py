"""A run gives the same draws whatever happens to it, or says what is wrong."""

from __future__ import annotations

import errno
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import xarray as xr

from proda.blocks.cluster_settings import check_cluster, client_from
from proda.blocks.executor import Control, Executor, Stopped
from proda.errors import AssimilationError, FileError
from proda.inference.assimilation_run import Run, create, default_width, open_posterior
from proda.inference.assimilation_settings import AssimilationSettings
from proda.inference.problem import build_problem, checked_settings
from proda.inference.profiles import read_profiles
from proda.inference.runner import total_evaluations, work
from proda.machine import PROCESSORS, one_thread_environment
from tests.assimilation_worlds import (
    N_SITES,
    OPTIONS,
    SETTINGS,
    WALKERS,
    WIDTH,
    draws_of,
    names,
    write_forcing,
    write_profiles,
)


@dataclass
class World:
    """Made-up profiles and forcing, and what an undisturbed run finds."""

    folder: Path
    profiles: Path
    forcing: Path
    draws: xr.Dataset
    summary: xr.Dataset

    def run(self, folder: Path, **changes) -> Run:
        given = {
            "settings": SETTINGS,
            "profiles": self.profiles,
            "forcing": self.forcing,
            "width": WIDTH,
            "block_size": WIDTH,
        } | changes
        return create(folder, **given)

    def check(self, run: Run) -> None:
        draws, summary = draws_of(run.folder)
        xr.testing.assert_identical(draws.drop_attrs(), self.draws.drop_attrs())
        xr.testing.assert_identical(summary.drop_attrs(), self.summary.drop_attrs())


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    folder = tmp_path_factory.mktemp("world")
    profiles, forcing = write_profiles(folder / "profiles"), write_forcing(folder / "forcing.nc")
    run = create(folder / "run", SETTINGS, profiles, forcing, width=WIDTH, block_size=WIDTH)
    assert [len(sites) for sites in run.blocks.values()] == [WIDTH, N_SITES - WIDTH]
    counted: list[int] = []
    work(run, progress=lambda done, *_: counted.append(done))
    assert counted == [0, WIDTH, N_SITES]
    return World(folder, profiles, forcing, *draws_of(run.folder))


def stop_after(run: Run, blocks: int) -> None:
    """Work until so many blocks are done, as a process of its own would."""
    control = Control()

    def progress(done: int, *_: float) -> None:
        if done >= sum(len(sites) for sites in list(run.blocks.values())[:blocks]):
            control.stop.set()

    with pytest.raises(Stopped):
        work(Run(run.folder), Executor(control=control), progress=progress)


def resume(run: Run) -> list[str]:
    """Work to the end as a new process would; return the warnings."""
    warnings: list[str] = []
    work(Run(run.folder), warn=warnings.append)
    return warnings


# --- the same draws -------------------------------------------------------------------------------


def test_what_a_run_holds(world):
    draws, summary = open_posterior(world.folder / "run")
    assert draws["posterior"].dims == ("site", "chain", "draw", "parameter")
    assert draws["posterior"].dtype == "float32"
    assert draws["unit"].sizes == {"parameter": draws.sizes["parameter"]}
    assert bool(draws["posterior"].notnull().all())
    assert (summary["reason"] == 0).all()
    assert draws.attrs["is_posterior"] == "yes"
    assert float((draws["posterior"].min(["site", "chain", "draw"]) - draws["lower"]).min()) >= 0
    # Chains move, and differ between sites and chains.
    assert float(draws["posterior"].std("draw").max("parameter").min()) > 0
    assert float(draws["posterior"].std("chain").max("parameter").min()) > 0
    assert not (world.folder / "run" / "blocks").exists()
    work(Run(world.folder / "run"))  # nothing left to do


@pytest.mark.parametrize("block_size", [1, 7, 256])
def test_block_size_does_not_matter(world, tmp_path, block_size):
    run = world.run(tmp_path / "run", block_size=block_size)
    work(run)
    world.check(run)


def test_order_of_profiles_does_not_matter(world, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "proda.inference.assimilation_run.read_profiles",
        lambda folder: read_profiles(folder).select(range(N_SITES)[::-1]),
    )
    run = world.run(tmp_path / "run")
    assert list(run.sites["site"]) != list(Run(world.folder / "run").sites["site"])
    work(run)
    world.check(run)
    assert total_evaluations(run) == N_SITES * run.problem.sampler.evaluations(SETTINGS.chains)


def test_another_seed_matters(world, tmp_path):
    run = world.run(tmp_path / "run", settings=SETTINGS.model_copy(update={"seed": 8}))
    work(run)
    assert not (draws_of(run.folder)[0]["posterior"] == world.draws["posterior"]).any()


def test_stopped_between_blocks_it_resumes(world, tmp_path):
    run = world.run(tmp_path / "run", block_size=2)
    stop_after(run, 2)
    with pytest.raises(FileError, match=r"2 of 3 blocks"):
        open_posterior(run.folder)
    with pytest.raises(Stopped):
        work(run, Executor(control=Control(deadline=time.time() - 1)))
    counted: list[int] = []
    work(Run(run.folder), progress=lambda done, *_: counted.append(done))
    assert counted == [4, 6]  # nothing is computed twice
    world.check(run)


# --- sequential Monte Carlo ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def walked(world) -> Path:
    folder = world.folder / "walked"
    run = world.run(folder, settings=WALKERS, width=1, block_size=3)
    work(run)
    return folder


def test_walkers_end_when_they_are_good(walked):
    draws, summary = open_posterior(walked)
    assert (summary["reason"] == 0).all()
    assert bool(draws["posterior"].notnull().all())
    assert np.isfinite(summary["log_evidence"]).all()
    # at least the pool (4 x 2 moves of 8 walkers in 2 chains) and a round
    assert (summary["evaluations"] >= (8 + 4) * 16).all()
    assert len(np.unique(summary["evaluations"])) > 1
    again = summary["evaluations"].to_numpy()[~summary["converged"].to_numpy()]
    assert (again >= (8 + 4 + 8) * 16).all()


@pytest.mark.parametrize("workers", [1, 2])
def test_walkers_are_the_same_in_other_blocks_and_after_an_interruption(
    world, walked, tmp_path, workers
):
    run, counted = world.run(tmp_path / "run", settings=WALKERS, width=1, block_size=1), []
    stop_after(run, 2)
    executor = Executor(workers=workers)
    work(Run(run.folder), executor, progress=lambda done, *_: counted.append(done))
    assert counted == [2, 3, 4, 5, 6]
    for found, expected in zip(draws_of(run.folder), draws_of(walked), strict=True):
        xr.testing.assert_identical(found.drop_attrs(), expected.drop_attrs())


def test_walkers_of_several_sites_side_by_side(world, walked, tmp_path):
    """Rounds that a neighbour still needs leave no trace; only the compiler's rounding differs."""
    run = world.run(tmp_path / "run", settings=WALKERS, width=N_SITES)
    work(run)
    both = [summary["evaluations"] for _, summary in (draws_of(run.folder), draws_of(walked))]
    xr.testing.assert_identical(*both)


def test_draws_from_anchors_are_the_same_in_other_blocks_and_after_an_interruption(
    world, tmp_path, monkeypatch
):
    """Some sites are good enough; the others are left to `smc`."""
    read, forcing_of = [], Run.forcing_of

    def counted(run, sites):
        read.append(len(sites))
        return forcing_of(run, sites)

    monkeypatch.setattr(Run, "forcing_of", counted)
    settings = WALKERS.model_copy(
        update={"sampler": "rto", "options": {"walkers": 8, "moves": 2, "rounds": 1}}
    )
    whole = world.run(tmp_path / "whole", settings=settings, width=1)
    work(whole)
    # once for a block: it takes as long for a single site
    assert sorted(read) == sorted(map(len, whole.blocks.values())) == [2, 4]
    draws, summary = draws_of(whole.folder)
    assert bool(draws["posterior"].notnull().all())
    assert np.isfinite(summary["log_evidence"]).all()
    run = world.run(tmp_path / "run", settings=settings, width=1, block_size=1)
    stop_after(run, 2)
    work(Run(run.folder))
    for found, expected in zip(draws_of(run.folder), (draws, summary), strict=True):
        xr.testing.assert_identical(found.drop_attrs(), expected.drop_attrs())
    # without `smc`: 16 walkers with 22 columns for each proposal, a climb and the prior
    assert summary["evaluations"].min() < 6000 < summary["evaluations"].max()


def steady_at_once(whole):
    """Return which sites did not begin again; some of them did."""
    taken = whole["evaluations"].to_numpy()
    again = taken > 2000  # at least four times the moves
    steady = whole["log_evidence_error"].to_numpy() <= 2.0 * WALKERS.max_evidence_error
    assert steady[~again].all()
    assert 0 < again.sum() < len(again)
    return ~again


def test_sites_whose_evidence_is_not_steady_begin_again(world, walked, tmp_path, monkeypatch):
    settings = WALKERS.model_copy(update={"options": WALKERS.options | {"restarts": 0}})
    run = world.run(tmp_path / "run", settings=settings, width=1)
    rates, seconds = [], itertools.count()  # each block takes one
    clock = SimpleNamespace(monotonic=lambda: next(seconds), perf_counter=time.perf_counter)
    monkeypatch.setattr("proda.inference.runner.time", clock)
    work(run, progress=lambda done, total, rate: rates.append(rate))
    (draws, summary), (expected, whole) = draws_of(run.folder), draws_of(walked)
    unsteady = summary["log_evidence_error"].to_numpy() > 2.0 * settings.max_evidence_error
    np.testing.assert_array_equal(unsteady, ~steady_at_once(whole))
    added = (whole["evaluations"] - summary["evaluations"]).to_numpy()
    np.testing.assert_array_equal(added > 0, unsteady)
    evaluations = summary["evaluations"].to_numpy()
    assert rates == [0.0, evaluations[:WIDTH].sum(), evaluations.sum() / 2]
    assert total_evaluations(run) == evaluations.sum()
    same = (draws["posterior"] == expected["posterior"]).all(("chain", "draw", "parameter"))
    np.testing.assert_array_equal(same, ~unsteady)


def test_without_a_way_down_the_draws_are_the_same(world, walked, tmp_path):
    options = WALKERS.options | {"descents": 0}
    settings = WALKERS.model_copy(update={"options": options})
    run = world.run(tmp_path / "run", settings=settings, width=1)
    work(run)
    (draws, summary), (expected, whole) = draws_of(run.folder), draws_of(walked)
    steady = steady_at_once(whole)
    xr.testing.assert_identical(
        draws.isel(site=steady).drop_attrs(), expected.isel(site=steady).drop_attrs()
    )
    assert np.isfinite(summary["log_evidence"]).all()
    assert np.isnan(summary["log_evidence_error"]).all()
    assert (summary["evaluations"] < whole["evaluations"]).all()
    assert run.problem.sampler.evaluations(2) < Run(walked).problem.sampler.evaluations(2)
    with pytest.raises(AssimilationError, match="rounds = 0 is too small"):
        checked_settings(sampler="smc", options={"rounds": 0})


# --- other processes ------------------------------------------------------------------------------

_SCRIPT = """
import sys
from proda.inference.assimilation_run import Run
from proda.inference.runner import work

work(Run(sys.argv[1]), progress=lambda done, *_: print(done, flush=True))
"""


def test_killed_at_some_point(world, tmp_path):
    run = world.run(tmp_path / "run", block_size=1)
    with subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, str(run.folder)],
        env=os.environ | one_thread_environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        while process.stdout.readline() not in ("3\n", ""):
            pass
        time.sleep(random.Random(1).uniform(0.0, 0.05))
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not run.complete
    assert sum(not run.store.check(number) for number in run.blocks) >= 3
    resume(run)
    world.check(run)


@pytest.mark.long
def test_draws_do_not_depend_on_the_number_of_processors(world, tmp_path):
    """With programs as users have them, in the process of the command and in one of its workers."""
    settings = checked_settings(sampler="smc", options={"rounds": 2})
    environment = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", PROCESSORS)}
    found = []
    for workers in ("1", "2"):
        run = world.run(tmp_path / workers, settings=settings, width=1, sites=names()[:2])
        command = ("assimilate", "--resume", str(run.folder), "--workers", workers)
        subprocess.run(
            [sys.executable, "-m", "proda", *command], env=environment, check=True, text=True
        )
        found.append(draws_of(run.folder))
    for one, other in zip(*found, strict=True):
        xr.testing.assert_identical(one.drop_attrs(), other.drop_attrs())


def test_a_cluster(world, tmp_path):
    run, counted = world.run(tmp_path / "run", block_size=2), []
    with client_from(check_cluster({"local": {"workers": 1}})) as client:
        client.wait_for_workers(1, 120)
        executor = Executor(client=client)
        work(run, executor, progress=lambda done, *_: counted.append(done))
        with pytest.raises(AssimilationError, match=r"Worker .* started on a gpu"):
            work(world.run(tmp_path / "gpu", platform="gpu"), executor)
        changed = world.run(tmp_path / "changed")
        assert changed.identity
        (changed.folder / "run.json").write_text(changed.description.model_dump_json())
        with pytest.raises(AssimilationError, match=r"Worker .* finds another run"):
            work(changed, executor)
        (changed.folder / "run.json").unlink()
        with pytest.raises(AssimilationError, match=r"Worker .* cannot find"):
            work(changed, executor)
    assert counted == [0, 2, 4, 6]
    world.check(run)


# --- damage ---------------------------------------------------------------------------------------


def damage(path: Path, where: float) -> None:
    """Flip one bit."""
    content = bytearray(path.read_bytes())
    content[int(where * len(content))] ^= 4
    path.write_bytes(content)


def test_a_damaged_block_is_computed_again(world, tmp_path):
    run = world.run(tmp_path / "run")
    stop_after(run, 1)
    damage(run.store.path(0), 0.8)
    (warning,) = resume(run)
    assert f"{run.store.path(0)}: incomplete or damaged" in warning
    world.check(run)


def test_a_block_damaged_at_the_last_moment_is_not_joined(world, tmp_path):
    run = world.run(tmp_path / "run")
    stop_after(run, 1)
    with pytest.raises(FileError, match=r"00001\.nc: not computed yet"):
        run.assemble()
    run.store.write(1, lambda path: shutil.copy(run.store.path(0), path))
    damage(run.store.path(0), 0.5)
    with pytest.raises(FileError, match=r"00000\.nc: incomplete or damaged"):
        run.assemble()
    assert not run.complete


# --- full disk ------------------------------------------------------------------------------------


def test_full_disk_while_joining(world, tmp_path):
    run = world.run(tmp_path / "run")
    stop_after(run, 1)
    calls = []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 3:  # block and manifest are written, the joined draws are not
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(FileError, match=r"posterior\.zarr: could not be written"):
            work(Run(run.folder))
    assert not run.complete
    assert resume(run) == []
    world.check(run)


def test_too_small_a_disk_is_seen_before(world, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(FileError, match=r"only 0\.0 GB are free"):
        world.run(tmp_path / "run")
    assert not (tmp_path / "run").exists()


# --- errors ---------------------------------------------------------------------------------------


def test_another_platform(world, tmp_path):
    run = world.run(tmp_path / "run", platform="gpu")
    with pytest.raises(AssimilationError, match="started on a gpu, and this is a cpu"):
        work(run)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d | {"format": 2}, "format 2; expected 1"),
        (lambda d: d | {"colour": "red"}, "not written by this version"),
        (lambda d: {}, "not written by this version"),
    ],
)
def test_run_of_another_version(world, tmp_path, change, message):
    run = world.run(tmp_path / "run")
    path = run.folder / "run.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(FileError, match=message):
        Run(run.folder)


def test_no_run(tmp_path):
    with pytest.raises(FileError, match="there is no such file; `proda assimilate` writes it"):
        Run(tmp_path)


def test_profiles_built_since(world, tmp_path):
    profiles = write_profiles(tmp_path / "p")
    run = world.run(tmp_path / "run", profiles=profiles)
    stop_after(run, 1)
    shutil.rmtree(tmp_path / "p")
    write_profiles(tmp_path / "p", factor=1.1)
    with pytest.raises(AssimilationError, match="rebuilt since this run started"):
        work(Run(run.folder))


def test_forcing_changed_since(world, tmp_path):
    forcing = tmp_path / "forcing.nc"
    shutil.copy(world.forcing, forcing)
    run = world.run(tmp_path / "run", forcing=forcing)
    stop_after(run, 1)
    with xr.open_dataset(world.forcing) as before:
        before.assign(sand=before["sand"] + 1.0).to_netcdf(forcing)
    with pytest.raises(AssimilationError, match="forcing has changed since this run started"):
        resume(run)


def test_table_of_sites_changed(world, tmp_path):
    run = world.run(tmp_path / "run")
    damage(run.folder / "sites.parquet", 0.5)
    with pytest.raises(FileError, match=r"sites\.parquet: absent, or not the table of this run"):
        work(run)


def test_no_forcing(world, tmp_path):
    forcing = write_forcing(tmp_path / "f.nc", [f"elsewhere:{i}" for i in range(N_SITES)])
    with pytest.raises(AssimilationError, match="None of the 6 profiles"):
        world.run(tmp_path / "run", forcing=forcing)


def test_forcing_of_some(world, tmp_path):
    names = ["survey:0", "survey:2", *(f"elsewhere:{i}" for i in range(4))]
    run = world.run(tmp_path / "run", forcing=write_forcing(tmp_path / "f.nc", names))
    assert list(run.sites["site"]) == ["survey:0", "survey:2"]
    assert (run.folder / "left_out.csv").read_text().count("no forcing") == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_sites": 0}, "n_sites = 0"),
        ({"width": 0}, "width 0"),
        ({"block_size": 0}, "block size 0"),
        ({"sites": ["survey:0", "nowhere"]}, "1 of the requested sites .* nowhere"),
    ],
)
def test_impossible_runs(world, tmp_path, changes, message):
    with pytest.raises(AssimilationError, match=message):
        world.run(tmp_path / "run", **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"options": OPTIONS | {"colour": 3}}, "tempered has no option 'colour'; it has warm_up"),
        ({"options": OPTIONS | {"replicas": 1}}, "replicas = 1 is too small"),
        ({"options": OPTIONS | {"kept": True}}, "kept = True; expected int"),
        ({"draws": 6}, "draws = 6 does not divide the 20 kept steps"),
        (
            {"options": OPTIONS | {"warm_up": 12}},
            "12 warm-up steps are not a multiple",
        ),
        ({"chains": 0}, "chains: must be at least 1"),
        ({"sampler": "magic"}, "unknown sampler; choose one of auto, smc, rto"),
        ({"colour": "red"}, "colour: unknown setting"),
    ],
)
def test_impossible_settings(changes, message):
    given = {"sampler": "tempered", "options": OPTIONS, "draws": 4} | changes
    with pytest.raises(AssimilationError, match=message):
        checked_settings(**given)


def test_a_folder_that_holds_a_run(world, tmp_path):
    run = world.run(tmp_path / "run")
    with pytest.raises(AssimilationError, match="already contains a run"):
        world.run(tmp_path / "run")
    stop_after(run, 1)
    (run.folder / "run.json").unlink()
    with pytest.raises(AssimilationError, match=r"no run\.json, but contains blocks/00000"):
        world.run(tmp_path / "run")


def test_a_folder_that_does_not_hold_it_whole(world, tmp_path):
    """What `create` leaves when killed half-way is no obstacle."""
    run = world.run(tmp_path / "run")
    (run.folder / "run.json").unlink()
    world.run(tmp_path / "run")


def test_the_published_sampler_is_no_posterior(world, tmp_path):
    settings = checked_settings(
        sampler="published", options={"test": 10, "formal": 40}, draws=4, chains=2
    )
    run = world.run(tmp_path / "run", settings=settings, sites=["survey:1", "survey:2"])
    work(run)
    for dataset in open_posterior(run.folder):
        assert dataset.attrs["is_posterior"].startswith("NO")
    assert jax.default_backend() == run.description.platform


@pytest.mark.parametrize("counts", [(109, 3), (189, 10, 1), (4, 2), (20_000, 120)])
def test_programs_are_as_wide_as_sites_fill_them(counts):
    problem = build_problem(AssimilationSettings(sampler="tempered"))
    widest = default_width(problem, 3, "cpu")

    def computed(width):
        return sum(-(-n // width) * width for n in counts)

    width = default_width(problem, 3, "cpu", counts)
    assert computed(width) <= 1.4 * sum(counts)
    assert computed(width) <= computed(widest)
    assert default_width(problem, 3, "cpu", (10**6,)) > 0.9 * widest  # many sites fill any width
    walkers = build_problem(AssimilationSettings(sampler="smc"))
    assert default_width(walkers, 3, "cpu", counts) == 1 < default_width(walkers, 3, "gpu")
