"""What does not fit in memory gives what it gives in memory: scores and their metrics, and methods."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.conftest import make_dataset
from zslcore.datasets.dataset import Dataset, stream_features
from zslcore.evaluation import per_class, protocol
from zslcore.evaluation.protocol import Task, benchmark_task
from zslcore.io import artifacts, rows
from zslcore.io.rows import Rows, collect
from zslcore.methods.clusterable.estimator import Clusterable, ClusterableSettings
from zslcore.methods.eszsl import ESZSL
from zslcore.methods.sae import SAE

QUICK = ClusterableSettings(**Clusterable.quick, device="cpu")
ROUNDING = 1e-6
"""Points that float32 may move a figure by: a product of few rows adds up in another order than one of many."""


@pytest.fixture(scope="module")
def data() -> Dataset:
    return make_dataset(per_class=40)


@pytest.fixture
def whole(data: Dataset) -> Task:
    assert data.features is not None
    return benchmark_task(data, data.features)


@pytest.fixture
def streamed(data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Task:
    """The same problem, its features on disk, read in small blocks."""
    with artifacts.create(tmp_path / "features.h5", artifacts.FEATURES, {}) as file:
        file["features"] = data.features
    monkeypatch.setenv("ZSL_MEMORY", str(40_000 / 2**30))  # of 61,440 bytes: a buffer of 192 rows
    monkeypatch.setattr(rows, "BLOCK", 64)
    task = benchmark_task(data, stream_features(tmp_path / "features.h5", None))
    assert isinstance(task.train.features, Rows)
    return task


def test_scores_on_disk_have_the_metrics_of_those_in_memory(
    streamed: Task, whole: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = protocol.fit(ESZSL(), whole)
    outside = protocol.score(method, streamed)
    with monkeypatch.context() as patch:
        patch.delenv("ZSL_MEMORY")
        inside = protocol.score(method, whole)
    assert isinstance(outside.joint_seen, Rows)
    assert not isinstance(inside.joint_seen, Rows)
    random = np.random.default_rng(0)
    knows = random.normal(size=(len(inside.labels), len(inside.seen_mask))).astype(np.float32)
    inside = replace(inside, evidence={"real": knows})
    outside = replace(outside, evidence={"real": collect(np.array_split(knows, 5), len(knows))})
    chosen = [protocol.choose_confidence([scores], 0.3) for scores in (inside, outside)]
    assert chosen[0][1] == pytest.approx(chosen[1][1])
    metrics = [protocol.evaluate(scores, 0.3, chosen[0][0]) for scores in (inside, outside)]
    assert metrics[0].keys() == metrics[1].keys()
    for group in metrics[0]:
        assert metrics[0][group] == pytest.approx(metrics[1][group], abs=ROUNDING)
    names = [f"class {k}" for k in range(len(inside.seen_mask))]
    for table in (
        lambda runs: per_class.by_class(runs, names, 0.3),
        lambda runs: per_class.seen_unseen(runs),
        lambda runs: per_class.reliability_points(runs, 0.3, chosen[0][0]),
        lambda runs: per_class.confusion(runs[0], names),
        lambda runs: per_class.explained_confusions(
            runs[0], names, 0.3, whole.signatures, np.ones((len(knows), 10)), whole.signatures, ()
        ),
    ):
        pd.testing.assert_frame_equal(*(table({0: scores}) for scores in (inside, outside)), atol=ROUNDING)


def test_a_closed_form_is_the_same(streamed: Task, whole: Task) -> None:
    settings = ESZSL.Settings(scaling="standard", absent=-1)
    inside, outside = (protocol.fit(ESZSL(settings), task) for task in (whole, streamed))
    for name, value in inside.state().items():
        np.testing.assert_allclose(outside.state()[name], value, rtol=2e-4, atol=1e-6)


def test_fits_of_a_closed_form_read_the_features_once_a_scaling(
    streamed: Task, whole: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    read_rows = artifacts.read_rows

    def counted(*of: Any) -> Any:
        reads.append(1)
        return read_rows(*of)

    monkeypatch.setattr(artifacts, "read_rows", counted)
    counts = []
    for scaling, alpha in (("standard", 0.0), ("standard", 2.0), ("l2", 2.0)):
        settings = ESZSL.Settings(scaling=scaling, alpha=alpha)
        before = len(reads)
        outside = protocol.fit(ESZSL(settings), streamed)
        counts.append(len(reads) - before)
        inside = protocol.fit(ESZSL(settings), whole)
        np.testing.assert_allclose(outside.state()["weights"], inside.state()["weights"], rtol=2e-4, atol=1e-6)
    assert counts[0] > 0 == counts[1] < counts[2]
    other = replace(streamed.train, labels=np.roll(streamed.train.labels, 7))
    outside, inside = (ESZSL(settings).fit(train) for train in (other, replace(other, features=whole.train.features)))
    np.testing.assert_allclose(outside.state()["weights"], inside.state()["weights"], rtol=2e-4, atol=1e-6)


def test_the_main_method_learns_as_well_from_disk(streamed: Task, whole: Task) -> None:
    found = []
    for task in (whole, streamed):
        scores = protocol.score(protocol.fit(Clusterable(QUICK), task), task)
        assert {"normaliser", "synthetic", "real"} <= scores.evidence.keys()
        found.append((100 * scores.zsl_top1, 100 * scores.curve().harmonic.max()))
    assert min(found[0]) > 70
    np.testing.assert_allclose(found[1], found[0], atol=10)  # as another seed's


def test_other_methods_get_their_features_in_memory(streamed: Task) -> None:
    method = protocol.fit(SAE(), streamed)
    assert protocol.score(method, streamed).zsl_top1 > 0.5
