"""The report: every result of every data set as Markdown and as one self-contained HTML page."""

from zslcore.report.build import write_report

__all__ = ["write_report"]
