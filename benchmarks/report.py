"""What reports of benchmarks share."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import jax


def machine() -> str:
    """Return a line that names date, processor and versions."""
    name = "unknown processor"
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        name = lines[0].split(":")[1].strip() if lines else name
    devices = {f"{d.platform} ({d.device_kind})" for d in jax.devices()}
    return (
        f"{date.today().isoformat()}; {name}, {os.cpu_count()} cores; JAX {jax.__version__} on "
        f"{', '.join(sorted(devices))}."
    )


def write_report(path: Path, lines: list[str]) -> None:
    """Print a report and keep it."""
    text = "\n".join(lines) + "\n"
    print(text)
    path.write_text(text, encoding="utf-8")
