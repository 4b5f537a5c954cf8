"""`zsl serve` as a process: it starts, answers, and stops when it is told to; what is wrong is said in a line."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from stages.serve import command
from tests.serving.conftest import COLOURS, painted
from zslcore.errors import ZSLError
from zslcore.features import backbones
from zslcore.features.network import ExtractionPlan
from zslcore.model.header import BackboneHeader
from zslcore.model.images import Extractor
from zslcore.model.model import Model
from zslcore.serving.server import listen

ROOT = Path(__file__).parents[2]


def test_it_answers_and_stops_on_sigterm(model: Model, tmp_path: Path) -> None:
    """A network of random weights: what is answered means nothing, that it is answered is looked at."""
    made = backbones.load("test_efficientnet", "random")
    plan = ExtractionPlan("test_efficientnet", "random", None, "cpu", "fp32", 1, False, 1, False, made.fingerprint)
    method = type(model.methods[0])(model.methods[0].settings)
    state = model.methods[0].state()
    weights = state["weights"]
    method.set_state(state | {"weights": weights.repeat(made.dimensions // len(weights) + 1, 0)[: made.dimensions]})
    method.dimensions = made.dimensions
    extractor = Extractor(BackboneHeader(plan=plan.as_dict(), preprocessing=made.preprocessing))
    header = model.header.model_copy(update={"backbone": extractor.header})
    Model(header, model.signatures, model.seen, (method,), extractor).save(tmp_path / "a.zsl")
    started = subprocess.Popen(
        [sys.executable, "-m", "stages.cli", "serve", "a.zsl", "--port", "0"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert started.stderr is not None
        line = started.stderr.readline()
        assert line.startswith("a.zsl on http://127.0.0.1:"), line + started.stderr.read()
        address = line.split()[2]
        answer = httpx.post(f"{address}/predict", files={"image": painted(COLOURS["red"])}, timeout=60)
        assert set(answer.json()["classes"]) <= set(model.classes)
        started.send_signal(signal.SIGTERM)
        assert started.wait(60) == 0
        assert started.stderr.read() == ""
    finally:
        started.kill()


def test_a_port_in_use_and_a_model_that_is_none(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ZSLError, match="choose others with --host and --port"):
            listen("127.0.0.1", port)
    with pytest.raises(ZSLError, match="choose others"):
        listen("no such host.invalid", 0)
    (tmp_path / "a.zsl").write_bytes(b"no model")
    with pytest.raises(ZSLError, match=r"a\.zsl"):
        command(tmp_path / "a.zsl", port=0)


def test_a_model_of_given_features_cannot_be_served(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "a.zsl")
    with pytest.raises(ZSLError, match="has no network for pictures"):
        command(tmp_path / "a.zsl", port=0)
