"""What fuzzing found, and what it starts from: each is read, or refused with an error for people."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("fuzz_targets", ROOT / "fuzz" / "targets.py")
assert spec is not None
assert spec.loader is not None
targets = importlib.util.module_from_spec(spec)
spec.loader.exec_module(targets)

FINDS = [(path.parent.name, path.read_bytes()) for path in sorted((Path(__file__).parent / "finds").glob("*/*"))]
SEEDS = [(name, content) for name in targets.TARGETS for content in targets.seeds(name)]


@pytest.mark.parametrize(("target", "content"), [*SEEDS, *FINDS])
def test_a_find_stays_mended(target: str, content: bytes, tmp_path: Path) -> None:
    targets.TARGETS[target](tmp_path / "input", content)
