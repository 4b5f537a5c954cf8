from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from zslcore.errors import ZSLError
from zslcore.io import rows
from zslcore.io.rows import Rows, as_array
from zslcore.scaling import Scaler, Scaling, class_means

FEATURES = arrays(np.float32, (7, 4), elements=st.floats(-100, 100, width=32))


@given(FEATURES)
def test_standard_and_minmax_by_their_definitions(x: np.ndarray) -> None:
    standard = Scaler.fit(x, "standard")(x)
    minmax = Scaler.fit(x, "minmax")(x)
    for j in range(x.shape[1]):
        if np.ptp(x[:, j].astype(float)) > 1e-2:
            assert standard[:, j].mean() == pytest.approx(0, abs=2e-2)
            assert standard[:, j].std() == pytest.approx(1, rel=2e-2)
            assert (minmax[:, j].min(), minmax[:, j].max()) == pytest.approx((0, 1), abs=1e-3)
    assert np.isfinite(standard).all()


@pytest.mark.parametrize(("scaling", "length"), [("l2", 1.0), ("sphere", 2.0)])
def test_lengths(scaling: str, length: float) -> None:
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    assert np.linalg.norm(Scaler.fit(x, scaling)(x), axis=1) == pytest.approx(length)


def test_root_is_standard_of_the_signed_square_root() -> None:
    x = np.array([[4.0, -9.0], [16.0, 1.0], [0.0, 0.25]], dtype=np.float32)
    roots = np.array([[2.0, -3.0], [4.0, 1.0], [0.0, 0.5]])
    expected = (roots - roots.mean(0)) / roots.std(0)
    scaler = Scaler.fit(x, "root")
    np.testing.assert_allclose(scaler(x), expected, atol=1e-6)
    again = Scaler.from_state("root", scaler.state())
    np.testing.assert_array_equal(again(x), scaler(x))


def test_power_keeps_the_direction_from_the_mean() -> None:
    x = np.array([[4.0, -9.0], [16.0, 1.0], [0.0, 0.25]], dtype=np.float32)
    roots = np.array([[2.0, -3.0], [4.0, 1.0], [0.0, 0.5]])
    units = [row / np.sqrt(row @ row) for row in roots]
    centred = [unit - sum(units) / 3 for unit in units]
    scaler = Scaler.fit(x, "power")
    np.testing.assert_allclose(scaler(x), [row / np.sqrt(row @ row) for row in centred], atol=1e-6)
    np.testing.assert_array_equal(Scaler.from_state("power", scaler.state())(x), scaler(x))
    np.testing.assert_allclose(scaler(5 * x), scaler(x), atol=1e-6)


@pytest.mark.parametrize(("scaling", "length"), [("centred", 1.0), ("centred_sphere", 2**0.5)])
def test_centred_is_the_direction_from_the_mean_of_the_fitted_rows(scaling: str, length: float) -> None:
    x = np.array([[4.0, -9.0], [16.0, 1.0], [1.0, 2.0]], dtype=np.float32)
    away = np.array([[5.0, 1.0], [-2.0, -2.0]], dtype=np.float32)
    expected = [length * row / np.sqrt(row @ row) for row in away - np.array([7.0, -2.0])]
    scaler = Scaler.fit(x, scaling)
    np.testing.assert_allclose(scaler(away), expected, atol=1e-6)
    np.testing.assert_array_equal(Scaler.from_state(scaling, scaler.state())(away), scaler(away))


def test_max_divides_everything_by_the_one_largest_absolute_value() -> None:
    x = np.array([[1.0, -8.0, 0.5], [2.0, 4.0, 0.0]], dtype=np.float32)
    np.testing.assert_allclose(Scaler.fit(x, "max")(x), x / 8)
    np.testing.assert_allclose(Scaler.fit(x, "max")(3 * x), 3 * x / 8)


def test_none_leaves_features_as_they_are() -> None:
    x = np.array([[1.0, -8.0], [2.0, 4.0]], dtype=np.float32)
    np.testing.assert_array_equal(Scaler.fit(x, "none")(x), x)


