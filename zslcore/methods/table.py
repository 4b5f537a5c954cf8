"""The table of methods, made of what each class says of itself: `python -m zslcore.methods.table docs/methods.md`."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

from zslcore.errors import ZSLError
from zslcore.io.artifacts import write_text
from zslcore.methods import registry
from zslcore.methods.base import Family, Method

BEGIN = "<!-- methods: made by `python -m zslcore.methods.table docs/methods.md` -->"
END = "<!-- end of methods -->"
TAGS = {
    "random": "random",
    "generates": "generates features",
    "transductive": "transductive",
    "needs_binary_attributes": "binary attributes",
    "needs_image_attributes": "attributes of images",
    "linear_scores": "linear scores",
}
"""Attribute of `Method` -> what the table says where it is True."""


def tags(method: type[Method[Any]]) -> list[str]:
    """The capabilities of a method, in words."""
    return [words for attribute, words in TAGS.items() if getattr(method, attribute)]


BLOCKS = {"vectors": "", "maps": "On feature maps:\n\n"}
"""What a method learns from -> what stands over the table of these methods."""


def markdown(methods: Iterable[type[Method[Any]]]) -> str:
    """Markdown tables, one for each kind of input; see `rows`."""
    known = list(methods)
    blocks = {title: [one for one in known if one.input == kind] for kind, title in BLOCKS.items()}
    return "\n\n".join(title + "\n".join(rows(block)) for title, block in blocks.items() if block)


def rows(methods: Iterable[type[Method[Any]]]) -> list[str]:
    """The lines of a table, by family, then by title: name, source, family, capabilities and idea."""
    order = get_args(Family)
    lines = ["| method | `name` | from | family | | idea |", "|---|---|---|---|---|---|"]
    for method in sorted(methods, key=lambda one: (order.index(one.family), one.title.lower())):
        cells = (
            method.title,
            f"`{method.name}`",
            method.citation,
            method.family,
            ", ".join(tags(method)),
            method.summary,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def replaced(page: str) -> str:
    """A page whose lines between the two markers are the table of the methods here. Raises ZSLError without markers."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ZSLError(f"the page lacks the lines '{BEGIN}' and '{END}', between which the table of methods stands")
    return f"{before}{BEGIN}\n{markdown(map(registry.get, registry.METHODS))}\n{END}{after}"


def main() -> None:
    """Rewrite the table in the page named on the command line."""
    page = Path(sys.argv[1])
    write_text(page, replaced(page.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
