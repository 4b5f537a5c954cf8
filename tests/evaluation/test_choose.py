from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from zslcore import progress
from zslcore.datasets.dataset import Dataset, Seen
from zslcore.errors import ZSLError
from zslcore.evaluation import search as choosing
from zslcore.evaluation.protocol import score
from zslcore.evaluation.search import Trial, assess, candidates, choose, validation_tasks
from zslcore.methods.base import MethodSettings
from zslcore.methods.eszsl import ESZSL
from zslcore.methods.gfzsl import GFZSL, TransductiveGFZSL
from zslcore.methods.sje import SJE


@pytest.fixture(scope="module")
def seen(toy: Dataset) -> Seen:
    assert toy.features is not None
    rows = toy.trainval
    return Seen("toy", toy.features[rows], toy.labels[rows], toy.signatures, toy.seen, toy.unseen)


def test_candidates_are_the_defaults_then_every_point_once() -> None:
    space = {"a": (1, 2, 3), "b": ("x", "y")}
    found = list(candidates(space))
    assert found[0] == {}
    assert len(found) == 7
    assert {(point["a"], point["b"]) for point in found[1:]} == {(a, b) for a in (1, 2, 3) for b in "xy"}
    assert list(islice(candidates(space, 1), 4)) == list(islice(candidates(space, 1), 4))
    assert list(candidates({})) == [{}]


def test_a_trials_score_is_the_mean_of_t1_and_h() -> None:
    assert Trial({}, 0.0, top1=80.0, harmonic=30.0, tasks=1).score == 55.0


def test_neither_t1_nor_h_alone_nor_one_task_decides(seen: Seen, monkeypatch: Any) -> None:
    figures = {0: (90.0, 10.0), 1: (10.0, 90.0), 2: (70.0, 60.0), 3: (60.0, 50.0)}

    def assessed(method: Any, settings: Any, tasks: Any, *_: Any) -> Trial:
        top1, harmonic = figures[settings["alpha"]]
        if len(tasks) == 1 and settings["alpha"] == 3:
            top1, harmonic = 99.0, 99.0  # the best on the first task, and only there
        return Trial(settings, float(settings["alpha"]), top1, harmonic, len(tasks))

    monkeypatch.setattr(choosing, "assess", assessed)
    best, trials = choose(ESZSL, seen, budget=8, among=[{"alpha": alpha} for alpha in range(4)])
    assert (best.settings, best.calibration, best.tasks) == ({"alpha": 2}, 2.0, 3)
    assert [trial.settings["alpha"] for trial in trials] == [0, 1, 2, 3, 3, 2], "the best quarter goes on"


def test_a_finalist_that_fails_on_another_task_is_passed_over(seen: Seen, monkeypatch: Any) -> None:
    def assessed(method: Any, settings: Any, tasks: Any, *_: Any) -> Trial:
        if len(tasks) > 1 and settings["alpha"] != 2:
            raise ZSLError("singular on the second task")
        return Trial(settings, 0.0, 10.0 - settings["alpha"], 10.0, len(tasks))

    monkeypatch.setattr(choosing, "assess", assessed)
    among = [{"alpha": float(alpha)} for alpha in range(8)]
    with pytest.raises(ZSLError, match="no candidate could be fitted on validation classes: singular"):
        choose(ESZSL, seen, budget=4, among=among)
    best, _ = choose(ESZSL, seen, budget=12, among=among)
    assert (best.settings, best.tasks) == ({"alpha": 2.0}, 3)


def test_assess_scores_the_same_as_fitting_and_scoring(seen: Seen) -> None:
    tasks = validation_tasks(seen)
    trial = assess(ESZSL, {"alpha": 1.0}, tasks)
    each = [score(ESZSL(ESZSL.Settings(alpha=1.0)).fit(task.train), task) for task in tasks]
    assert trial.top1 == pytest.approx(100 * np.mean([scores.zsl_top1 for scores in each]))
    assert trial.harmonic == pytest.approx(100 * np.mean([scores.curve().at(trial.calibration)[2] for scores in each]))
    assert trial.tasks == 3


