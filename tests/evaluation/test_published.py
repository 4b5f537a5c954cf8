from collections import Counter
from pathlib import Path

import pytest

from zslcore.errors import ZSLError
from zslcore.evaluation.metrics import harmonic_mean
from zslcore.evaluation.published import load_published, published_for, published_name


def test_a_flag_says_how_it_is_known() -> None:
    assert [row for row in load_published() if row.selected_on_test != "unknown" and not row.flag_source] == []


def test_figures_stand_once_and_in_their_range() -> None:
    rows = load_published()
    named = Counter((row.table, row.dataset, row.method, row.features) for row in rows)
    assert [name for name, times in named.items() if times > 1] == []
    for row in rows:
        for metric, value in row.metrics.items():
            low, high = (0, 1) if metric == "MI" else (1, 100)  # a share of mutual information; the rest in percent
            assert low < value < high, row


def test_harmonic_means_agree_with_u_and_s() -> None:
    wrong = {
        (row.method, row.dataset): row.metrics["H"]
        for row in load_published()
        if {"U", "S", "H"} <= set(row.metrics)
        and abs(harmonic_mean(row.metrics["U"], row.metrics["S"]) - row.metrics["H"])
        > 0.2  # means of H over runs differ from H of the means
    }
    assert wrong == {}


def test_the_repeated_row_is_corrected_and_says_so() -> None:
    rows = {(row.method, row.dataset): row for row in load_published() if row.table == "table1"}
    row = rows["f-CLSWGAN", "CUB"]
    assert row.metrics == {"U": 43.7, "S": 57.7, "H": 49.7}
    assert "repeats the SE-ZSL row" in row.note
    assert row.selected_on_test == "yes"
    assert row.metrics != rows["SE-ZSL", "CUB"].metrics


def test_found_by_the_name_of_a_data_set() -> None:
    assert published_name("cub-fc1000") == "CUB"
    assert [row.metrics["T1"] for row in published_for("cub-fc1000", "table2") if row.method == "Xu et al."] == [63.1]
    assert published_for("birds", "table1") == []


def test_a_row_that_says_too_little(tmp_path: Path) -> None:
    file = tmp_path / "published.yaml"
    head = "signatures: {CUB: a}\nt: {title: t, source: s, split: p, features: f, selected_on_test: unknown, rows: "
    for row, problem in (
        ("[{by: x, CUB: {T1: 1}}]", "method"),
        ("[{method: m, by: x, years: 3, CUB: {T1: 1}}]", "years"),
    ):
        file.write_text(head + row + "}")
        load_published.cache_clear()
        with pytest.raises(ZSLError, match=problem):
            load_published(file)
