"""The benchmark's files as we write them: our importer and SciPy's reader, as others use it, give the same back."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat

from zslcore.datasets.dataset import Dataset
from zslcore.datasets.xlsa17 import XLSA17Source
from zslcore.datasets.xlsa17_files import write
from zslcore.errors import ZSLError


def test_our_importer_reads_the_same(toy: Dataset, tmp_path: Path) -> None:
    data = replace(toy, validation_splits=(np.array([1, 4, 5]),))
    features, splits = write(data, tmp_path)
    found = XLSA17Source(features=features, splits=splits).load("toy", Path())
    for name in ("labels", "trainval", "test_seen", "test_unseen", "signatures", "features"):
        np.testing.assert_array_equal(getattr(found, name), getattr(data, name))
    assert found.classes == data.classes
    np.testing.assert_array_equal(found.validation_splits[0], [1, 4, 5])
    assert not found.notes


def test_what_others_do_with_the_files_gives_the_same(toy: Dataset, tmp_path: Path) -> None:
    """The lines that most published code has: squeeze, transpose, subtract one."""
    features, splits = write(toy, tmp_path)
    content, split = loadmat(features), loadmat(splits)
    assert toy.features is not None
    np.testing.assert_array_equal(content["features"].T, toy.features)
    label = content["labels"].astype(int).squeeze() - 1
    np.testing.assert_array_equal(label, toy.labels)
    np.testing.assert_array_equal(split["att"].T, toy.signatures)
    for name in ("trainval", "test_seen", "test_unseen"):
        np.testing.assert_array_equal(split[f"{name}_loc"].squeeze() - 1, getattr(toy, name))
    assert [str(cell[0][0]) for cell in split["allclasses_names"]] == list(toy.classes)
    assert "train_loc" not in split
    assert str(content["image_files"][0, 0][0]) == "class 0/0"


def test_classes_without_an_image_are_left_out(toy: Dataset, tmp_path: Path) -> None:
    more = np.concatenate([toy.signatures[:2], np.full((1, 10), 0.5, np.float32), toy.signatures[2:]])
    labels = toy.labels + (toy.labels >= 2)
    classes = (*toy.classes[:2], "nobody", *toy.classes[2:])
    features, splits = write(replace(toy, signatures=more, labels=labels, classes=classes), tmp_path)
    found = XLSA17Source(features=features, splits=splits).load("toy", Path())
    assert found.classes == toy.classes
    np.testing.assert_array_equal(found.labels, toy.labels)


def test_without_features_there_is_nothing_to_write(toy: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ZSLError, match="extract them first"):
        write(replace(toy, features=None), tmp_path)
    assert not list(tmp_path.iterdir())
