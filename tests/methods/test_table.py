"""The table of methods in the docs, made of what the classes say."""

from pathlib import Path

import pytest

from zslcore.errors import ZSLError
from zslcore.methods import registry, table

PAGE = Path(__file__).parents[2] / "docs/methods.md"


def test_the_page_holds_the_table_of_today() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert table.replaced(page) == page, "run python -m zslcore.methods.table docs/methods.md"


def test_a_row_says_what_the_class_says() -> None:
    dap, transductive = registry.get("dap"), registry.get("gfzsl-transductive")
    header, _, first, second = table.markdown([transductive, dap]).splitlines()
    assert header == "| method | `name` | from | family | | idea |"
    assert first == (f"| DAP | `dap` | {dap.citation} | attribute classifiers | binary attributes | {dap.summary} |"), (
        "families stand in one order"
    )
    assert "| `gfzsl-transductive` |" in second
    assert "| transductive |" in second


def test_only_what_stands_between_the_markers_is_replaced() -> None:
    page = f"above\n{table.BEGIN}\nold\n{table.END}\nbelow\n"
    new = table.replaced(page)
    assert new.startswith(f"above\n{table.BEGIN}\n| method ")
    assert new.endswith(f"|\n{table.END}\nbelow\n")
    assert "old" not in new
    assert table.replaced(new) == new
    with pytest.raises(ZSLError, match="lacks the lines"):
        table.replaced("no markers")
