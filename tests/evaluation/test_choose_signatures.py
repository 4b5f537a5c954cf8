"""Which signatures: of made-up sources whose worth is known, by what ESZSL and the main method say of them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.conftest import make_dataset
from zslcore.datasets.dataset import Seen
from zslcore.errors import ZSLError
from zslcore.evaluation.signatures import choose_composition, finalists, judge_all, select_all
from zslcore.settings import Settings, Signatures
from zslcore.signatures.compose import Composition
from zslcore.signatures.source import Source


def seen_of(**sources: Any) -> Seen:
    """A world of 10 attributes; each source is some of their columns, or noise."""
    data = make_dataset(seen=12, unseen=4)
    rows = data.trainval
    assert data.features is not None
    noise = np.random.default_rng(1).normal(size=data.signatures.shape).astype("f4")
    values = {name: noise if columns is None else data.signatures[:, columns] for name, columns in sources.items()}
    made = {name: Source(value) for name, value in values.items()}
    first = next(iter(values.values()))
    return Seen("toy", data.features[rows], data.labels[rows], first, data.seen, data.unseen, sources=made)


def test_halves_of_the_truth_are_joined_and_noise_is_left_out() -> None:
    seen = seen_of(one=slice(0, 5), other=slice(5, 10), noise=None)
    judged = judge_all(seen)
    assert set(judged[0].composition.weights) == {"one", "other"}
    alone = [one.score for one in judged if len(one.composition.weights) == 1]
    assert judged[0].score > max(alone)


def test_the_truth_alone_is_not_joined_by_noise() -> None:
    chosen = choose_composition(seen_of(noise=None, truth=slice(0, 10)), Signatures(weights="auto"))
    assert chosen == Composition(weights={"truth": 1.0})


def test_what_is_given_is_not_chosen() -> None:
    seen = seen_of(noise=None, truth=slice(0, 10))
    assert choose_composition(seen, Signatures()) == Composition()
    given = Signatures(weights={"noise": 1.0, "truth": 2.0}, centre=True)
    assert choose_composition(seen, given) == Composition(weights={"noise": 1.0, "truth": 2.0}, centre=True)
    with pytest.raises(ZSLError, match="unknown source of signatures 'trut'"):
        choose_composition(seen, Signatures(weights={"trut": 1.0}))


def test_unseen_signatures_do_not_reach_the_choice() -> None:
    """Test rows cannot: `Seen` has none."""
    seen = seen_of(one=slice(0, 5), other=slice(5, 10))
    corrupted = {
        name: replace(source, values=np.where(np.isin(np.arange(16), seen.unseen)[:, None], 1e3, source.values))
        for name, source in seen.sources.items()
    }
    assert judge_all(replace(seen, sources=corrupted)) == judge_all(seen)


def told(scores: dict[str, float]) -> Any:
    """A `select` whose figures are known by what the signatures are."""

    def select(seen: Seen, settings: Settings, device: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        label = seen.composition.label(seen.sources)
        return {"validation": {"T1": scores[label], "H": scores[label]}}, [{"label": label}]

    return select


def test_the_main_method_has_the_last_word_on_joining() -> None:
    seen = seen_of(one=slice(0, 5), other=slice(5, 10))
    settings = Settings(signatures=Signatures(weights="auto"))
    joined = judge_all(seen)[0].composition.label(seen.sources)
    worse = {"one": 50.0, "other": 61.0, joined: 60.0}
    chosen, table = select_all(seen, settings, "cpu", told(worse))
    assert chosen["signatures"]["weights"] == {"other": 1.0}
    assert [one["T1"] for one in chosen["signatures"]["tried"]] == [50.0, 61.0, 60.0]
    assert table == [{"label": "other"}]
    chosen, _ = select_all(seen, settings, "cpu", told({**worse, joined: 62.0}))
    assert chosen["signatures"]["label"] == joined
    chosen, _ = select_all(seen, settings, "cpu", told({**worse, joined: 61.0}))
    assert chosen["signatures"]["label"] == "other", "of equals the simpler"


def test_centring_is_tried_where_it_is_open() -> None:
    seen = seen_of(one=slice(0, 10))
    settings = Signatures(centre="auto")
    assert [one.centre for one in finalists(seen, settings, 2, 0)] == [False, True]
    assert [one.centre for one in finalists(seen, Signatures(centre=True), 2, 0)] == [True]
    chosen, _ = select_all(seen, Settings(), "cpu", told({"one": 1.0}))
    assert chosen["signatures"] == {"label": "one", "weights": {"one": 1.0}, "centre": False}
