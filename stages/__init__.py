"""One typer command a DVC stage: read the parameters, call zslcore, write one artifact."""
