"""The data contract: who is seen, what is refused, and which images are held out."""

from dataclasses import replace

import numpy as np
import pytest

from tests.conftest import make_dataset
from zslcore.datasets.dataset import Dataset, Seen, check_choosable, hold_out_by_name, hold_out_seen
from zslcore.errors import ZSLError


def small(labels: list[int], trainval: list[int], test_seen: list[int], test_unseen: list[int]) -> Dataset:
    rows = (np.array(part) for part in (trainval, test_seen, test_unseen))
    return Dataset("small", tuple("abcdef"), np.eye(6, dtype="f4"), np.array(labels), *rows)


def test_seen_are_the_classes_of_trainval_and_unseen_those_of_test_unseen() -> None:
    data = small([3, 1, 1, 3, 5, 0, 2], trainval=[0, 1, 2], test_seen=[3], test_unseen=[4, 5])
    assert data.seen.tolist() == [1, 3]
    assert data.unseen.tolist() == [0, 5]


def test_a_class_of_test_seen_without_trainval_images_is_refused() -> None:
    with pytest.raises(ZSLError, match=r"test_seen holds classes without trainval images: 'c'; move them"):
        small([3, 1, 1, 3, 5, 0, 2], trainval=[0, 1, 2], test_seen=[3, 6], test_unseen=[4, 5])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ("a",)}, "1 classes; at least one seen and one unseen"),
        ({"classes": tuple("abcdea")}, "class names appear twice: 'a'"),
        ({"signatures": np.eye(5, 6, dtype="f4")}, r"signatures of shape \(5, 6\) for 6 classes"),
        (
            {"signatures": np.full((6, 6), np.nan, "f4")},
            r"signatures hold NaN or infinity in 6 rows: row 1 \('a'\), column 1; row 2 \('b'\)",
        ),
        ({"labels": np.array([3, 1, 1, 3, 5, 6])}, r"labels reach outside 0\.\.5"),
        ({"test_seen": np.array([], int)}, "split test_seen is empty"),
        ({"test_seen": np.array([6])}, "split test_seen points outside the 6 images"),
        ({"trainval": np.array([0, 1, 1])}, "split trainval lists an image twice, 1 in all, the first number 2;"),
        ({"test_seen": np.array([2])}, r"splits trainval and test_seen share 1 images, the first number 3;"),
        ({"trainval": np.array([0, 1, 2, 5]), "labels": np.array([3, 1, 1, 3, 5, 5])}, "both seen and unseen: 'f'"),
        ({"trainval": np.array([0])}, "only one seen class"),
        ({"features": np.zeros((5, 2), "f4")}, r"features of shape \(5, 2\) for 6 images"),
        ({"image_attributes": np.zeros((6, 5), "f4")}, r"expected \(6, 6\)"),
        ({"validation_splits": (np.array([0]),)}, "names classes that are not seen"),
        ({"validation_splits": (np.array([1]),)}, "leaves fewer than two"),
    ],
)
def test_what_breaks_the_contract_is_refused(changes: dict, message: str) -> None:
    data = small([3, 1, 1, 3, 5, 0], trainval=[0, 1, 2], test_seen=[3], test_unseen=[4])
    with pytest.raises(ZSLError, match=message):
        replace(data, **changes)


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.8, 0.99])
def test_every_class_keeps_an_image_and_holds_one_out_where_it_has_two(share: float) -> None:
    """Classes of 1, 2, 3, 10 and 40 images among rows that are not in order, and rows that take no part."""
    sizes = np.array([1, 2, 3, 10, 40])
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(6), [*sizes, 9]))
    rows = np.flatnonzero(labels < 5)
    kept, held = hold_out_seen(labels, rows, share, 0)
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, held])), rows)
    counts = np.bincount(labels[held], minlength=5)
    assert (np.bincount(labels[kept], minlength=5) >= 1).all()
    assert counts[0] == 0
    assert (counts[1:] >= 1).all()
    wanted = np.clip(share * sizes[1:], 1, sizes[1:] - 1)
    assert np.abs(counts[1:] - wanted).max() <= 0.5, "the share of each class, to the nearest image"


