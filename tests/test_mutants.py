"""Mutation testing: the faults it makes of a line, and that it tells a weak test from a strong one."""

import ast
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[1] / "bench"
SPEC = importlib.util.spec_from_file_location("mutate", BENCH / "mutate.py")
mutate = sys.modules["mutate"] = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(mutate)

MODULE = '''
"""A module."""

from dataclasses import dataclass

LIMIT: int = 3


@dataclass(frozen=True)
class Box:
    """A box of at most 10 things."""

    size: int = 1

    def fill(self, things: list[float], top: bool = True) -> float:
        """All of the 2 things."""
        if len(things) > self.size or not things:
            raise ValueError(f"{len(things) - self.size} too many, at most {self.size + 0}")
        things.sort(reverse=top)
        if top:
            return max(things) / (self.size - 2.5)
        return sum((one * 2 for one in things if 0 <= one < LIMIT), start=0)
'''


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a < b", {"a <= b", "a >= b"}),
        ("a >= b", {"a > b", "a < b"}),
        ("a == b", {"a != b"}),
        ("a is not b", {"a is b"}),
        ("a not in b", {"a in b"}),
        ("a + b", {"a - b", "a", "b"}),
        ("a * b", {"a / b", "a", "b"}),
        ("a @ b", {"a", "b"}),
        ("a &= b", {"a |= b"}),
        ("a -= b", {"a += b"}),
        ("-a", {"a"}),
        ("not a", {"a"}),
        ("a and b", {"a or b"}),
        ("a or b", {"a and b"}),
        ("a = 0", {"a = 1"}),
        ("a = 1.0", {"a = 0.0"}),
        ("a = 0.5", {"a = 1.5"}),
        ("a = 7", {"a = 8"}),
        ("a = True", {"a = False"}),
        ("a = b[:4]", {"a = b[:5]"}),
        ("a = f(b, axis=1)", {"a = f(b, axis=0)", "a = f(b)"}),
        ("a = f(b, axis=-1)", {"a = f(b, axis=1)", "a = f(b, axis=-0)", "a = f(b)"}),
        ("a = f(b, side='left')", {"a = f(b, side='right')", "a = f(b)"}),
        ("a = b.min()", {"a = b.max()"}),
        ("a = max(b)", {"a = min(b)"}),
        ("a = b.mean()", {"a = b.sum()"}),
        ("a = f(b, c.d, 'e')", {"a = f(c.d, b, 'e')"}),
        ("a = f(b, g(c))", set()),
        ("a = f(b, b)", set()),
        ("f(b)", {"pass"}),
        ("a = b if c else d", {"a = b if not c else d"}),
        ("if a:\n    b", {"if not a:"}),
        ("while a < b:\n    c", {"while a <= b:", "while a >= b:"}),
        ("raise Wrong(f'{a + 1} of {b[:3]}')", set()),
        ("a: Annotated[int, 3] = b", set()),
        ("a = Field(b, description='of 3')", set()),
        ("@cached(4)\ndef f(a: g(3)) -> h(5):\n    return a", set()),
        ("'''Of 3.'''", set()),
        ("a = 'mean of 3'", set()),
    ],
)
def test_each_operator(line: str, expected: set[str]) -> None:
    assert {one.after for one in mutate.mutants("m.py", line)} == expected


def test_one_place_changes_and_nothing_is_made_twice() -> None:
    made = mutate.mutants("m.py", MODULE)
    whole = ast.unparse(ast.parse(MODULE))
    for one in made:
        compile(one.source, "m.py", "exec")
        lines = list(zip(whole.splitlines(), one.source.splitlines(), strict=True))
        assert [pair for pair in lines if pair[0] != pair[1]] == [(one.before, one.after)]
        assert MODULE.splitlines()[one.line - 1].replace(" ", "") == one.before.replace(" ", "")
    trees = {ast.dump(ast.parse(one.source)) for one in made} - {ast.dump(ast.parse(MODULE))}
    assert len(trees) == len({one.id for one in made}) == len(made)
    assert {one.operator for one in made} == {
        "comparison", "operator", "operand", "unary", "and/or", "constant", "condition", "statement", "keyword", "name",
    }  # fmt: skip
    assert {one.function for one in made} == {"", "Box", "Box.fill"}
    assert made == mutate.mutants("m.py", MODULE)


