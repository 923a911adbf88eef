"""SIGTERM, which batch systems send some seconds before they kill: end, and leave no litter.

A handler that raises an exception does so anywhere, also while a library holds a lock that its own
clean-up needs, and then the process hangs. Here a thread learns of the signal and replaces the
process by a small one that removes the unfinished files and ends: nothing of the old process can
hold that up, or write after it. Long work loses the blocks that it has not finished.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from pathlib import Path
from typing import Any

STATUS = 128 + signal.SIGTERM
"""Exit status of a process that SIGTERM ended, as shells count it."""

unfinished: set[Path] = set()
"""Temporary files and folders that this process is writing."""
appearing = threading.RLock()
"""Held while a result takes its name, so that nothing ends the process half-way; and by the end of
the process, so that no file is begun that it would not remove."""


def begin_file(temporary: Path) -> None:
    """Have a temporary file or folder removed if the process ends before it is finished."""
    with appearing:
        unfinished.add(temporary)


def watch() -> None:
    """Heed SIGTERM from now on; to be called in the main thread."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    # The work is done by the thread; without a handler in Python, nothing would wake it.
    signal.signal(signal.SIGTERM, lambda *_: None)
    threading.Thread(target=_listen, args=(reader,), name="sigterm", daemon=True).start()


def _listen(reader: int) -> None:
    while content := os.read(reader, 64):
        if signal.SIGTERM in content:
            if multiprocessing.parent_process() is None:  # a worker's parent speaks for it
                with contextlib.suppress(OSError):
                    os.write(2, b"Stopped by SIGTERM; what was finished before is kept.\n")
            end()


def end(status: int = STATUS) -> None:
    """End this process at once, and remove what it has not finished writing."""
    with appearing:  # not between the two renames of a folder
        paths = [str(path.absolute()) for path in list(unfinished)]
        if paths and os.name == "posix":
            with contextlib.suppress(OSError):
                # The other threads end with this call. No shell expands the names: they are "$@".
                script = f'rm -rf -- "$@"; exit {status}'
                # Nor does a second SIGTERM, as a pool that breaks sends it, end what removes them.
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
                os.execv("/bin/sh", ["sh", "-c", script, "sh", *paths])
        os._exit(status)


def end_with_parent() -> None:
    """End this worker process as soon as the process that started it is gone, even if killed."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait(sentinel: Any) -> None:
        multiprocessing.connection.wait([sentinel])
        end()

    threading.Thread(target=wait, args=(parent.sentinel,), name="parent", daemon=True).start()