def test_held_out_images_are_drawn_by_seed() -> None:
    labels = np.repeat(np.arange(3), 20)
    drawn = [hold_out_seen(labels, np.arange(60), 0.25, seed)[1] for seed in range(200)]
    np.testing.assert_array_equal(drawn[0], hold_out_seen(labels, np.arange(60), 0.25, 0)[1])
    often = np.bincount(np.concatenate(drawn), minlength=60)
    assert 25 < often.min() <= often.max() < 78, "each of 60 is held out in about 50 of 200 draws"


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.8, 0.99])
def test_drawn_by_name_as_many_are_held_out_whatever_the_order(share: float) -> None:
    """As many of each class as `hold_out_seen` takes, the same ones in any order, and every image as often."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(6), [1, 2, 3, 10, 40, 9])
    classes, images = [f"class {k}" for k in range(6)], [f"{row}.jpg" for row in range(len(labels))]
    rows = np.flatnonzero(labels < 5)
    kept, held = hold_out_by_name(labels, classes, images, rows, share, 0)
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, held])), rows)
    by_order = hold_out_seen(labels, rows, share, 0)[1]
    np.testing.assert_array_equal(np.bincount(labels[held], minlength=6), np.bincount(labels[by_order], minlength=6))
    order, place = random.permutation(len(labels)), random.permutation(6)
    moved = np.argsort(place)
    _, other = hold_out_by_name(
        place[labels[order]], [classes[k] for k in moved], [images[row] for row in order],
        np.flatnonzero(labels[order] < 5), share, 0,
    )  # fmt: skip
    assert {images[order[row]] for row in other} == {images[row] for row in held}


def test_images_are_drawn_by_name_and_seed_as_often_as_each_other() -> None:
    labels, classes, images = np.repeat(np.arange(3), 20), "abc", [f"{row % 20}.jpg" for row in range(60)]
    drawn = [hold_out_by_name(labels, classes, images, np.arange(60), 0.25, seed)[1] for seed in range(200)]
    often = np.bincount(np.concatenate(drawn), minlength=60)
    assert 25 < often.min() <= often.max() < 78, "each of 60 is held out in about 50 of 200 draws"
    first = drawn[0]
    assert set(first[first < 20]) != set(first[(first >= 20) & (first < 40)] - 20), "equal names in another class"


@pytest.mark.parametrize(("seen", "splits", "enough"), [(3, 0, False), (4, 0, True), (3, 1, True)])
def test_choosing_needs_four_seen_classes_or_published_splits(seen: int, splits: int, enough: bool) -> None:
    unit = np.eye(5, dtype="f4")
    found = Seen("few", unit, np.arange(5), unit, np.arange(seen), np.array([4]), (np.array([0]),) * splits)
    if enough:
        check_choosable(found)
    else:
        with pytest.raises(ZSLError, match="3 seen classes; choosing on validation classes needs at least 4"):
            check_choosable(found)


@pytest.fixture(scope="module")
def shuffled() -> Dataset:
    """Seen and unseen classes mixed, images in no order, and one class whose images are in no split."""
    random = np.random.default_rng(3)
    labels = random.permutation(np.repeat([4, 0, 2, 3, 1], 6))
    rows = {k: np.flatnonzero(labels == k) for k in range(5)}
    trainval = random.permutation(np.concatenate([rows[k][:4] for k in (4, 1)]))  # seen: 1 and 4
    return Dataset(
        name="shuffled",
        classes=tuple("abcde"),
        signatures=random.normal(size=(5, 3)).astype(np.float32),
        labels=labels,
        trainval=trainval,
        test_seen=np.concatenate([rows[k][4:] for k in (4, 1)]),
        test_unseen=np.concatenate([rows[0], rows[3]]),
    )


def test_seen_classes_come_before_unseen_ones(shuffled: Dataset) -> None:
    assert shuffled.class_order.tolist() == [1, 4, 0, 3]
    assert shuffled.class_position.tolist() == [2, 0, -1, 3, 1]
    assert shuffled.class_order.dtype == shuffled.class_position.dtype == shuffled.train_labels.dtype == np.int64


@pytest.mark.parametrize("data", ["shuffled", "toy"])
def test_train_labels_point_to_the_same_classes_in_order(data: str, request: pytest.FixtureRequest) -> None:
    found: Dataset = request.getfixturevalue(data)
    assert len(found.train_labels) == len(found.trainval)
    for row, number in zip(found.trainval, found.train_labels, strict=True):
        assert found.seen[number] == found.class_order[number] == found.labels[row]
    assert set(found.train_labels) == set(range(len(found.seen)))


def test_every_competing_class_has_one_position() -> None:
    data = make_dataset(seen=5, unseen=3)
    assert sorted(data.class_position[data.class_order]) == list(range(8))
