import re
from io import BytesIO

from PIL import Image

from zslcore.report.blocks import Figure, Heading, Paragraph, Table, anchor, to_html, to_markdown
from zslcore.report.page import page


def png(size: tuple[int, int] = (40, 20)) -> bytes:
    file = BytesIO()
    Image.new("RGB", size).save(file, "PNG")
    return file.getvalue()


EVIL = '<script>alert(1)</script> & "x" | *bold* `code` [a](b)'


def test_html_escapes_everything() -> None:
    blocks = [
        Heading(2, EVIL),
        Paragraph(EVIL),
        Paragraph(EVIL, warning=True),
        Table(EVIL, (EVIL, "b"), ((EVIL, "1"),), frozenset({0})),
        Table(EVIL, (EVIL,), ((EVIL,),), folded=True),
        Figure("f", png(), EVIL),
    ]
    found = page(EVIL, blocks)
    assert "<script" not in found
    assert "&lt;script&gt;" in found
    assert found.count("<table>") == 2
    assert 'class="strong"' in found


def test_page_loads_nothing_from_elsewhere() -> None:
    found = page("t", [Heading(2, "cub"), Figure("f", png(), "c")])
    assert re.findall(r'(?:src|href)="(?!data:|#)', found) == []
    assert "default-src 'none'" in found
    assert 'href="#cub"' in found
    assert 'id="cub"' in found
    assert 'width="30"' in found  # three quarters of the picture's own 40 pixels


def test_markdown() -> None:
    table = Table("caption", ("name", "H"), (("a|b", "1"), ("c", "2")), frozenset({1}))
    found = to_markdown([Heading(3, "x_y"), table, Figure("f", png(), "c")])
    assert found == (
        "### x\\_y\n\ncaption\n\n| name | H |\n|---|---:|\n| a\\|b | 1 |\n| **c** | **2** |\n\n"
        "![c](figures/f.png)\n\n*c*\n"
    )
    assert "<details>" in to_markdown([Table("c", ("a",), (("b",),), folded=True)])
    assert "<script" not in to_markdown([Paragraph(EVIL), Table(EVIL, (EVIL,), ((EVIL,),), folded=True)])


def test_anchor() -> None:
    assert anchor("CUB (fc1000)") == "cub-fc1000"
    assert to_html([Heading(1, "a")]) == "<h1>a</h1>"
