"""`select` on a made-up method whose every figure is known, and on the main method by fitting each candidate alone."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest

from zslcore.datasets.dataset import Dataset, Seen
from zslcore.evaluation import select as selecting
from zslcore.evaluation.protocol import fit, score, validation_figures, validation_splits, validation_task
from zslcore.evaluation.selected import fill
from zslcore.methods.clusterable.estimator import Clusterable, ClusterableSettings
from zslcore.settings import Classify, Extract, Finetune, Generate, Select, Settings, Train

SEED = 4
CLASSES = 12
"""All seen; a third of them, 4, plays unseen on each of 3 splits."""
TABLE: dict[tuple[int, int, int], tuple[tuple[int, int, int], int, float]] = {
    (1, 10, 2): ((0, 0, 0), 6, 0.1),
    (1, 10, 4): ((0, 4, 4), 0, 0.2),
    (1, 30, 2): ((3, 3, 3), 0, 0.3),
    (1, 30, 4): ((4, 4, 4), 8, 0.4),
    (5, 10, 2): ((2, 2, 2), 2, 0.9),
    (5, 10, 4): ((1, 1, 1), 1, 0.5),
    (5, 30, 2): ((1, 1, 1), 1, 0.6),
    (5, 30, 4): ((2, 1, 1), 1, 0.7),
}
"""(training epochs, features an unseen class, classifier epochs) -> on each split, unseen classes (of 4) that ZSL gets
wrong; seen classes (of 8) that GZSL gets wrong; the lead that seen classes have, to be taken off by calibration."""
BEST = (5, 10, 4)


def settings_of(classify: dict[str, Any] | None = None, train: dict[str, Any] | None = None) -> Settings:
    return Settings(
        extract=Extract(),
        select=Select(seed=SEED, train_epochs=(5, 1), per_unseen=(10, 30), classify_epochs=(4, 2)),
        finetune=Finetune(epochs=2),
        train=Train(hidden=8, projection=6, batch_size=32, **(train or {})),
        generate=Generate(),
        classify=Classify(**(classify or {})),
    )


class Known(Clusterable):
    """Knows every image's class, and errs as TABLE says. Fitted once a split, in their order."""

    fits = 0

    def fit(self, train: Any, seed: int = 0, observe: Callable[[int], None] | None = None) -> "Known":
        assert seed == SEED
        self.split, Known.fits = Known.fits, Known.fits + 1
        for done in range(1, self.settings.train.epochs + 1):
            self.done = done
            if observe is not None:
                observe(done)
        return self

    def for_classes(self, signatures: Any, seen_mask: Any, seed: int = 0) -> Any:
        settings = self.settings
        wrong_zsl, wrong_seen, lead = TABLE[self.done, settings.generate.per_unseen, settings.classify.epochs]

        joint = bool(seen_mask.any())
        wrong, among = (wrong_seen, 8) if joint else (wrong_zsl[self.split], 4)
        called = np.arange(len(signatures))
        called[:wrong] = (called[:wrong] + 1) % among

        class Scorer:
            def scores(self, features: Any) -> Any:
                return features @ signatures.T @ np.eye(len(signatures))[called] + lead * seen_mask

        return Scorer()


def made_up() -> Seen:
    """An image is its class's signature, one-hot."""
    labels = np.repeat(np.arange(CLASSES), 10)
    unit = np.eye(CLASSES, dtype="f4")
    return Seen("made up", unit[labels], labels, unit, np.arange(CLASSES), np.empty(0, np.int64))


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selecting, "Clusterable", Known)
    monkeypatch.setattr(Known, "fits", 0)


def figures(candidate: tuple[int, int, int]) -> dict[str, float]:
    wrong_zsl, wrong_seen, lead = TABLE[candidate]
    top1, seen = 100 - 25 * float(np.mean(wrong_zsl)), 1 - wrong_seen / 8
    harmonic = 100 * 2 * seen / (1 + seen)
    return {"T1": top1, "H": harmonic, "score": (top1 + harmonic) / 2, "calibration": lead}


