"""Texts about classes: three forms that say the same, and each bad one refused by name."""

import json
from pathlib import Path

import pytest

from zslcore.errors import ZSLError
from zslcore.signatures.texts import LONGEST, for_classes, read_texts

SAID = {"owl": ("round head", "hoots at night"), "café": ("Käuzchen, größer",)}


def in_form(folder: Path, form: str) -> Path:
    path = folder / form
    if form == "folder":
        path.mkdir()
        for known, texts in SAID.items():
            (path / f"{known}.txt").write_text("\n".join(texts) + "\n\n", encoding="utf-8")
    elif form.endswith(".json"):
        path.write_text(json.dumps({known: list(texts) for known, texts in SAID.items()}), encoding="utf-8")
    else:
        rows = [f'{known},"{text}"' for known, texts in SAID.items() for text in texts]
        path.write_text("\n".join(["class,text", *rows]), encoding="utf-8")
    return path


@pytest.mark.parametrize("form", ["texts.csv", "texts.json", "folder"])
def test_every_form_gives_the_same_texts(tmp_path: Path, form: str) -> None:
    assert dict(read_texts(in_form(tmp_path, form)).texts) == SAID


def test_json_may_say_what_a_class_is_called(tmp_path: Path) -> None:
    path = tmp_path / "texts.json"
    path.write_text('{"94": {"name": "foxglove", "texts": ["  bells \\n in a row"]}, "St._Bernard": "a dog"}')
    texts = read_texts(path)
    assert (texts.name("94"), texts.name("St._Bernard")) == ("foxglove", "St. Bernard")
    assert texts.texts["94"] == ("bells in a row",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("class,text\nowl,\n", "class 'owl' has only an empty text"),
        ('class,text\nowl,"..."\n', "class 'owl' has only an empty text"),
        ("class,text\nowl,a\x07b\n", r"control character \\x07"),
        ("class,text\nowl,a, b\n", "a text with commas stands in quotes"),
        ("name,says\nowl,a\n", "the header is name,says, expected class,text"),
        ("class,text\n", "no texts"),
    ],
)
def test_bad_tables_are_refused_by_name(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "texts.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ZSLError, match=message):
        read_texts(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"owl": []}', "class 'owl' has no text"),
        ('{"owl": 3}', "class 'owl': expected a text or a list of texts"),
        ('["owl"]', "holds a list"),
        ("{", "not valid JSON"),
        (json.dumps({"owl": "x" * (LONGEST + 1)}), "100,001 characters"),
    ],
)
def test_bad_json_is_refused_by_name(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "texts.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ZSLError, match=message):
        read_texts(path)


def test_ten_megabytes_are_refused_in_every_form(tmp_path: Path) -> None:
    long = "word " * 2**21
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/owl.txt").write_text(long)
    (tmp_path / "texts.json").write_text(json.dumps({"owl": long}))
    (tmp_path / "texts.csv").write_text(f"class,text\nowl,{long}\n")
    for form in ("folder", "texts.json", "texts.csv"):
        with pytest.raises(ZSLError, match="characters"):
            read_texts(tmp_path / form)


def test_what_is_no_text_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "texts.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ZSLError, match="not text in UTF-8"):
        read_texts(tmp_path / "texts.json")
    with pytest.raises(ZSLError, match="no such file"):
        read_texts(tmp_path / "absent.csv")


def test_classes_without_text_are_named_and_others_left_out(tmp_path: Path) -> None:
    texts = read_texts(in_form(tmp_path, "texts.json"))
    kept, notes = for_classes(texts, ["owl"])
    assert list(kept.texts) == ["owl"]
    assert notes == [f"{tmp_path / 'texts.json'}: texts of classes not in use are left out: 'café'"]
    with pytest.raises(ZSLError, match=r"no text for 'Owl_' \(there is 'owl'\)"):
        for_classes(texts, ["Owl_", "café"])


def test_an_empty_text_among_others_is_left_out_and_said(tmp_path: Path) -> None:
    (tmp_path / "texts.json").write_text('{"owl": ["hoots", " . "], "jay": ["blue"]}')
    texts = read_texts(tmp_path / "texts.json")
    assert texts.texts["owl"] == ("hoots",)
    assert "empty texts of 1 classes (owl) are left out" in for_classes(texts, ["owl", "jay"])[1][0]
