"""Runs that are stopped, moved, doubled or resumed by other means than they were begun with."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from proda import cli, locks, machine
from proda.blocks.executor import keep_compiled
from proda.cli import console
from proda.errors import AssimilationError, FileError, ProdaError
from proda.inference.assimilation_run import Run, create
from proda.inference.runner import at_work
from proda.locks import locked
from tests.assimilation_worlds import SETTINGS, WIDTH, write_forcing, write_profiles


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return write_profiles(folder / "profiles"), write_forcing(folder / "sites.nc")


@pytest.fixture
def run(data, tmp_path) -> Run:
    """A run that has begun, of which nothing is done."""
    return create(tmp_path / "run", SETTINGS, *data, width=WIDTH, block_size=WIDTH)


def resume(run, *options):
    arguments = ["assimilate", "--resume", str(run.folder), "--workers", "1", "--stop-after", "0s"]
    return CliRunner().invoke(cli.app, [*arguments, *map(str, options)])


# --- options that differ from the run


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "compas"], "--model compas (the run has clm5)"),
        (["--seed", 8], "--seed 8 (the run has 7)"),
        (["--chains", 5, "--draws", 10], "--chains 5 (the run has 2); --draws 10 (the run has 4)"),
        (["--error-sd", "estimate"], "--error-sd estimate (the run has 0.25)"),
        (["--option", "kept=40"], "--option kept=40 (the run has 20)"),
        (["--sites", 3], "--sites 3 (the run has 6)"),
        (["--block-size", 1], "--block-size 1 (the run has 4)"),
        (["--dry-run"], "--dry-run True (the run has False)"),
    ],
)
def test_other_settings_are_refused_by_name(run, options, message):
    found = resume(run, *options)
    assert isinstance(found.exception, ProdaError)
    assert message in str(found.exception)


def test_the_same_settings_may_be_repeated(run):
    found = resume(run, "--model", "clm5", "--seed", 7, "--option", "kept=20", "--error-sd", 0.25)
    assert found.exit_code == 75, found.output


def test_options_of_resume_need_it(data, tmp_path):
    arguments = ["assimilate", *map(str, data), str(tmp_path / "new"), "--accept-versions"]
    found = CliRunner().invoke(cli.app, arguments)
    assert "--accept-versions needs --resume" in str(found.exception)


# --- data that were moved


def test_moved_data_are_named_and_can_be_found(data, tmp_path):
    profiles = shutil.copytree(data[0], tmp_path / "profiles")
    forcing = shutil.copy(data[1], tmp_path / "sites.nc")
    run = create(tmp_path / "run", SETTINGS, profiles, forcing, width=WIDTH, block_size=WIDTH)
    new = tmp_path / "project"
    new.mkdir()
    shutil.move(forcing, new / "sites.nc")
    found = resume(run)
    assert isinstance(found.exception, FileError)
    assert f"{forcing}: the forcing of this run" in str(found.exception)
    assert "--forcing-moved-to" in str(found.exception)
    shutil.move(profiles, new / "profiles")
    found = resume(run, "--forcing-moved-to", new / "sites.nc")
    assert f"{profiles}: the profiles of this run" in str(found.exception)
    found = resume(run, "--profiles-moved-to", new / "profiles")
    assert found.exit_code == 75, found.output
    assert resume(run).exit_code == 75  # both are remembered
    identity = Run(run.folder).identity
    assert identity == run.identity
    assert len(Run(run.folder).profiles) == 6


def test_another_file_in_the_new_place_is_refused(run, tmp_path):
    other = write_forcing(tmp_path / "other.nc", [f"survey:{i}" for i in (1, 0, 2, 3, 4, 5)])
    found = resume(run, "--forcing-moved-to", other)
    assert "the forcing has changed since this run started" in str(found.exception)
    assert not (run.folder / "places.json").exists()


# --- two versions


@pytest.mark.parametrize("package", ["proda", "jax"])
def test_a_run_of_another_version(run, package):
    path = run.folder / "run.json"
    described = json.loads(path.read_text()) | {package: "0.0.9"}
    path.write_text(json.dumps(described))
    found = resume(run)
    assert isinstance(found.exception, AssimilationError)
    assert f"{package} 0.0.9" in str(found.exception)
    assert "--accept-versions" in str(found.exception)
    assert resume(run, "--accept-versions").exit_code == 75
    assert resume(run).exit_code == 75  # accepted once
    assert Run(run.folder).other_versions[0].keys() == {"proda", "jax"}


# --- two processes

_HOLD = """
import sys, time
from proda.locks import locked
with locked(sys.argv[1], "run"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_second_of_two_processes_is_told_who_is_first(run):
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(run.folder)], stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        with pytest.raises(
            AssimilationError, match=rf"process {first.pid} on .*, since 20"
        ) as error:
            with at_work(run):
                pass
        assert str(run.folder) in str(error.value)
        first.kill()
    with at_work(run):  # the lock of a dead process is none
        shutil.rmtree(run.folder / "blocks")
        run.assemble = lambda: None  # type: ignore[method-assign]


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    class NoLock(locks.FileLock):
        def acquire(self, *_, **__):
            raise OSError(95, "Operation not supported")

    monkeypatch.setattr(locks, "FileLock", NoLock)
    with locked(tmp_path, "run"):
        with pytest.raises(FileError, match=rf"process {os.getpid()} on .*remove .*\.lock\.soft"):
            with locked(tmp_path, "run"):
                pass
    with locked(tmp_path, "run"):
        pass


