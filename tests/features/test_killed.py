"""Killed at any moment, the extraction goes on where it was and ends with the bytes of an uninterrupted run."""

import multiprocessing
import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.features.conftest import stored
from zslcore.features import extract as extraction
from zslcore.features.image_sources import Folder

BATCH = 2


def kill_and_finish(folder: Path, count: int, kills: int, seed: int, settings) -> None:
    settings = settings.model_copy(update={"batch_size": BATCH})
    where = folder.parent
    extraction.extract_images(Folder(str(folder)), where / "whole.h5", settings, "cpu", None, where / "uninterrupted")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["zslcore.features.extract", "timm"])
    store, out = where / "store", where / "killed.h5"
    chance = random.Random(seed)
    before = 0
    for left in range(kills, 0, -1):
        goal = before + chance.randint(0, max(1, (count - before) // (left + 1)))
        task = (Folder(str(folder)), out, settings, "cpu", None, store)
        process = context.Process(target=extraction.extract_images, args=task)
        process.start()
        while process.is_alive() and (seen := stored(store)) < goal:
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.05))
        seen = stored(store)
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert stored(store) >= seen >= before
        before = stored(store)
    summary = extraction.extract_images(Folder(str(folder)), out, settings, "cpu", None, store)
    assert summary.computed == count - before
    assert out.read_bytes() == (where / "whole.h5").read_bytes()


def test_five_kills(pictures, tiny):
    kill_and_finish(pictures(60), 60, kills=5, seed=0, settings=tiny)


@pytest.mark.slow
@pytest.mark.soak
def test_fifty_kills(pictures, tiny):
    kill_and_finish(pictures(1000), 1000, kills=50, seed=1, settings=tiny)
