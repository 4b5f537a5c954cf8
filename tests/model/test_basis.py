"""New classes of models whose signatures are centred, joined or made of texts: described as the known ones were."""

import dataclasses
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stages.predict import chosen
from tests.conftest import make_dataset
from zslcore.datasets.dataset import Dataset
from zslcore.errors import ZSLError
from zslcore.evaluation.protocol import benchmark_task, fit
from zslcore.methods.eszsl import ESZSL
from zslcore.model.basis import basis_of
from zslcore.model.card import card
from zslcore.model.model import Model
from zslcore.model.package import package
from zslcore.signatures.compose import Composition
from zslcore.signatures.describe import Recipe, describe, describe_new
from zslcore.signatures.source import Source
from zslcore.signatures.texts import ClassTexts

WORDS = ("red", "green", "blue", "long", "short", "crest", "tail", "bill")


def packed(data: Dataset, composition: Composition) -> Model:
    composed = data.composed(composition)
    assert composed.features is not None
    method = fit(ESZSL(), benchmark_task(composed, composed.features))
    return package(composed, {0: method}, calibration=0.0, basis=basis_of(data, composition))


def test_numbers_are_centred_and_joined_as_those_of_the_known_classes(tmp_path: Path) -> None:
    """The raw row of a known class gives that class's signature; also of one that knows no other class."""
    data = make_dataset(seen=8, unseen=3, per_class=4)
    both = {"attributes": Source(data.signatures), "more": Source(data.signatures[:, :4] ** 2)}
    data = replace(data, sources=both, image_attributes=None)
    for composition in (
        Composition(centre=True),
        Composition(weights={"more": 0.5, "attributes": 1.0}),
        Composition(weights={"more": 1.0}),
    ):
        model = packed(data, composition)
        path = tmp_path / "a.zsl"
        model.save(path)
        for one in (model, Model.load(path)):
            raw = one.described[9]
            for row, grown in ((-1, one.with_classes({"new": raw + 1e-6})), (0, one.with_classes(
                {"new": raw, "b": one.described[8]}, replace=True))):  # fmt: skip
                np.testing.assert_allclose(grown.signatures[row], one.signatures[9], atol=1e-5)
    with pytest.raises(ZSLError, match="give numbers where all are of numbers"):
        model.with_classes({"new": "a red bird"})


@pytest.fixture(scope="module")
def texts() -> Dataset:
    """Classes described by words alone, through TF-IDF."""
    data = make_dataset(seen=8, unseen=3, per_class=4)
    random = np.random.default_rng(0)
    written = {name: (" ".join(random.permutation(WORDS)[:4]),) for name in data.classes}
    seen = np.isin(np.arange(11), data.seen).tolist()
    source, _ = describe(ClassTexts("texts", written, {}), seen, Recipe(encoder="tfidf"))
    return replace(data, signatures=source.values, sources={"text": source}, image_attributes=None)


def test_texts_are_read_by_the_encoder_that_made_the_model(
    texts: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = packed(texts, Composition())
    model.save("a.zsl")
    model = Model.load("a.zsl")
    Path("new.csv").write_text('class,text\nrail,"long red tail"\ncrake,blue short bill\n')
    grown, among = chosen(model, Path("new.csv"), "new.csv")
    assert among == ["rail", "crake"]
    expected = describe_new(
        texts.sources["text"], ClassTexts("new", {"rail": ("long red tail",), "crake": ("blue short bill",)}, {})
    )
    np.testing.assert_allclose(grown.signatures[-2:], expected, atol=1e-6)
    with pytest.raises(ZSLError, match="class 'x': the model's classes are described by texts; give a text"):
        model.with_classes({"x": model.described[0]})


def test_the_card_says_in_words_where_texts_describe_the_classes(texts: Dataset) -> None:
    assert "any others described in words" in _card(packed(texts, Composition()))
    numbers = replace(texts, sources={"attributes": dataclasses.replace(texts.sources["text"], about={}, texts=())})
    assert "any others described by the same" in _card(packed(numbers, Composition()))


def _card(model: Model) -> str:
    return card(
        model.header.model_copy(update={"about": {"data": {"signatures": {"least": 0.0, "most": 1.0}}}}), Path("x.zsl")
    )


def test_another_encoder_is_refused(texts: Dataset) -> None:
    source = texts.sources["text"]
    other = {**source.about, "fingerprint": "0" * 64}
    model = packed(replace(texts, sources={"text": dataclasses.replace(source, about=other)}), Composition())
    with pytest.raises(ZSLError, match="encoder 'tfidf' is another one"):
        model.with_classes({"x": "a red tail"})


def test_plain_numbers_have_no_basis(toy: Dataset) -> None:
    assert basis_of(toy, Composition()) is None
