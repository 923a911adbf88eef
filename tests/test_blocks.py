"""Blocks on disk and who computes them: damage, other work, full disks, kills, limits of time."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from platform import node

import numpy as np
import pytest

from proda.blocks.cluster_settings import check_cluster, client_from
from proda.blocks.executor import Control, Executor, Job, Stopped
from proda.blocks.store import BlockStore
from proda.errors import ExecutorError, FileError

NUMBERS = list(range(5))
MANY = list(range(40))
"""So many that a busy machine does not compute them all before it hears of a stop."""
GONE = 2**30
"""Number of a process that does not exist."""


@dataclass(frozen=True)
class Draws(Job):
    """Random numbers, and what happens while they are drawn."""

    store: BlockStore
    seconds: float = 0.0
    deadly: int = -1
    """A block that kills its process, once: if the file `killed` is not there yet."""
    always: bool = False
    wrong: int = -1

    @property
    def name(self) -> str:
        return str(self.store.folder)

    def compute(self, number: int) -> None:
        time.sleep(self.seconds)
        killed = self.store.folder.with_name("killed")
        if number == self.deadly and (self.always or not killed.exists()):
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if number == self.wrong:
            raise FileError(f"block {number} cannot be read")
        draws = np.random.default_rng(number).normal(size=1000)
        self.store.write_arrays(number, {"draws": draws, "number": np.array(number)})


def store_in(folder: Path, **identity) -> BlockStore:
    return BlockStore(folder / "blocks", {"seed": 1, "limits": (0, 1)} | identity)


def check(store: BlockStore, numbers: list[int] = NUMBERS) -> None:
    """Make sure that all blocks are there, and are those of an undisturbed process."""
    assert store.missing(numbers) == ([], [])
    for number in numbers:
        read = store.read(number)
        assert int(read["number"]) == number
        np.testing.assert_array_equal(
            read["draws"], np.random.default_rng(number).normal(size=1000)
        )
    names = {p.name for p in store.folder.iterdir()}
    assert names == {f"{n:05d}{end}" for n in numbers for end in (".npz", ".json")}


def abandoned(store: BlockStore, process: int) -> Path:
    """Where a process of this machine writes block 1."""
    return store.folder / f".00001.npz.{node()}.{process}.part"


def resume(store: BlockStore, numbers: list[int] = NUMBERS) -> list[str]:
    todo, faults = store.missing(numbers)
    Executor().run(Draws(store), todo)
    check(store, numbers)
    return faults


# --- the store


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("00001.npz", lambda path: path.write_bytes(path.read_bytes()[:-40]), "incomplete or dam"),
        ("00001.npz", flip, "incomplete or damaged"),
        ("00001.npz", Path.unlink, "missing"),
        ("00001.json", Path.unlink, "no manifest"),
        ("00001.json", lambda path: path.write_bytes(b'{"sha256": "'), "damaged"),
        ("00001.json", lambda path: path.write_bytes(b"\xff\xfe"), "damaged"),
        ("00001.json", lambda path: path.write_bytes(b"[]"), "damaged"),
    ],
)
def test_a_damaged_block_is_named_and_computed_again(tmp_path, name, change, message):
    store = store_in(tmp_path)
    assert resume(store) == []
    change(store.folder / name)
    abandoned(store, GONE).touch()  # of a process that was killed
    (fault,) = resume(store)
    assert str(store.folder / "00001") in fault
    assert message in fault


def test_what_another_process_is_writing_stays(tmp_path):
    store = store_in(tmp_path)
    store.folder.mkdir()
    abandoned(store, os.getppid()).touch()
    Executor().run(Draws(store), [1])
    assert abandoned(store, os.getppid()).exists()


def test_blocks_of_other_work_are_refused_by_name(tmp_path):
    resume(store_in(tmp_path))
    for changed, message in (
        ({"seed": 2}, r"00000\.npz was written with other .*\(seed: 1 before, 2 now\)"),
        ({"network": "a" * 64}, r"network: None before, aaaaaaaaaaaa\.\.\. now"),
    ):
        with pytest.raises(FileError, match=message):
            store_in(tmp_path, **changed).missing(NUMBERS)
    assert store_in(tmp_path).missing(NUMBERS) == ([], [])


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    store = store_in(tmp_path)
    Executor().run(Draws(store), [0])

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(FileError, match=r"00001\.npz: could not be written .*No space left"):
            Executor().run(Draws(store), NUMBERS[1:])
    assert sorted(p.name for p in store.folder.iterdir()) == ["00000.json", "00000.npz"]
    assert resume(store) == []


# --- the executor


def test_it_stops_between_blocks_and_before_the_deadline(tmp_path):
    store, control, seen = store_in(tmp_path), Control(), []

    def done(number: int) -> None:
        seen.append(number)
        control.stop.set()

    with pytest.raises(Stopped):
        Executor(control=control).run(Draws(store), NUMBERS, done)
    assert seen == [0]
    late = Control(deadline=time.time() + 2.0)
    with pytest.raises(Stopped):  # the second block would not be finished in time
        Executor(control=late).run(Draws(store, seconds=1.2), NUMBERS[1:], seen.append)
    assert seen == [0, 1]
    assert time.time() < late.deadline
    assert resume(store) == []


def test_two_processes(tmp_path):
    store, seen = store_in(tmp_path), []
    with pytest.raises(FileError, match="block 2 cannot be read"):
        Executor(workers=2).run(Draws(store, wrong=2), NUMBERS)
    todo, faults = store.missing(NUMBERS)
    assert 2 in todo
    # The fault ends the other worker, too, which may be between its block and the manifest.
    assert all("no manifest" in fault for fault in faults)
    with pytest.raises(ExecutorError, match=r"blocks: a worker process died"):
        Executor(workers=2).run(Draws(store, deadly=2), todo)
    Executor(workers=2).run(Draws(store), store.missing(NUMBERS)[0], seen.append)
    assert 2 in seen
    check(store)


_SCRIPT = """
import sys
from pathlib import Path
from proda.blocks.executor import Executor
from tests.test_blocks import MANY, Draws, store_in

