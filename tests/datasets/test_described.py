"""Data sets that texts describe: a folder with descriptions, drawn birds in words, further sources in files."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from tests.datasets.test_folder import NAMES, write
from zslcore.datasets import dataset as datasets
from zslcore.datasets.birds import source as birds
from zslcore.datasets.dataset import Dataset
from zslcore.datasets.described import Described
from zslcore.datasets.folder import FolderSource
from zslcore.errors import ZSLError
from zslcore.signatures.texts import ClassTexts

TEXTS = {
    "kiwi": ["a small brown bird", "a long beak"],
    "moa": ["a long brown neck"],
    "tūī": ["a small black bird with white tufts"],
    "weka": ["a brown bird, short wings"],
}


def with_texts(folder: Path, **settings: object) -> Dataset:
    write(folder)
    (folder / "texts.json").write_text(json.dumps(TEXTS), encoding="utf-8")
    given = {"images": "images", "descriptions": "texts.json", "unseen": "unseen.txt", "encoder": "tfidf", **settings}
    return FolderSource(**given).dataset("birds", folder)  # type: ignore[arg-type]


def test_texts_alone_describe_a_folder(tmp_path: Path) -> None:
    data = with_texts(tmp_path)
    assert data.classes == NAMES
    assert list(data.sources) == ["text"]
    np.testing.assert_array_equal(data.signatures, data.sources["text"].values)
    np.testing.assert_allclose(np.linalg.norm(data.signatures, axis=1), 1, atol=1e-6)
    assert data.sources["text"].texts[0] == tuple(TEXTS["kiwi"])
    assert data.sources["text"].about["seen"] == [True, False, True, True]


def test_texts_join_a_table_as_a_second_source(tmp_path: Path) -> None:
    data = with_texts(tmp_path, signatures="signatures.csv")
    assert list(data.sources) == ["attributes", "text"]
    assert data.signatures.shape == (4, 2)
    assert [data.classes[k] for k in range(4)] == ["weka", "kiwi", "moa", "tūī"]
    assert data.sources["text"].texts[1] == tuple(TEXTS["kiwi"]), "each class has its own"


def test_sources_are_the_same_after_saving(tmp_path: Path) -> None:
    data = with_texts(tmp_path, signatures="signatures.csv")
    datasets.save(tmp_path / "dataset.h5", data, {})
    again = datasets.load(tmp_path / "dataset.h5")
    assert list(again.sources) == list(data.sources)
    for name, source in data.sources.items():
        np.testing.assert_array_equal(again.sources[name].values, source.values)
        assert (again.sources[name].about, again.sources[name].texts) == (source.about, source.texts)


def test_a_folder_that_nothing_describes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ZSLError, match="give --signatures, --descriptions, or both"):
        with_texts(tmp_path, descriptions=None)


def test_a_class_without_text_is_named(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "texts.csv").write_text("class,text\nkiwi,brown\nweka,a short one\nTūī,black\n", encoding="utf-8")
    source = FolderSource(images="images", descriptions="texts.csv", unseen="unseen.txt", encoder="tfidf")
    with pytest.raises(ZSLError, match=r"no text for 'moa', 'tūī' \(there is 'Tūī' for 'tūī'\)"):
        source.load("birds", tmp_path)


def test_further_sources_come_from_texts_tables_and_mat_files(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "more.csv").write_text("class,x\nmoa,1\nkiwi,2\ntūī,3\nweka,4\nemu,5\n", encoding="utf-8")
    savemat(tmp_path / "more.mat", {"att": np.arange(8.0).reshape(2, 4), "allclasses_names": np.array(NAMES, object)})
    (tmp_path / "folder").mkdir()
    for known, texts in TEXTS.items():
        (tmp_path / f"folder/{known}.txt").write_text("\n".join(texts), encoding="utf-8")
    files = {"table": "more.csv", "mat": "more.mat", "words": "folder"}
    described = {name: Described(file=Path(file), encoder="tfidf") for name, file in files.items()}
    data = write(tmp_path).model_copy(update={"described": described}).dataset("birds", tmp_path)
    assert list(data.sources) == ["attributes", "table", "mat", "words"]
    assert data.sources["table"].values[:, 0].tolist() == [4, 2, 1, 3], "in the order of the classes, by name"
    assert data.sources["mat"].values.tolist() == [[3, 7], [0, 4], [1, 5], [2, 6]]
    assert data.sources["words"].texts[2] == tuple(TEXTS["moa"])
    twice = write(tmp_path).model_copy(update={"described": {"attributes": described["table"]}})
    with pytest.raises(ZSLError, match="signatures 'attributes' are there already"):
        twice.dataset("birds", tmp_path)


def test_drawn_birds_say_all_their_attributes_and_nothing_else() -> None:
    kinds = birds.invent_kinds(0, 12, 3)
    for kind in kinds.values():
        said = birds.sentences(kind, 0, 3)
        assert len(set(said)) == 3
        for text in said:
            assert all(value in text.lower() for value in kind.traits.values() if value != "plain")
            assert text.count(",") + 1 == sum(value != "plain" for value in kind.traits.values())
        assert birds.sentences(kind, 0, 4)[:3] == said
        assert birds.sentences(kind, 1, 3) != said


def test_a_bird_s_words_carry_its_attributes() -> None:
    """Kinds that share more attributes have nearer words."""
    kinds = birds.invent_kinds(0, 30, 6)
    texts = ClassTexts("birds", {name: birds.sentences(kind, 0, 3) for name, kind in kinds.items()}, {})
    seen = [not kind.unseen for kind in kinds.values()]
    source, _ = birds.describe(texts, seen, birds.Recipe(encoder="tfidf"))
    signatures = np.stack([birds.signature(kind.traits) for kind in kinds.values()])
    pairs = np.triu_indices(30, 1)
    found = np.corrcoef((source.values @ source.values.T)[pairs], (signatures @ signatures.T)[pairs])[0, 1]
    assert found > 0.4
