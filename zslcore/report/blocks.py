"""What a report is made of, and how each part becomes Markdown and HTML. Text is plain: both escape it."""

import base64
import html
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from zslcore.errors import printable


@dataclass(frozen=True)
class Heading:
    """level 1 is the report, 2 a data set, 3 a section of it."""

    level: int
    text: str


@dataclass(frozen=True)
class Paragraph:
    """A paragraph; `warning` marks what a reader must not miss."""

    text: str
    warning: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of cells. strong: row numbers to set off; folded: shown on demand only, under the caption."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    strong: frozenset[int] = field(default_factory=frozenset)
    folded: bool = False


@dataclass(frozen=True)
class Figure:
    """A picture: name of its file, PNG bytes, caption."""

    name: str
    png: bytes
    caption: str


Block = Heading | Paragraph | Table | Figure


def to_markdown(blocks: Iterable[Block], folder: str = "figures") -> str:
    """Markdown that shows pictures from `folder`."""
    return "\n\n".join(_MARKDOWN[type(block)](block, folder) for block in blocks) + "\n"


def to_html(blocks: Iterable[Block]) -> str:
    """The body of the page; pictures are inside it."""
    return "\n".join(_HTML[type(block)](block) for block in blocks)


def anchor(text: str) -> str:
    """A heading's address within the page."""
    return re.sub(r"[^\w]+", "-", text.lower()).strip("-")


def plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\`*_|#]|\](?=\())", r"\\\1", printable(text)).replace("<", "&lt;")


def escaped(text: str) -> str:
    """Text that HTML shows as it is."""
    return html.escape(printable(text))


def _markdown_table(table: Table, folder: str) -> str:
    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    rows = [
        line(f"**{plain(cell)}**" if position in table.strong and cell else plain(cell) for cell in row)
        for position, row in enumerate(table.rows)
    ]
    alignment = "|---" + "|---:" * (len(table.header) - 1) + "|"
    content = "\n".join([line(map(plain, table.header)), alignment, *rows])
    if table.folded:
        return f"<details><summary>{escaped(table.caption)}</summary>\n\n{content}\n\n</details>"
    return f"{plain(table.caption)}\n\n{content}" if table.caption else content


_MARKDOWN: dict[type[Block], Callable[[Any, str], str]] = {
    Heading: lambda block, folder: f"{'#' * block.level} {plain(block.text)}",
    Paragraph: lambda block, folder: f"> **{plain(block.text)}**" if block.warning else plain(block.text),
    Table: _markdown_table,
    Figure: lambda block, folder: f"![{plain(block.caption)}]({folder}/{block.name}.png)\n\n*{plain(block.caption)}*",
}


def _html_table(table: Table) -> str:
    head = "".join(f"<th>{escaped(cell)}</th>" for cell in table.header)
    rows = []
    for position, row in enumerate(table.rows):
        cells = "".join(f"<td>{escaped(cell)}</td>" for cell in row)
        rows.append(f'<tr class="strong">{cells}</tr>' if position in table.strong else f"<tr>{cells}</tr>")
    caption = escaped(table.caption)
    body = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    if table.folded:
        return f"<details><summary>{caption}</summary>{body}</details>"
    return f'<p class="caption">{caption}</p>{body}' if caption else body


def _html_figure(figure: Figure) -> str:
    source = base64.b64encode(figure.png).decode("ascii")
    caption = escaped(figure.caption)
    width = int.from_bytes(figure.png[16:20], "big") * 3 // 4  # from the PNG's header; finer than the page's pixels
    image = f'<img alt="{caption}" width="{width}" src="data:image/png;base64,{source}">'
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def _html_heading(heading: Heading) -> str:
    level = heading.level
    address = f' id="{anchor(heading.text)}"' if level == 2 else ""
    return f"<h{level}{address}>{escaped(heading.text)}</h{level}>"


def _html_paragraph(paragraph: Paragraph) -> str:
    return f"<p{' class=warning' if paragraph.warning else ''}>{escaped(paragraph.text)}</p>"


_HTML: dict[type[Block], Callable[[Any], str]] = {
    Heading: _html_heading,
    Paragraph: _html_paragraph,
    Table: _html_table,
    Figure: _html_figure,
}
