"""A method in another project's package, as a wheel: what `pip install` of such a package gives."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

METHOD = '''
"""Nearest mean of the signatures that features are regressed to."""

from zslcore.methods._linalg import one_hot, ridge
from zslcore.methods._scaled import LinearMethod, ScaledSettings
from zslcore.methods.base import Observe, TrainData

from .numbers import STRENGTH


class PlainRidgeSettings(ScaledSettings):
    strength: float = STRENGTH


class PlainRidge(LinearMethod[PlainRidgeSettings]):
    """min over W of ‖X W − S‖² + strength ‖W‖²; scores xᵀ W s."""

    name = "plain-ridge"
    Settings = PlainRidgeSettings
    search_space = {"strength": (1.0, 10.0)}
    random = False

    def learn(self, train: TrainData, seed: int, observe: Observe | None) -> None:
        signatures = one_hot(train.labels, self.seen_classes) @ train.signatures
        self.weights = ridge(train.features, signatures, self.settings.strength)


class Unfinished(LinearMethod[PlainRidgeSettings]):
    name = "unfinished"


class Taken(PlainRidge):
    name = "eszsl"


class Shouting(PlainRidge):
    name = "../Plain Ridge"


class Nameless(LinearMethod[PlainRidgeSettings]):
    def learn(self, train: TrainData, seed: int, observe: Observe | None) -> None: ...


class NoMethod:
    name = "no-method"
'''
ENTRY_POINTS = """\
[zslcore.methods]
plain-ridge = tiny_zsl.methods:PlainRidge
other-name = tiny_zsl.methods:PlainRidge
eszsl = tiny_zsl.methods:Taken
"""


def install(folder: Path) -> Path:
    """Install the package tiny-zsl, with entry points, into a new folder; the folder, for sys.path."""
    info = "tiny_zsl-1.0.dist-info"
    files = {
        "tiny_zsl/__init__.py": "",
        "tiny_zsl/methods.py": METHOD,
        "tiny_zsl/numbers.py": "STRENGTH = 1.0\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: tiny-zsl\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": ENTRY_POINTS,
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    wheel = folder / "tiny_zsl-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    target = folder / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([*pip, str(wheel)], check=True)
    return target


def importable(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the folder first in sys.path, and forget what was imported from another one."""
    monkeypatch.syspath_prepend(str(site))
    for name in [name for name in sys.modules if name.partition(".")[0] == "tiny_zsl"]:
        del sys.modules[name]