def test_constant_dimension_becomes_zero() -> None:
    x = np.array([[1.0, 5.0], [3.0, 5.0]], dtype=np.float32)
    assert Scaler.fit(x, "standard")(x)[:, 1].tolist() == [0.0, 0.0]
    wide = np.full((3, 100), 5, dtype=np.float32)
    assert (Scaler.fit(wide, "standard")(wide + 1) == 0).all(), "of rows that are not as the fitted ones, too"


def test_statistics_come_from_the_fitted_rows_only() -> None:
    x = np.array([[0.0], [2.0]], dtype=np.float32)
    assert Scaler.fit(x, "minmax")(np.array([[4.0]], dtype=np.float32)).tolist() == [[2.0]]


def test_unknown_scaling() -> None:
    with pytest.raises(ZSLError, match="did you mean 'standard'"):
        Scaler.fit(np.zeros((2, 2), dtype=np.float32), "standrad")  # type: ignore[arg-type]


@pytest.mark.parametrize("scaling", ["l2", "sphere", "minmax"])
def test_rows_that_overflow_are_named(scaling: str) -> None:
    """A norm, or a difference, that float32 cannot hold would make rows of zeros, or of infinities, silently."""
    x = np.ones((5, 4), np.float32)
    x[0], x[3] = 0.5, 3e38
    scaler = Scaler.fit(x[:1] if scaling == "minmax" else x, scaling)
    scaler = replace(scaler, shift=scaler.shift - np.float32(3e38)) if scaling == "minmax" else scaler
    with pytest.raises(ZSLError, match=rf"1 of 5 rows .* overflow .* '{scaling}' \(up to 3e\+38, the first is row 3,"):
        scaler(x)
    assert np.isfinite(scaler(x[:3])).all()
    assert scaler(x[:0]).shape == (0, 4)


@pytest.mark.parametrize("scaling", ["none", "standard", "root", "minmax", "max", "l2", "sphere", "power"])
def test_no_scaling_lets_a_row_through_that_is_not_finite(scaling: str) -> None:
    x = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    scaler = Scaler.fit(x, scaling)
    x[4, 1] = np.inf
    with pytest.raises(ZSLError, match="1 of 6 rows"):
        scaler(x)


def test_class_means_by_loop() -> None:
    random = np.random.default_rng(0)
    x, labels = random.normal(size=(9, 4)), np.array([2, 0, 1, 1, 0, 2, 2, 2, 0])
    np.testing.assert_allclose(class_means(x, labels, 3), [x[labels == k].mean(axis=0) for k in range(3)])


@pytest.mark.parametrize("scaling", get_args(Scaling))
def test_rows_that_are_read_are_scaled_as_in_memory(scaling: Scaling, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of unequal sizes, far from zero, so that a wrong mean or spread of one shows."""
    x = np.random.default_rng(0).normal(5, [1, 3, 0.2, 10], (23, 4)).astype(np.float32) ** 2
    x[:, 3] *= -1
    monkeypatch.setattr(rows, "BLOCK", 10)
    stored = Rows(lambda numbers: x[numbers], np.arange(len(x)), x.shape[1])
    inside, outside = Scaler.fit(x, scaling), Scaler.fit(as_array(stored), scaling)
    np.testing.assert_allclose(outside.shift, inside.shift, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(outside.factor, inside.factor, rtol=1e-4)
    scaled = outside(as_array(stored))
    assert isinstance(scaled, Rows)
    np.testing.assert_allclose(np.asarray(scaled), inside(x), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("scaling", get_args(Scaling))
def test_scaled_places_have_the_scaled_mean(scaling: Scaling) -> None:
    maps = np.random.default_rng(0).uniform(1, 5, (6, 9, 4)).astype(np.float32)
    scaler = Scaler.fit(maps.mean(axis=1), scaling)
    if scaling in ("root", "power"):
        with pytest.raises(ZSLError, match="no mean over places"):
            scaler.places(maps)
        return
    places = scaler.places(maps)
    np.testing.assert_allclose(places.mean(axis=1), scaler(maps.mean(axis=1)), rtol=1e-4, atol=1e-5)
    ratio = (places[:, 0] - places[:, 1]) / (maps[:, 0] - maps[:, 1])  # linear in each place
    np.testing.assert_allclose(ratio, (places[:, 2] - places[:, 3]) / (maps[:, 2] - maps[:, 3]), rtol=1e-2)
