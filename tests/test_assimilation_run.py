"""A run gives the same draws whatever happens to it, or says what is wrong."""

from __future__ import annotations

import errno
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import jax
import pytest
import xarray as xr

from proda.errors import AssimilationError, FileError
from proda.inference import assimilation_settings as assimilation
from proda.inference.assimilation_run import Run, create, open_posterior
from proda.inference.batch import Control, Stopped
from proda.inference.cluster import work_on_cluster
from proda.inference.cluster_settings import check_cluster, client_from
from proda.inference.profiles import read_profiles
from proda.inference.runner import AssimilationProgress, one_thread_flags, total_evaluations, work
from tests.assimilation_worlds import (
    N_CALLS,
    N_SITES,
    OPTIONS,
    SETTINGS,
    WIDTH,
    draws_of,
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
    assert [len(block.sites) for block in run.blocks] == [WIDTH, N_SITES - WIDTH]
    counted = []
    work(run, progress=AssimilationProgress(evaluations=counted.append))
    assert sum(counted) == total_evaluations(run)
    return World(folder, profiles, forcing, *draws_of(run.folder))


def stop_after(run: Run, calls: int, checkpoint_every: float = math.inf) -> list[str]:
    """Work until so many calls of the compiled program are done; return the warnings."""
    control, seen, warnings = Control(checkpoint_every=checkpoint_every), [], []

    def advanced(n: int) -> None:
        if n:
            seen.append(n)
        if len(seen) >= calls:
            control.stop.set()

    with pytest.raises(Stopped):
        work(run, control, AssimilationProgress(evaluations=advanced, warn=warnings.append))
    return warnings


def go_on(run: Run, **options) -> list[str]:
    """Work to the end as a new process would; return the warnings."""
    warnings: list[str] = []
    work(Run(run.folder), progress=AssimilationProgress(warn=warnings.append), **options)
    return warnings


def checkpoints(run: Run) -> list[Path]:
    return sorted((run.folder / "blocks").glob("*.checkpoint"))


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


def test_another_seed_matters(world, tmp_path):
    run = world.run(tmp_path / "run", settings=SETTINGS.model_copy(update={"seed": 8}))
    work(run)
    assert not (draws_of(run.folder)[0]["posterior"] == world.draws["posterior"]).any()


@pytest.mark.parametrize(
    ("calls", "block_size"),
    [
        (1, WIDTH),
        (3, WIDTH),
        (7, WIDTH),
        (8, WIDTH),
        (13, WIDTH),
        (6, N_SITES),
        (7, N_SITES),
        (11, N_SITES),
    ],
)
def test_stop_and_go_on(world, tmp_path, calls, block_size):
    run = world.run(tmp_path / "run", block_size=block_size)
    assert stop_after(run, calls) == []
    with pytest.raises(FileError, match=r"0 of|1 of"):
        open_posterior(run.folder)
    counted: list[int] = []
    work(Run(run.folder), progress=AssimilationProgress(evaluations=counted.append))
    assert sum(counted) == total_evaluations(run)
    assert sum(n > 0 for n in counted) <= 2 * N_CALLS - calls + 2  # nothing is done twice
    world.check(run)


def test_stop_after_every_call(world, tmp_path):
    run = world.run(tmp_path / "run")
    sessions = 0
    while not run.complete:
        control, progress = Control(), AssimilationProgress()
        resumed = [path.stat().st_size for path in checkpoints(run)]
        told = []

        def advanced(n: int, control=control, told=told, resumed=resumed) -> None:
            told.append(n)
            done_before = bool(resumed) + (run.is_done(0)[0] and len(told) <= 2)
            if len(told) > done_before:
                control.stop.set()

        progress.evaluations = advanced
        try:
            work(Run(run.folder), control, progress)
        except Stopped:
            sessions += 1
    assert sessions >= N_CALLS
    world.check(run)


def test_a_deadline_and_a_stop_file(world, tmp_path):
    run = world.run(tmp_path / "run")
    with pytest.raises(Stopped):
        work(run, Control(deadline=time.time() - 1))
    (tmp_path / "stop").touch()
    with pytest.raises(Stopped):
        work(run, Control(stop_file=tmp_path / "stop"))
    assert go_on(run) == []
    world.check(run)


# --- other processes ------------------------------------------------------------------------------

_SCRIPT = """
import sys
from proda.inference.batch import Control
from proda.inference.assimilation_run import Run
from proda.inference.runner import AssimilationProgress, work

progress = AssimilationProgress(evaluations=lambda n: print(n, flush=True))
work(Run(sys.argv[1]), Control(checkpoint_every=0.0), progress)
"""


def test_killed_at_some_point(world, tmp_path):
    chance = random.Random(1)
    run = world.run(tmp_path / "run")
    environment = os.environ | {"XLA_FLAGS": one_thread_flags()}
    with subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, str(run.folder)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        for _ in range(chance.randint(1, 2 * N_CALLS - 1)):
            assert process.stdout is not None
            assert process.stdout.readline()
        time.sleep(chance.uniform(0.0, 0.02))
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not run.complete
    go_on(run)
    world.check(run)


def test_two_processes(world, tmp_path):
    run = world.run(tmp_path / "run", block_size=2)
    counted, sites = [], []
    work(
        run,
        progress=AssimilationProgress(evaluations=counted.append, sites_done=sites.append),
        workers=2,
    )
    assert (sum(counted), sum(sites)) == (total_evaluations(run), N_SITES)
    world.check(run)


def cluster(workers: int):
    return client_from(check_cluster({"local": {"workers": workers}}))


def test_one_cluster_worker(world, tmp_path):
    run = world.run(tmp_path / "run", block_size=2)
    control, warnings = Control(), []

    def advanced(_: int) -> None:
        control.stop.set()

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with cluster(1) as client:
        client.wait_for_workers(1, 120)
        with pytest.raises(Stopped):
            work_on_cluster(run, client, control, AssimilationProgress(evaluations=advanced))
        assert not run.complete
        assert not list((run.folder / "blocks").glob("stop-*"))
        damaged = checkpoints(run)
        for path in damaged:
            damage(path, 0.5)
        counted, sites = [], []
        progress = AssimilationProgress(sites.append, counted.append, warnings.append)
        again = Run(run.folder)
        work_on_cluster(again, client, progress=progress)

        interrupted = world.run(tmp_path / "interrupted", block_size=2)
        with pytest.raises(KeyboardInterrupt):
            work_on_cluster(
                interrupted, client, progress=AssimilationProgress(evaluations=interrupt)
            )
        assert not list((interrupted.folder / "blocks").glob("stop-*"))
        assert not any(client.processing().values())
        work_on_cluster(interrupted, client)

        with pytest.raises(AssimilationError, match=r"Worker .* started on a gpu"):
            work_on_cluster(world.run(tmp_path / "gpu", platform="gpu"), client)
        changed = world.run(tmp_path / "changed")
        assert changed.identity
        (changed.folder / "run.json").write_text(changed.description.model_dump_json())
        with pytest.raises(AssimilationError, match=r"Worker .* sees another run"):
            work_on_cluster(changed, client)
        (changed.folder / "run.json").unlink()
        with pytest.raises(AssimilationError, match=r"Worker .* does not see"):
            work_on_cluster(changed, client)
    world.check(interrupted)
    assert len(warnings) == len(damaged)
    assert all("damaged" in warning for warning in warnings)
    assert (sum(counted), sum(sites)) == (total_evaluations(run), N_SITES)
    world.check(run)


def test_two_cluster_workers_one_of_which_dies(world, tmp_path):
    run = world.run(tmp_path / "run", block_size=1)
    killed = []
    with cluster(2) as client:
        client.wait_for_workers(2, 240)
        processes = client.run(os.getpid)

        def kill(_: int) -> None:
            if not killed:
                busy = [address for address, tasks in client.processing().items() if tasks]
                killed.append(processes[busy[0]])
                os.kill(killed[0], signal.SIGKILL)

        work_on_cluster(
            run, client, Control(checkpoint_every=0.0), AssimilationProgress(evaluations=kill)
        )
    assert killed
    world.check(run)


# --- damage ---------------------------------------------------------------------------------------


def damage(path: Path, where: float) -> None:
    """Flip one bit."""
    content = bytearray(path.read_bytes())
    content[int(where * len(content))] ^= 4
    path.write_bytes(content)


def replaced(old: bytes, new: bytes):
    def change(path: Path) -> None:
        content = path.read_bytes()
        assert old in content
        path.write_bytes(content.replace(old, new))

    return change


def cut(share: float):
    return lambda path: path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


@pytest.fixture(scope="module")
def other(world) -> Run:
    """Of the same sites and another seed: one block done, the next under way."""
    run = world.run(world.folder / "other", settings=SETTINGS.model_copy(update={"seed": 8}))
    stop_after(run, N_CALLS + 5)
    return run


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (cut(0.5), "cut short or damaged"),
        (cut(0.99), "cut short or damaged"),
        (cut(0.0), "cut short"),
        (lambda path: path.write_bytes(path.read_bytes()[:25]), "cut short"),
        (lambda path: damage(path, 0.3), "cut short or damaged"),
        (lambda path: damage(path, 0.999), "cut short or damaged"),
        (
            replaced(b"proda checkpoint 1", b"proda checkpoint 2"),
            "not a checkpoint of this version",
        ),
        (replaced(b'"calls": 5', b'"calls": 4'), "calls does not match"),
        (replaced(b'"calls": 5', b'"calls": 7'), "calls does not match"),
        (replaced(b'"calls"', b'"cells"'), "calls does not match"),
        (replaced(b'"fingerprint"', b'"fingerprinu"'), "fingerprint differs"),
        (replaced(b'{"', b'z"'), "header is damaged"),
    ],
)
def test_damaged_checkpoint(world, tmp_path, change, message):
    run = world.run(tmp_path / "run")
    stop_after(run, 5)
    (path,) = checkpoints(run)
    change(path)
    (warning,) = go_on(run)
    assert str(path) in warning
    assert message in warning
    world.check(run)