# --- SIGTERM, and a parent that is killed

_WRITE = """
import sys, time, threading
from pathlib import Path
from proda import files, termination
termination.watch()
folder = Path(sys.argv[1])
lock = threading.Lock()

def litter(place):
    while True:  # as a thread of a library that goes on writing
        place.mkdir(parents=True, exist_ok=True)
        (place / "chunk").write_text("x")

with files.whole_folder(folder / "a.zarr") as a, files.whole_file(folder / "b.nc") as b:
    b.write_text("half")
    threading.Thread(target=litter, args=(a,), daemon=True).start()
    with lock:  # a handler that raised here could not clean up
        print("writing", flush=True)
        time.sleep(60)
"""


def test_sigterm_while_writing(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "zarr.json").write_text("old")
    with subprocess.Popen(
        [sys.executable, "-c", _WRITE, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        process.terminate()
        assert process.wait(30) == 143
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]
    assert (tmp_path / "a.zarr" / "zarr.json").read_text() == "old"


_PARENT = """
import multiprocessing, sys, time, os
from proda.termination import end_with_parent

def child():
    end_with_parent()
    print(os.getpid(), flush=True)
    time.sleep(60)

if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=child)
    process.start()
    time.sleep(60)
"""


def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(_PARENT)
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.kill()
        assert process.stdout.read() == ""  # closed only once the child has ended, too
    for _ in range(100):
        if not Path(f"/proc/{child}").exists():
            return
        time.sleep(0.05)
    assert not Path(f"/proc/{child}").exists()


# --- where compiled programs are kept


def test_compiled_programs_stay_with_the_user(run, tmp_path, monkeypatch):
    import jax

    before = jax.config.jax_compilation_cache_dir
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.delenv("PRODA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    try:
        keep_compiled()
        place = Path(jax.config.jax_compilation_cache_dir)
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    assert place.is_relative_to(tmp_path / "cache" / "proda")
    for folder in (place, place.parent, place.parent.parent):
        assert folder.stat().st_mode & 0o077 == 0
    assert not list((run.folder / "blocks").iterdir())


def test_a_cache_that_others_own_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setenv("PRODA_CACHE_DIR", str(tmp_path))
    assert machine.private_cache("compiled") == tmp_path / "proda" / "compiled"
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert machine.private_cache("compiled") is None
    (tmp_path / "file").touch()
    monkeypatch.setenv("PRODA_CACHE_DIR", str(tmp_path / "file"))
    assert machine.private_cache("compiled") is None


def test_old_programs_are_removed(tmp_path):
    for name, days in (("old", 40), ("new", 1)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - 86400 * days,) * 2)
    machine.remove_unused(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["new"]


def test_the_least_recently_used_programs_make_room(tmp_path):
    for name, days in (("a", 3), ("b", 2), ("c", 1)):
        (tmp_path / name).write_bytes(b"x" * 100)
        os.utime(tmp_path / name, (time.time() - 86400 * days,) * 2)
    machine.remove_unused(tmp_path, max_bytes=250)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "c"]


# --- what a long command says


def test_progress_without_a_terminal(monkeypatch):
    output = io.StringIO()
    monkeypatch.setattr(console, "errors", Console(file=output, markup=False, width=200))
    monkeypatch.setattr(console, "REPORT_EVERY", 0.05)
    with console.progress("cells") as bar:
        bar.add_task("Mapping", total=200, completed=50)
        time.sleep(0.3)
    first = output.getvalue().splitlines()[0]
    assert "Mapping: 50 of 200 cells (25%), 0:00:00 so far" in first


@pytest.mark.parametrize("platforms", ["cuda", "no-such-thing"])
def test_a_platform_that_is_not_there(platforms):
    command = "from proda.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", command, "column", "--example", "--model", "compas"],
        env=os.environ | {"JAX_PLATFORMS": platforms},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0 and platforms == "cuda":
        pytest.skip("this machine has a GPU")
    assert done.returncode == 2, done.stderr
    assert f"JAX_PLATFORMS={platforms}" in done.stderr
    assert "JAX_PLATFORMS=cpu" in done.stderr
    assert "Traceback" not in done.stderr
