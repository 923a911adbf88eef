"""What this process may use of the machine."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import time
from pathlib import Path
from platform import node

ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
"""XLA_FLAGS of a process that computes in one thread."""
PROCESSORS = "NPROC"
"""Environment variable of the number of threads of XLA; by default one per processor."""
JAX_CACHE = "JAX_COMPILATION_CACHE_DIR"
"""Environment variable of JAX's folder for compiled programs."""
JAX_CACHES_FROM = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
"""Environment variable of the seconds from which on a program is kept. JAX's own, one second, lets
each command compile fifty small programs again."""
UNUSED_DAYS = 30.0
"""Days after which a file of the cache is removed."""
MAX_CACHE_BYTES = 2 * 1024**3
"""Size of a folder of the cache above which the files that were used least recently are removed."""


def cores() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def one_thread_environment() -> dict[str, str]:
    """Return the environment of a new process that computes in one thread.

    By its flags alone XLA still splits loops over many columns among as many threads as there are
    processors. They wait busily for each other, which takes a fifth of the time of processes that
    use all cores, and into how many parts loops are split changes the last digits of results.

    The flags are those of this process and, once, ONE_THREAD: JAX looks up compiled programs by
    the text of the flags.
    """
    given = os.environ.get("XLA_FLAGS", "")
    flags = given if ONE_THREAD in given else f"{given} {ONE_THREAD}".strip()
    return {"XLA_FLAGS": flags, PROCESSORS: "1"}


def let_threads_sleep() -> None:
    """Let OpenMP's threads sleep while they wait; call it before scikit-learn is imported.

    By default they wait busily. Where others use the cores too, trees then take 20 times as long.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def private_cache(*names: str) -> Path | None:
    """Make and return a folder of the user's cache that nobody else can write to.

    It lies under PRODA_CACHE_DIR if that is set, else where the platform keeps caches:
    XDG_CACHE_HOME or ~/.cache on Linux, ~/Library/Caches on macOS, LOCALAPPDATA on Windows.

    Returns
    -------
    None where there is no such folder (no home, not writable, or another user's).
    """
    place = (_user_cache() / "proda").joinpath(*names)
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.name != "posix":
            return place
        for folder in (place, *place.parents[: len(names)]):
            about = folder.lstat()
            if about.st_uid != os.getuid() or not stat.S_ISDIR(about.st_mode):
                return None
            if about.st_mode & 0o077:
                folder.chmod(0o700)
    except OSError:
        return None
    return place if os.access(place, os.W_OK) else None


def _user_cache() -> Path:
    if given := os.environ.get("PRODA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME"):
        return Path(given).expanduser().absolute()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", "~/AppData/Local")).expanduser()
    place = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
    return Path(place).expanduser()


def compiled_programs() -> Path | None:
    """Return where compiled programs are kept; None if JAX has a folder for them.

    The folder belongs to the user and not to the data, because a program in a run folder would be
    code from whoever created the folder. It is separate for each machine, because the code is for
    its processor. Without a private folder nothing is kept.
    """
    if os.environ.get(JAX_CACHE) or (place := private_cache("compiled", node())) is None:
        return None
    remove_unused(place)
    return place


def remove_unused(
    folder: Path, days: float = UNUSED_DAYS, max_bytes: int = MAX_CACHE_BYTES
) -> None:
    """Remove files that nobody has read or written for so long, so that a cache does not grow.

    If those that are left take more than `max_bytes`, the least recently used ones go too.
    """
    before = time.time() - 86400.0 * days
    used: list[tuple[float, int, Path]] = []
    for path in folder.iterdir():
        try:
            about = path.lstat()
            if stat.S_ISREG(about.st_mode):
                used.append((max(about.st_atime, about.st_mtime), about.st_size, path))
        except OSError:  # another process removed it
            continue
    total = 0
    for last, size, path in sorted(used, reverse=True):
        total += size
        if last < before or total > max_bytes:
            with contextlib.suppress(OSError):
                path.unlink()
