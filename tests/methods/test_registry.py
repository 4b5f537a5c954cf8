"""The registry: known names, package.module:Class, entry points of other packages, and what is refused."""

from pathlib import Path

import pytest

from tests.methods.outside import importable, install
from zslcore.datasets.dataset import Dataset, Seen
from zslcore.errors import ZSLError
from zslcore.experiments.compare import compare
from zslcore.experiments.settings import Compare
from zslcore.methods import registry
from zslcore.project.code import closure, code_hash


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder tiny-zsl is installed in."""
    return install(tmp_path_factory.mktemp("outside"))


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """tiny-zsl, importable."""
    importable(site, monkeypatch)
    return site


def test_names_are_those_here_and_the_entry_points(installed: Path) -> None:
    assert set(registry.names()) == {*registry.METHODS, "plain-ridge", "other-name"}
    assert registry.names() == sorted(registry.names())
    assert registry.get("eszsl").__module__ == "zslcore.methods.eszsl", "no package replaces a method of this one"


@pytest.mark.parametrize("asked", ["plain-ridge", "tiny_zsl.methods:PlainRidge"])
def test_a_method_of_another_package_is_compared_like_any(asked: str, installed: Path, toy: Dataset) -> None:
    assert toy.features is not None
    rows = toy.trainval
    seen = Seen("toy", toy.features[rows], toy.labels[rows], toy.signatures, toy.seen, toy.unseen)
    found = compare(registry.get(asked), toy, seen, toy.features, None, Compare(budget=2, splits=1), [0, 1])
    assert found["about"]["method"] == "plain-ridge"
    assert list(found["zsl"]["T1"]["seeds"]) == ["0"]
    assert found["zsl"]["T1"]["mean"] > 2 * 25, "twice chance"


def test_a_builtin_method_by_its_class() -> None:
    assert registry.get("zslcore.methods.eszsl:ESZSL") is registry.get("eszsl")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("plain-rigde", "unknown method 'plain-rigde': did you mean 'plain-ridge'"),
        ("ezsl", "unknown method 'ezsl': did you mean 'eszsl'"),
        ("other-name", "its class calls itself 'plain-ridge'; make the two names the same"),
        ("no_such_package.methods:Mine", "cannot be imported .*No module named 'no_such_package'.*PYTHONPATH"),
        (":Mine", "cannot be imported"),
        ("tiny_zsl.methods:PlainRigde", "unknown class 'PlainRigde': did you mean 'PlainRidge'"),
        ("tiny_zsl.methods:", "unknown class ''"),
        ("tiny_zsl.methods:NoMethod", "not a subclass of zslcore.methods.base.Method"),
        ("tiny_zsl.numbers:STRENGTH", "not a subclass of zslcore.methods.base.Method"),
        ("tiny_zsl.methods:Unfinished", "the class lacks learn; see"),
        ("tiny_zsl.methods:Nameless", "does not set name, Settings"),
        ("tiny_zsl.methods:Taken", "name 'eszsl' belongs to zslcore.methods.eszsl:ESZSL; set another `name`"),
        ("tiny_zsl.methods:Shouting", "small letters, digits and single hyphens"),
    ],
)
def test_what_is_refused(asked: str, message: str, installed: Path) -> None:
    with pytest.raises(ZSLError, match=message):
        registry.get(asked)


def test_the_code_of_an_outside_method_is_its_package_and_what_it_imports_of_this_one(installed: Path) -> None:
    files = closure("tiny_zsl.methods")
    outside = {name: path for name, path in files.items() if not name.startswith("zslcore.")}
    assert outside == {
        "tiny_zsl": installed / "tiny_zsl/__init__.py",
        "tiny_zsl.methods": installed / "tiny_zsl/methods.py",
        "tiny_zsl.numbers": installed / "tiny_zsl/numbers.py",
    }
    assert "zslcore.methods._linalg" in files
    assert "zslcore.methods.ale" not in files
    before = code_hash("tiny_zsl.methods")
    numbers = installed / "tiny_zsl/numbers.py"
    text = numbers.read_text()
    numbers.write_text("STRENGTH = 2.0\n")
    try:
        assert code_hash("tiny_zsl.methods") != before
    finally:
        numbers.write_text(text)
    assert code_hash("tiny_zsl.methods") == before
    assert all(name.startswith("zslcore.") for name in closure("zslcore.methods.ale"))
    assert closure("no_such_package.methods") == {}