def test_ids_do_not_depend_on_the_rest_of_the_module() -> None:
    before = {one.id for one in mutate.mutants("m.py", MODULE)}
    after = {one.id for one in mutate.mutants("m.py", f"LOW = 3  # a new line\n{MODULE}")}
    assert before < after
    assert len(after - before) == 1


COUNT = "def count(numbers, limit):\n    return sum(x < limit for x in numbers)  # below it\n"
WEAK = "from tiny import count\n\ndef test_count():\n    assert count([1, 5], 3) == 1\n"
STRONG = f"{WEAK}    assert count([1, 3, 5], 3) == 1\n    assert count([1, 2], 3) == 2\n"
BEFORE, AFTER = (f"return sum((x {op} limit for x in numbers))" for op in ("<", "<="))


def command(tree: Path, source: str, tests: str, *arguments: str, equivalent: str = "") -> str:
    """What the command prints on a module and its test, in a git repository of their own."""
    config = f"warm: [pytest]\nmodules: {{tiny.py: [test_tiny.py]}}\nequivalent: [{equivalent}]"
    for name, text in (("tiny.py", source), ("test_tiny.py", tests), ("mutants.yaml", config), (".gitignore", ".zsl/")):
        (tree / name).write_text(text)
    subprocess.run(["git", "init", "-q"], cwd=tree, check=True)
    line = [sys.executable, BENCH / "mutants.py", "--root", tree, "--config", tree / "mutants.yaml", *arguments]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (tree / "tiny.py").read_text() == source
    return done.stdout + done.stderr


def outcomes(tree: Path) -> dict[str, str]:
    """Each mutant of the last run: the line it makes, and what became of it."""
    results = json.loads((tree / ".zsl" / "mutants.json").read_text())["modules"]["tiny.py"]["results"]
    return {one["after"].strip(): one["outcome"] for one in results}


def test_a_weak_test_leaves_survivors_and_a_strong_one_none(tmp_path: Path) -> None:
    printed = command(tmp_path, COUNT, WEAK)
    assert outcomes(tmp_path) == {
        AFTER: "survived",
        "return sum((x >= limit for x in numbers))": "survived",
        "return mean((x < limit for x in numbers))": "killed",
    }
    assert f"-    {BEFORE}\n+    {AFTER}\n" in printed
    assert "| tiny.py | 3 | 1 | 33.3 |" in printed
    assert "| tiny.py | 3 | 3 | 100.0 |" in command(tmp_path, COUNT, STRONG)


def test_equivalent_mutants_do_not_count_and_outdated_ones_are_named(tmp_path: Path) -> None:
    same, gone = (f'{{module: tiny.py, before: "{before}", after: "{AFTER}"}}' for before in (BEFORE, "return 7"))
    printed = command(tmp_path, COUNT, WEAK, "--list", equivalent=f"{same}, {gone}")
    assert printed.count("tiny.py:2") == 2
    assert f"+    {AFTER}" not in printed
    assert f"no such mutant any more, remove it from the equivalent ones: tiny.py: return 7 -> {AFTER}" in printed


def test_samples_are_the_same_for_a_seed(tmp_path: Path) -> None:
    few, same, other = (command(tmp_path, MODULE, WEAK, "--list", "--sample", "9", "--seed", s) for s in "001")
    assert few == same != other
    assert few.count("tiny.py:") == 9
    name = few.split("\n")[0].split()[-1]
    assert command(tmp_path, MODULE, WEAK, "--show", name) == "".join(few.splitlines(keepends=True)[:3])


def test_a_mutant_that_never_ends_is_stopped_and_counts_as_killed(tmp_path: Path) -> None:
    loop = "def last(n):\n    while n:\n        n -= 1\n    return n\n"
    command(tmp_path, loop, "from tiny import last\n\ndef test_last():\n    assert last(2) == 0\n")
    assert outcomes(tmp_path) == {"n += 1": "timeout", "n -= 0": "timeout", "while not n:": "killed"}


@pytest.mark.parametrize(("tests", "reason"), [("assert False", "fail without any mutant"), ("", "never imported it")])
def test_tests_that_cannot_tell_are_refused(tmp_path: Path, tests: str, reason: str) -> None:
    assert reason in command(tmp_path, COUNT, f"def test_count():\n    {tests or 'pass'}\n")