def test_checkpoint_of_another_run(world, other, tmp_path):
    run = world.run(tmp_path / "run")
    stop_after(run, N_CALLS + 3)
    (path,), (foreign,) = checkpoints(run), checkpoints(other)
    assert path.name == foreign.name
    shutil.copy(foreign, path)
    (warning,) = go_on(run)
    assert f"{path}: of another run" in warning
    world.check(run)


def _remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("00000.nc", cut(0.7), "cut short or damaged"),
        ("00000.nc", lambda path: damage(path, 0.8), "cut short or damaged"),
        ("00000.nc", _remove, "missing"),
        ("00000.json", _remove, "no manifest"),
        ("00000.json", lambda path: path.write_bytes(b'{"sha256": "'), "damaged"),
        ("00000.json", lambda path: path.write_bytes(b"\xff\xfe"), "damaged"),
        ("00000.json", lambda path: path.write_bytes(b"[]"), "damaged"),
        ("00000.json", lambda path: damage(path, 0.3), "damaged"),
    ],
)
def test_damaged_block(world, tmp_path, name, change, message):
    run = world.run(tmp_path / "run")
    stop_after(run, N_CALLS)
    assert run.is_done(0) == (True, None)
    change(run.folder / "blocks" / name)
    (warning,) = go_on(run)
    assert str(run.folder / "blocks" / "00000") in warning
    assert message in warning
    world.check(run)


