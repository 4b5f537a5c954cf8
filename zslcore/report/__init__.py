"""The report: every result of every data set as Markdown and as one self-contained HTML page."""
