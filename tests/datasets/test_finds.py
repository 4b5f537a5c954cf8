"""What is fuzzed: the targets hide nothing but refusals, read what they start from, and refuse damage to it."""

import importlib.util
import random
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zslcore.datasets import folder, matfile
from zslcore.errors import ZSLError
from zslcore.io import tables

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("fuzz_targets", ROOT / "fuzz" / "targets.py")
assert spec is not None
assert spec.loader is not None
targets = importlib.util.module_from_spec(spec)
spec.loader.exec_module(targets)

FINDS = [(path.parent.name, path) for path in sorted((Path(__file__).parent / "finds").glob("*/*"))]
SEEDS = [(name, number) for name in targets.TARGETS for number in range(len(targets.seeds(name)))]
READERS = [(matfile, "read_mat", "mat"), (tables, "read_table", "csv"), (tables, "read_classes", "csv"),
           (folder, "read_unseen", "csv")]  # fmt: skip


@pytest.mark.parametrize(("target", "path"), FINDS)
def test_a_find_stays_mended(target: str, path: Path, tmp_path: Path) -> None:
    targets.TARGETS[target](tmp_path / "input", path.read_bytes())


@pytest.mark.parametrize(("target", "number"), SEEDS)
def test_a_seed_is_read(target: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the reader it is meant for: a table is no list of classes."""
    read: list[Any] = []

    def keep(real: Callable[..., Any]) -> Callable[..., None]:
        return lambda *arguments: read.append(real(*arguments))

    for module, name, of_target in READERS:
        if of_target == target:
            monkeypatch.setattr(module, name, keep(getattr(module, name)))
    targets.TARGETS[target](tmp_path / "input", targets.seeds(target)[number])
    assert len(read) == 1, "one reader, and no other, takes it"
    if target == "mat":
        np.testing.assert_array_equal(read[0]["a"] > 0, True)


@pytest.mark.parametrize(("module", "name", "target"), READERS)
def test_a_target_hides_a_refusal_and_nothing_else(
    module: Any, name: str, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error, hidden in ((ZSLError("refused"), True), (IndexError("a bug"), False)):

        def broken(*arguments: Any, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(module, name, broken)
        with nullcontext() if hidden else pytest.raises(IndexError, match="a bug"):
            targets.TARGETS[target](tmp_path / "input", targets.seeds(target)[0])


@pytest.mark.parametrize("target", targets.TARGETS)
def test_damaged_seeds_are_read_or_refused(target: str, tmp_path: Path, within_limits: Any) -> None:
    """Cut short, and with bytes changed; the damage goes so deep that most are refused."""
    chance, whole = random.Random(0), targets.seeds(target)
    damaged = [seed[: chance.randrange(1, len(seed))] for seed in whole for _ in range(30)]
    for _ in range(90):
        changed = bytearray(chance.choice(whole))
        for _ in range(chance.randint(1, 3)):
            changed[chance.randrange(1, len(changed))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        damaged.append(bytes(changed))
    refused = []

    class Noted(suppress):
        def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
            refused.append(isinstance(error, ZSLError))
            return super().__exit__(kind, error, trace)

    with within_limits(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(targets, "suppress", Noted)
        for content in damaged:
            targets.TARGETS[target](tmp_path / "input", content)
    assert 0.5 < sum(refused) / len(refused) < 1