def test_block_of_another_run(world, other, tmp_path):
    run = world.run(tmp_path / "run")
    stop_after(run, N_CALLS)
    for name in ("00000.nc", "00000.json"):
        shutil.copy(other.folder / "blocks" / name, run.folder / "blocks" / name)
    (warning,) = go_on(run)
    assert "of another run" in warning
    world.check(run)


def test_a_block_damaged_at_the_last_moment_is_not_joined(world, tmp_path):
    run = world.run(tmp_path / "run")
    stop_after(run, N_CALLS)
    run.write_block(1, xr.open_dataset(run.block_path(0)).load())
    damage(run.block_path(0), 0.5)
    with pytest.raises(FileError, match=r"00000\.nc: cut short or damaged"):
        run.assemble()
    assert not run.complete


# --- full disk ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("every", "file"), [(0.0, "00000-0.checkpoint"), (math.inf, "00000.nc")])
def test_full_disk(world, tmp_path, every, file):
    run = world.run(tmp_path / "run")
    stop_after(run, 4)
    (path,) = checkpoints(run)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(FileError, match=rf"{file}: could not be written .*No space left"):
            work(Run(run.folder), Control(checkpoint_every=every))
    assert path.read_bytes() == before
    assert [p.name for p in (run.folder / "blocks").iterdir()] == [path.name]
    assert go_on(run) == []
    world.check(run)


def test_full_disk_while_joining(world, tmp_path):
    run = world.run(tmp_path / "run")
    stop_after(run, 2 * N_CALLS - 1)
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
    assert go_on(run) == []
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
    stop_after(run, 2)
    with xr.open_dataset(world.forcing) as before:
        before.assign(sand=before["sand"] + 1.0).to_netcdf(forcing)
    with pytest.raises(AssimilationError, match="forcing has changed since this run started"):
        go_on(run)


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
        ({"sampler": "magic"}, "unknown sampler"),
        ({"colour": "red"}, "colour: unknown setting"),
    ],
)
def test_impossible_settings(changes, message):
    given = {"sampler": "tempered", "options": OPTIONS, "draws": 4} | changes
    with pytest.raises(AssimilationError, match=message):
        assimilation.check(**given)


def test_a_folder_that_holds_a_run(world, tmp_path):
    run = world.run(tmp_path / "run")
    with pytest.raises(AssimilationError, match="already contains a run"):
        world.run(tmp_path / "run")
    stop_after(run, 1)
    (run.folder / "run.json").unlink()
    with pytest.raises(AssimilationError, match=r"no run\.json, but contains blocks/00000-0"):
        world.run(tmp_path / "run")


def test_a_folder_that_does_not_hold_it_whole(world, tmp_path):
    """What `create` leaves when killed half-way is no obstacle."""
    run = world.run(tmp_path / "run")
    (run.folder / "run.json").unlink()
    world.run(tmp_path / "run")


def test_the_published_sampler_is_no_posterior(world, tmp_path):
    settings = assimilation.check(
        sampler="published", options={"test": 10, "formal": 40}, draws=4, chains=2
    )
    run = world.run(tmp_path / "run", settings=settings, sites=["survey:1", "survey:2"])
    work(run)
    for dataset in open_posterior(run.folder):
        assert dataset.attrs["is_posterior"].startswith("NO")
    assert jax.default_backend() == run.description.platform