NAMES = ("train_epochs", "per_unseen", "classify_epochs")


def test_the_best_mean_of_t1_and_h_over_all_splits_is_chosen_whole(known: None) -> None:
    """Other candidates lead in T1, in H, on the first split; two tie with it but need more features or show less."""
    everything = {candidate: figures(candidate) for candidate in TABLE}
    for name in ("T1", "H"):
        assert max(everything, key=lambda candidate: everything[candidate][name]) != BEST
    chosen, rows = selecting.select(made_up(), settings_of(), "cpu")
    assert Known.fits == 3, "one fit a split, to the longest length"
    assert [tuple(row[name] for name in NAMES) for row in rows] == list(product((1, 5), (10, 30), (2, 4)))
    for row in rows:
        candidate = tuple(row[name] for name in NAMES)
        assert {name: row[name] for name in ("T1", "H", "score", "calibration")} == pytest.approx(everything[candidate])
    best = everything[BEST]
    confidence, strangers = chosen.pop("confidence"), chosen.pop("strangers")
    assert (set(confidence), set(strangers)) == ({"temperature", "stranger", "quantiles"}, {"probability", "energy"})
    assert chosen == {
        "train": {"epochs": 5},
        "generate": {"per_unseen": 10},
        "classify": {"epochs": 4, "calibration": pytest.approx(0.5)},
        "validation": {"T1": pytest.approx(best["T1"]), "H": pytest.approx(best["H"]), "splits": 3},
    }


def test_what_the_settings_give_is_kept(known: None) -> None:
    chosen, rows = selecting.select(made_up(), settings_of({"calibration": 0.25, "epochs": 2}, {"epochs": 1}), "cpu")
    assert {(row["train_epochs"], row["classify_epochs"]) for row in rows} == {(1, 2)}
    assert chosen["classify"] == {"epochs": 2, "calibration": 0.25}
    assert (chosen["train"], chosen["generate"]) == ({"epochs": 1}, {"per_unseen": 10})


def test_observe_hears_the_best_score_so_far_after_each_split(known: None) -> None:
    heard: list[tuple[int, float]] = []
    selecting.select(made_up(), settings_of(), "cpu", lambda done, best: heard.append((done, best)))
    harmonic = figures(BEST)["H"]
    assert [done for done, _ in heard] == [1, 2, 3]
    assert [best for _, best in heard] == pytest.approx([100.0, (75 + harmonic) / 2, (75 + harmonic) / 2])


def test_a_row_is_what_fitting_that_candidate_alone_gives(toy: Dataset) -> None:
    assert toy.features is not None
    rows_of = toy.trainval
    seen = Seen("toy", toy.features[rows_of], toy.labels[rows_of], toy.signatures, toy.seen, toy.unseen)
    settings = settings_of()
    chosen, rows = selecting.select(seen, settings, "cpu")
    best = max(rows, key=lambda row: row["score"])
    for row in (rows[1], best, rows[-2]):
        alone = fill(
            settings,
            {
                "train": {"epochs": row["train_epochs"]},
                "generate": {"per_unseen": row["per_unseen"]},
                "classify": {"epochs": row["classify_epochs"]},
            },
        )
        found = []
        for held_out in validation_splits(seen, 3, SEED):
            task = validation_task(seen, held_out, seed=SEED)
            method = Clusterable(ClusterableSettings.of(alone, "cpu"))
            scores = score(fit(method, task, SEED), task, SEED)
            found.append((scores.zsl_top1, scores.curve()))
        wanted = validation_figures(found)
        assert {name: row[name] for name in wanted} == wanted
    assert chosen["train"]["epochs"] == best["train_epochs"]
    assert chosen["classify"] == {"epochs": best["classify_epochs"], "calibration": best["calibration"]}
    assert chosen["validation"] == {"T1": best["T1"], "H": best["H"], "splits": 3}
