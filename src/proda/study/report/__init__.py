"""The report of a study: one HTML file that needs nothing else to be read."""

from proda.study.report.write_report import write_report

__all__ = ["write_report"]
