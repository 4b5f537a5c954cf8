"""Curves while a stage trains, as DVCLive writes them: `dvc plots` and editors show an epoch when it is done."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

from zslcore.progress import following

LIVE = Path(".zsl/live")
"""A folder a data set, in it one a stage, in it one a seed. dvc.yaml names it under `plots`; git ignores it."""
OfSeed = Callable[[int], AbstractContextManager[Any]]
"""Within what it gives for a seed, each epoch that is trained is written to the seed's folder."""


@contextmanager
def live(dataset: str, stage: str) -> Iterator[OfSeed]:
    """Yield what writes a seed's curves. They are gone once the stage is done: its outputs have them."""
    folder = LIVE / dataset / stage
    shutil.rmtree(folder, ignore_errors=True)
    try:
        import dvclive  # noqa: F401  # here, so that processes forked from this one have it
    except ModuleNotFoundError:
        yield nullcontext
        return
    yield partial(_of_seed, folder)
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _of_seed(folder: Path, seed: int) -> Iterator[None]:
    from dvclive.live import Live

    try:
        curves: Any = Live(str(folder / f"seed={seed}"), save_dvc_exp=False, dvcyaml=None)
    except OSError:  # a full disk, or the same stage started twice: no reason to end a training, here and below
        yield
        return
    curves.step = 1  # epochs are counted from 1

    def epoch(means: Mapping[str, float]) -> None:
        with suppress(OSError):
            for name, mean in means.items():
                curves.log_metric(name, mean)
            curves.next_step()

    with following(epoch):
        yield
    with suppress(OSError):  # of a mark for editors, which another seed's process may have just removed
        curves.end()
