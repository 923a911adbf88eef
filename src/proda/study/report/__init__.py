"""The report of a study: one self-contained HTML file."""

from proda.study.report.write_report import write_report

__all__ = ["write_report"]
