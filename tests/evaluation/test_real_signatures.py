"""ESZSL on CUB: centred signatures are preferred on validation classes, and what they give on the test classes."""

from pathlib import Path

import numpy as np
import pytest

from zslcore.datasets.dataset import Seen
from zslcore.datasets.xlsa17 import XLSA17Source
from zslcore.evaluation.protocol import benchmark_task, fit, score
from zslcore.evaluation.search import assess, validation_tasks
from zslcore.methods.eszsl import ESZSL

UNCENTRED = {"signature_scaling": "l2", "gamma": -1.0}


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.parametrize(("signatures", "least"), [("att", 61.0), ("sent", 78.0)])
def test_centred_signatures_lead_on_validation_classes_and_reach_the_aim(
    signatures: str, least: float, real_data: Path
) -> None:
    lists = tuple(real_data / f"splits/class_lists/CUB_valclasses{k}.txt" for k in (1, 2, 3))
    files = {"features": real_data / "cub/resnet_fc1000.mat", "splits": real_data / f"cub/{signatures}_splits.mat"}
    data = XLSA17Source(**files, validation_classes=lists).load("cub", Path())
    assert data.features is not None
    rows = data.trainval
    of_seen = data.features[rows], data.labels[rows], data.signatures, data.seen, data.unseen
    tasks = validation_tasks(Seen("cub", *of_seen, data.validation_splits), splits=1)
    centred, uncentred = (assess(ESZSL, settings, tasks) for settings in ({}, UNCENTRED))
    task = benchmark_task(data, data.features)
    scores = score(fit(ESZSL(), task), task)
    print(f"{signatures}: validation {centred}, uncentred {uncentred}")
    point = scores.curve().at(centred.calibration)
    print(f"{signatures}: T1 {100 * scores.zsl_top1:.1f}", 100 * np.array(point))
    assert centred.score > uncentred.score
    assert 100 * scores.zsl_top1 > least
