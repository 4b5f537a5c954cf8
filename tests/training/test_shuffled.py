"""Rows that are read while a network is trained on them, against the same rows in memory."""

from pathlib import Path

import numpy as np
import pytest
import torch

from zslcore.io import artifacts
from zslcore.io.rows import Rows, stored
from zslcore.scaling import Scaler
from zslcore.training.shuffled import TOGETHER, Shuffled, draw_of, epoch_order, means_of, moments_of, on_device

CPU = torch.device("cpu")
ROWS, WIDTH = 5000, 3


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rows:
    """Row k holds k, 2k, 3k; on disk, in float16."""
    path = tmp_path / "features.h5"
    values = np.arange(ROWS)[:, None] * np.array([1, 0.25, 0.5])
    with artifacts.create(path, artifacts.FEATURES, {}) as file:
        file["features"] = values.astype(np.float16)
    monkeypatch.setenv("ZSL_MEMORY", str(2 * 1024 * 4 * WIDTH / 2**30))  # two buffers of 1024 rows
    found = stored(path, artifacts.FEATURES, "features")
    assert isinstance(found, Rows)
    return found


def test_every_row_comes_once_an_epoch_with_its_own_numbers(rows: Rows) -> None:
    chosen = rows[np.arange(ROWS - 1, 0, -2)]
    x = Shuffled(chosen, CPU)
    whole = torch.from_numpy(np.asarray(chosen))
    assert torch.equal(x[torch.tensor([1, 0])], whole[[1, 0]]), "before any are drawn"
    seen = []
    for batch in x.draw(100):
        torch.testing.assert_close(x[batch], whole[batch], rtol=0, atol=0)
        seen.append(batch)
    assert {len(batch) for batch in seen} == {100}
    assert torch.equal(torch.cat(seen).sort().values, torch.arange(len(chosen)))
    others = torch.tensor([7, 1200, 3])
    assert torch.equal(x[others], whole[others])


def test_functions_of_rows_are_applied_and_means_are_those_of_the_whole(rows: Rows) -> None:
    whole, labels = np.asarray(rows), torch.arange(ROWS) % 7
    scaler = Scaler.fit(rows, "standard")
    x, inside = on_device(scaler(rows), CPU), on_device(Scaler.fit(whole, "standard")(whole), CPU)
    assert draw_of(x) is not None
    assert draw_of(inside) is None
    batch = next(x.draw(64))
    torch.testing.assert_close(x[batch], inside[batch], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(means_of(x, labels, 7), means_of(inside, labels, 7), rtol=1e-4, atol=1e-5)


def test_means_of_classes_and_moments_of_columns_are_numpy_s(rows: Rows) -> None:
    """Few rows, where n - 1 is not n; a class without any has a mean of 0."""
    chosen, labels = rows[np.array([4, 5, 4, 3, 4])], np.array([2, 0, 2, 0, 2])
    x, values = on_device(chosen, CPU), np.asarray(chosen).astype(np.float64)
    for given in (x, torch.from_numpy(values)):
        mean, deviation = (found.numpy() for found in moments_of(given))
        np.testing.assert_allclose(mean, values.mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(deviation, values.std(axis=0, ddof=1), rtol=1e-6)
    expected = [values[labels == 0].mean(axis=0), np.zeros(WIDTH), values[labels == 2].mean(axis=0)]
    np.testing.assert_allclose(means_of(x, torch.from_numpy(labels), 3).numpy(), expected, rtol=1e-6)


def test_the_buffer_is_half_of_what_may_be_in_memory(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    """In whole batches: 1024 rows are ten of 100."""
    read: list[int] = []
    monkeypatch.setattr(Shuffled, "_read", lambda self, part: read.append(len(part)) or np.asarray(self.rows[part]))
    for _ in Shuffled(rows, CPU).draw(100):
        pass
    assert read == [1000] * 5


def test_batches_of_sorted_classes_are_as_mixed_as_a_full_shuffle() -> None:
    """Variance of a class's share of a batch, and correlation of neighbours, of rows stored class by class."""
    count, capacity, batch, classes = 2**15, 2**12, 128, 32
    labels = torch.arange(count) * classes // count
    bound = 1 + batch * TOGETHER / capacity  # 1.5
    ratios = []
    for seed in range(8):
        torch.manual_seed(seed)
        drawn = labels[epoch_order(count, capacity)].reshape(-1, batch)
        counts = torch.stack([torch.bincount(row, minlength=classes) for row in drawn]).double()
        full = batch * (1 / classes) * (1 - 1 / classes) * (count - batch) / (count - 1)  # hypergeometric
        ratios.append(float(counts.var(0, correction=0).mean() / full))
        order = epoch_order(count, capacity).double()
        neighbours = torch.corrcoef(torch.stack([order[:-1], order[1:]]))[0, 1]
        blocks = capacity / TOGETHER  # parts of the order whose means are those of so many random blocks
        assert abs(float(neighbours)) < 4 / count**0.5 + 3 / blocks
    assert np.mean(ratios) < 1.05 * bound
    assert np.mean(ratios) > 1.1  # it is no full shuffle: the bound is not idle


def test_with_a_buffer_for_all_it_is_a_full_shuffle() -> None:
    torch.manual_seed(0)
    order = epoch_order(1000, 1000)
    assert torch.equal(order.sort().values, torch.arange(1000))
    together = (order[1:] - order[:-1]).abs() == 1
    assert together.sum() < 10  # 2 are expected
