"""Stage `report`: one page over all data sets."""

from stages.common import say


def command() -> None:
    """Write report/report.md and report/report.html from results/, and print the results table."""
    from zslcore.params import load_params
    from zslcore.report import write_report

    say(write_report(load_params()))