if __name__ == "__main__":
    Executor(workers=2).run(Draws(store_in(Path(sys.argv[1])), seconds=0.2), MANY,
                            lambda number: print(number, flush=True))
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_or_interrupted_it_resumes_bit_for_bit(tmp_path, how):
    with subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip().isdigit()
        process.send_signal(how)
        # The pipe is closed once the workers have ended, too.
        rest = process.stdout.read().split()
    assert process.returncode != 0
    assert len(rest) < len(MANY) - 1
    store = store_in(tmp_path)
    todo, faults = store.missing(MANY)
    assert 0 < len(todo) < len(MANY)
    assert all("no manifest" in fault for fault in faults)
    if how == signal.SIGINT:  # of a process that was killed, the next one removes what is left
        assert not list(store.folder.glob(".*.part"))
    resume(store, MANY)


def test_a_cluster(tmp_path):
    with client_from(check_cluster({"local": {"workers": 2}})) as client:
        client.wait_for_workers(2, 240)
        store, control = store_in(tmp_path), Control()

        def stop(_: int) -> None:
            control.stop.set()

        with pytest.raises(Stopped):
            Executor(client=client, control=control).run(Draws(store, seconds=0.3), MANY, stop)
        left = store.missing(MANY)[0]
        assert 0 < len(left) < len(MANY)

        def interrupt(_: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            Executor(client=client).run(Draws(store, seconds=0.3), left, interrupt)
        before = {path: path.stat().st_mtime_ns for path in store.folder.iterdir()}
        time.sleep(0.5)  # nothing is computed any more
        assert before == {path: path.stat().st_mtime_ns for path in store.folder.iterdir()}
        with pytest.raises(FileError, match=r"Worker .* on .*: block 1 cannot be read"):
            Executor(client=client).run(Draws(store, wrong=1), [1])
        # A worker that dies is replaced, and its block computed elsewhere.
        Executor(client=client).run(Draws(store, deadly=4), [4])
        assert (tmp_path / "killed").exists()
    resume(store, MANY)
