"""Files for a new method: a minimal one that already runs, its line in the registry, and its test."""

import keyword
import re
from pathlib import Path

from zslcore.artifacts import write_text
from zslcore.errors import ZSLError
from zslcore.methods.registry import METHODS

METHOD = '''"""{cls}: one line on the idea (authors, venue, year)."""

from collections.abc import Mapping
from typing import Any, ClassVar

from zslcore.methods._linalg import one_hot, ridge
from zslcore.methods._scaled import LinearMethod, ScaledSettings
from zslcore.methods.base import MethodSettings, Observe, TrainData


class {cls}Settings(ScaledSettings):
    """strength: of the ridge term."""

    strength: float = 1.0


class {cls}(LinearMethod):
    """min over W of the objective, with its equation number. Here: ‖X W − S‖² + strength ‖W‖²; scores xᵀ W s."""

    name: ClassVar[str] = "{name}"
    citation: ClassVar[str] = "authors, venue year"
    Settings: ClassVar[type[MethodSettings]] = {cls}Settings
    search_space: ClassVar[Mapping[str, tuple[Any, ...]]] = {{"strength": (0.1, 1.0, 10.0, 100.0)}}
    random: ClassVar[bool] = False

    def learn(self, train: TrainData, seed: int, observe: Observe | None) -> None:
        """From scaled features (n, d) and signatures (K, a)."""
        signatures = one_hot(train.labels, self.seen_classes) @ train.signatures
        self.weights = ridge(train.features, signatures, self.settings.strength)
'''

TEST = """import numpy as np

from zslcore.evaluation.protocol import Task
from zslcore.methods.{module} import {cls}, {cls}Settings


def test_weights_equal_a_direct_solve(toy_task: Task) -> None:
    train = toy_task.train
    method = {cls}({cls}Settings(strength=2.0, scaling="none", signature_scaling="none")).fit(train)
    x, s = train.features.astype(np.float64), train.signatures[train.labels].astype(np.float64)
    np.testing.assert_allclose(method.weights, np.linalg.inv(x.T @ x + 2 * np.eye(x.shape[1])) @ x.T @ s, rtol=1e-6)
"""


def create(name: str, root: Path) -> list[Path]:
    """Write a method and its test under `root` and enter it in the registry; the files written.

    Raises ZSLError for a name that cannot be one, or is taken; nothing is written then.
    """
    module = name.replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or keyword.iskeyword(module):
        raise ZSLError(f"method name '{name}': use small letters, digits and single hyphens, as in 'my-method'")
    files = [root / f"zslcore/methods/{module}.py", root / f"tests/methods/test_{module}.py"]
    registry = root / "zslcore/methods/registry.py"
    if name in METHODS or any(file.exists() for file in files):
        raise ZSLError(f"method '{name}' exists already; choose another name")
    if not registry.exists():
        raise ZSLError(f"{registry}: no such file; run the command in the project's folder")
    cls = "".join(part.capitalize() for part in name.split("-"))
    lines = registry.read_text(encoding="utf-8").split("\n")
    start = next(row for row, line in enumerate(lines) if line.startswith("METHODS")) + 1
    end = next(row for row in range(start, len(lines)) if lines[row] == "}")
    lines[start:end] = sorted([*lines[start:end], f'    "{name}": "zslcore.methods.{module}:{cls}",'])
    for file, text in zip(files, (METHOD, TEST), strict=True):
        write_text(file, text.format(name=name, module=module, cls=cls))
    write_text(registry, "\n".join(lines))
    return [*files, registry]
