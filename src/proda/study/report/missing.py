"""How the report says that something is not there."""

from __future__ import annotations

from proda.study.report.blocks import Notice


def not_run(stage: str, what: str) -> Notice:
    """Say that a stage has left nothing, and what the report lacks for it."""
    return Notice(f"The stage “{stage}” has not been run, so there is no {what} here.")
