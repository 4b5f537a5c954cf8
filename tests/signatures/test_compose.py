"""Sources put side by side: by hand, and what may not move them."""

import numpy as np
import pytest

from zslcore.errors import ZSLError
from zslcore.io.layers import validate
from zslcore.settings import Signatures
from zslcore.signatures.compose import Composition, compose, fixed, of_attributes, provenance
from zslcore.signatures.source import Source

RANDOM = np.random.default_rng(0)
ATT = RANDOM.uniform(0, 1, (5, 3)).astype("f4")
TEXT = RANDOM.normal(size=(5, 4)).astype("f4")
SOURCES = {"attributes": Source(ATT), "text": Source(TEXT, {"recipe": {"encoder": "tfidf"}})}
SEEN = np.array([0, 2, 3])


def test_one_source_as_it_is_stays_as_it_is() -> None:
    assert compose(SOURCES, Composition(), SEEN) is ATT
    assert compose(SOURCES, Composition(weights={"text": 0.3}), SEEN) is TEXT


def test_each_part_is_centred_on_seen_classes_at_its_share_of_the_weights() -> None:
    joined = compose(SOURCES, Composition(weights={"attributes": 3.0, "text": 4.0}, centre=True), SEEN)
    away = [values - values[SEEN].mean(axis=0) for values in (ATT, TEXT)]
    parts = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in away]
    np.testing.assert_allclose(joined, np.hstack([0.6 * parts[0], 0.8 * parts[1]]), atol=1e-5)
    plain = compose(SOURCES, Composition(weights={"attributes": 1.0, "text": 1.0}), SEEN)
    np.testing.assert_allclose(np.linalg.norm(plain[:, :3], axis=1), 0.5**0.5, atol=1e-6)


def test_an_unseen_class_moves_no_other() -> None:
    composition = Composition(weights={"attributes": 1.0, "text": 1.0}, centre=True)
    other = TEXT.copy()
    other[1] = 100.0
    changed = compose({**SOURCES, "text": Source(other)}, composition, SEEN)
    kept = [0, 2, 3, 4]
    np.testing.assert_array_equal(changed[kept], compose(SOURCES, composition, SEEN)[kept])


def test_an_unknown_source_is_named() -> None:
    with pytest.raises(ZSLError, match=r"did you mean 'text'\?"):
        compose(SOURCES, Composition(weights={"texts": 1.0}), SEEN)


def test_what_is_open_is_not_fixed() -> None:
    assert fixed(Signatures()) == Composition()
    assert fixed(Signatures(weights={"text": 2.0}, centre=True)) == Composition(weights={"text": 2.0}, centre=True)
    assert fixed(Signatures(weights="auto")) is None
    assert fixed(Signatures(centre="auto")) is None


@pytest.mark.parametrize("weights", [{}, {"text": 0}, {"text": -1.0}, "second"])
def test_bad_weights_are_refused(weights: object) -> None:
    with pytest.raises(ZSLError, match=r"signatures"):
        validate(Signatures, {"weights": weights}, "params.yaml: signatures")


def test_a_result_says_what_described_the_classes() -> None:
    joined = Composition(weights={"attributes": 2.0, "text": 1.0}, centre=True)
    assert provenance(SOURCES, joined)["label"] == "attributes + 0.5 text (tfidf), centred"
    assert provenance(SOURCES, Composition()) == {
        "label": "attributes",
        "weights": {"attributes": 1.0},
        "centre": False,
    }
    assert of_attributes(SOURCES, joined) == Composition()
    assert of_attributes({"text": SOURCES["text"]}, joined) is joined
    first_sentences = {"sentences": Source(SOURCES["attributes"].values), **SOURCES}
    assert of_attributes(first_sentences, joined) == Composition(weights={"attributes": 1.0})
