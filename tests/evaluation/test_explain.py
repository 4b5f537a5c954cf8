"""Contributions of attributes: they sum to the lead, and are what a bilinear score says of each attribute."""

import doctest

import numpy as np
import pytest

from zslcore.errors import ZSLError
from zslcore.evaluation import explain as explaining
from zslcore.evaluation.explain import Contribution, explain, in_words, nearest_seen
from zslcore.evaluation.protocol import Task
from zslcore.methods import registry
from zslcore.methods.clusterable.estimator import Clusterable, ClusterableSettings
from zslcore.methods.eszsl import ESZSL
from zslcore.settings import Classify, Finetune, Generate, Train

PAIR = 13, 2
"""An unseen class and a seen one."""


@pytest.mark.parametrize("name", [name for name in registry.names() if registry.get(name).linear_scores])
def test_contributions_sum_to_the_lead_of_every_linear_method(name: str, toy_task: Task) -> None:
    cls = registry.get(name)
    scorer = cls(cls.Settings(**cls.quick)).fit(toy_task.train).for_classes(toy_task.signatures, toy_task.seen_mask)
    for image in range(3):
        features = toy_task.unseen_features[[image]]
        winner, runner_up = scorer.scores(features)[0, list(PAIR)]
        total = sum(one.value for one in explain(scorer, features, *PAIR))
        assert total == pytest.approx(float(winner - runner_up), rel=1e-4, abs=1e-5)


def test_of_a_bilinear_score_an_attribute_adds_its_term(toy_task: Task) -> None:
    method = ESZSL().fit(toy_task.train)
    scorer = method.for_classes(toy_task.signatures, toy_task.seen_mask)
    features = toy_task.seen_features[:5]
    scaled = method.signature_scaler(toy_task.signatures)
    winner, runner_up = scaled[list(PAIR)]
    terms = (method.scaler(features) @ method.weights * (winner - runner_up)).mean(axis=0) / method.unit(scaled)
    names = [f"trait {m}" for m in range(len(terms))]
    found = explain(scorer, features, *PAIR, names)
    assert {one.attribute: one.value for one in found} == pytest.approx(dict(zip(names, terms, strict=True)), abs=1e-6)
    assert [abs(one.value) for one in found] == sorted((abs(one.value) for one in found), reverse=True)
    more = toy_task.signatures[PAIR[0]] > toy_task.signatures[PAIR[1]]
    assert {one.attribute for one in found if one.more} == {names[m] for m in np.flatnonzero(more)}


@pytest.mark.parametrize("source", ["projection", "features"])
def test_of_the_main_method_they_sum_to_the_lead_in_the_logits_of_r(source: str, toy_task: Task) -> None:
    settings = ClusterableSettings(
        finetune=Finetune(epochs=1),
        train=Train(hidden=8, projection=6, epochs=2, members=2, feedback=0.1, feedback_from=source),
        generate=Generate(per_unseen=3),
        classify=Classify(epochs=1),
        device="cpu",
    )
    method = Clusterable(settings).fit(toy_task.train)
    scorer = method.for_classes(toy_task.signatures, toy_task.seen_mask)
    features = toy_task.unseen_features[:1]
    predicted = method.model.predict_signatures(method.finetuned(features))
    logits = method.model.signature_logits(predicted, toy_task.signatures)[0]
    found = explain(scorer, features, *PAIR)
    assert sum(one.value for one in found) == pytest.approx(float(logits[PAIR[0]] - logits[PAIR[1]]), abs=1e-4)
    assert len(found) == toy_task.signatures.shape[1]


def test_without_r_and_without_a_sum_nothing_is_made_up(toy_task: Task) -> None:
    quick = {"train": {"hidden": 8, "projection": 6, "epochs": 1}, "classify": {"epochs": 1}}
    for name, settings in (("clusterable", quick), ("conse", {})):
        method = registry.get(name)(registry.get(name).Settings(**settings)).fit(toy_task.train)
        scorer = method.for_classes(toy_task.signatures, toy_task.seen_mask)
        with pytest.raises(ZSLError, match=r"nothing can be said of one|set train\.feedback"):
            explain(scorer, toy_task.unseen_features[:1], *PAIR)


def test_nearest_seen_classes_are_those_of_the_largest_scores() -> None:
    scores = np.array([[0.1, 0.9, 5.0, 0.5], [0.3, 0.2, 9.0, 0.1]])
    assert nearest_seen(scores, np.array([True, True, False, True]), 2).tolist() == [[1, 3], [0, 1]]


def test_words() -> None:
    assert doctest.testmod(explaining).failed == 0
    found = [
        Contribution("breast: striped", 1.2),
        Contribution("crest", 0.4, more=False),
        Contribution("beak: yellow", -0.3, more=False),
        Contribution("tail", 0.01),
    ]
    words = in_words("striped finch", "sooty finch", found)
    assert words == (
        "for striped finch, against sooty finch: striped breast (+1.2), no crest (+0.4); against: no yellow beak (−0.3)"
    )
    assert in_words("a", "b", found[:1]) == "for a, against b: striped breast (+1.2)"
    assert in_words("a", "b", found[2:3]) == "for a, against b: nothing that stands out; against: no yellow beak (−0.3)"
    assert "tail" not in in_words("a", "b", found, 5)