def test_the_best_candidate_wins_and_a_failing_one_is_passed_over(seen: Seen) -> None:
    class Picky(ESZSL):
        search_space: ClassVar[Mapping[str, tuple[Any, ...]]] = {"alpha": (-1.0, 9.0), "scaling": ("standard", "none")}

        def learn(self, train: Any, seed: int, observe: Any) -> None:
            if self.settings.scaling == "none":
                raise ZSLError("not this one")
            super().learn(train, seed, observe)

    best, trials = choose(Picky, seen, budget=5)
    assert best.score == max(trial.score for trial in trials if trial.tasks == best.tasks)
    assert all(trial.settings.get("scaling") != "none" for trial in trials)


def test_progress_says_how_many_candidates_and_tasks(seen: Seen, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    choose(ESZSL, seen, budget=5)
    lines = capsys.readouterr().err.splitlines()
    for done in ("each on 1 of 3 tasks: 5/5", "each on 3 of 3 tasks: 1/1"):
        assert any(done in line for line in lines), done


def test_an_interrupted_search_goes_on(seen: Seen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = choose(ESZSL, seen, budget=4, splits=2)
    real, done = choosing.assess, []

    def assess(*arguments: Any) -> Trial:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(choosing, "assess", assess)
    with pytest.raises(KeyboardInterrupt):
        choose(ESZSL, seen, budget=4, splits=2, store=tmp_path)
    done.clear()
    assert choose(ESZSL, seen, budget=4, splits=2, store=tmp_path) == whole
    assert len(done) == 2, "one candidate, and the finalist on both splits"


def test_on_one_task_every_candidate_is_a_finalist(seen: Seen) -> None:
    best, trials = choose(ESZSL, seen, budget=3, splits=1)
    assert [trial.tasks for trial in trials] == [1, 1, 1]
    assert best.score == max(trial.score for trial in trials)


@pytest.mark.parametrize("stored", [False, True])
def test_every_candidate_is_fitted_with_the_seed_of_the_search(seen: Seen, stored: bool, tmp_path: Path) -> None:
    seeds = []

    class Noting(ESZSL):
        def learn(self, train: Any, seed: int, observe: Any) -> None:
            seeds.append(seed)
            super().learn(train, seed, observe)

    choose(Noting, seen, budget=2, seed=5, lengths=3, store=tmp_path if stored else None)
    assert seeds == [5] * (2 + 3), "two on the first task, the better one on all three"


def test_no_possible_candidate_is_an_error(seen: Seen) -> None:
    class Hopeless(ESZSL):
        search_space: ClassVar[Mapping[str, tuple[Any, ...]]] = {}

        def learn(self, train: Any, seed: int, observe: Any) -> None:
            raise ZSLError("never works")

    with pytest.raises(ZSLError, match=r"no candidate could be fitted.*never works"):
        choose(Hopeless, seen)


def test_training_length_is_the_best_observed(seen: Seen) -> None:
    tasks = validation_tasks(seen, 2)
    settings: MethodSettings = SJE.Settings(epochs=10, lr=0.01, batch_size=16)
    trial = assess(SJE, settings.model_dump(), tasks)
    fixed = [assess(SJE, {**settings.model_dump(), "epochs": epochs}, tasks, lengths=1) for epochs in range(1, 11)]
    assert trial.score == pytest.approx(max(one.score for one in fixed))
    best = int(np.argmax([one.score for one in fixed]))
    assert trial.settings["epochs"] == 1 + best
    assert trial.longest == (best == 9)
    assert not any(one.longest for one in fixed), "one length alone has no end"
    shorter = assess(SJE, {**settings.model_dump(), "epochs": 1 + best}, tasks)
    assert shorter.longest == (best > 0)
    assert (trial.calibration, trial.top1, trial.harmonic) == pytest.approx(
        (fixed[best].calibration, fixed[best].top1, fixed[best].harmonic)
    )
    assert len({one.calibration for one in fixed}) > 1


def test_the_choice_does_not_depend_on_unseen_signatures(seen: Seen) -> None:
    """Unseen classes of the real problem take no part, so scrambling them changes nothing."""
    signatures = seen.signatures.copy()
    signatures[seen.unseen] = 7.0
    first, second = (choose(ESZSL, data, budget=3)[0] for data in (seen, replace(seen, signatures=signatures)))
    assert first == second


def test_transductive_methods_see_the_pretend_unseen_images(seen: Seen) -> None:
    tasks = validation_tasks(seen, 1)
    assert assess(GFZSL, {}, tasks) != assess(TransductiveGFZSL, {}, tasks)
