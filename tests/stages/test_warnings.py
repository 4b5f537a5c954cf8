"""Warnings of other libraries: not for users, but there for who debugs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import numpy as np
from stages import cli
cli.run = lambda app, debug: np.multiply(np.float32(1e30), np.float32(1e30))
cli.main()
"""


@pytest.mark.parametrize(
    ("arguments", "environment", "seen"),
    [([], {}, False), (["--debug"], {}, True), ([], {"PYTHONWARNINGS": "default"}, True)],
)
def test_shown_only_where_asked_for(arguments: list[str], environment: dict[str, str], seen: bool) -> None:
    path = {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    command = [sys.executable, "-c", CODE, *arguments]
    done = subprocess.run(command, env=clean | path | environment, capture_output=True, text=True, check=True)
    assert ("overflow encountered" in done.stderr) is seen
