"""The report of a study: one self-contained HTML file."""

from proda.study.report.write import write_report

__all__ = ["write_report"]
