"""results/<name>/settings.yaml: every setting of a data set as it runs, and a hash of each stage's code.

The stage `resolve` writes it; the other stages read it, and DVC compares their sections of it.
"""

from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from ruamel.yaml import YAML

from zslcore.errors import ZSLError
from zslcore.io.layers import flat
from zslcore.io.yaml import read_yaml
from zslcore.project.params import Params, Resolved

RESULTS = Path("results")


def settings_file(dataset: str) -> Path:
    """Where the resolved settings of a data set stand."""
    return RESULTS / dataset / "settings.yaml"


def text_of(resolved: Resolved, code: Mapping[str, str]) -> str:
    """The content of the file."""
    stream = StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = 10_000
    yaml.dump({**resolved.stored(), "code": dict(code)}, stream)
    return stream.getvalue()


def load_resolved(dataset: str, root: Path = Path()) -> Resolved:
    """The settings a stage runs with.

    Raises ZSLError where the file is missing, or params.yaml and its like now say something else.
    """
    file = settings_file(dataset)
    params = Params(root)
    params.source(dataset)  # an unknown data set is named as such
    if not (root / file).exists():
        raise ZSLError(f"{file}: no such file; run `zsl resolve {dataset}`, as `dvc repro` does")
    stored = read_yaml(root / file, aliases=False)
    resolved = params.resolve(dataset)
    now = flat(resolved.stored())
    was = flat({name: value for name, value in stored.items() if name != "code"})
    changed = [name for name in {**now, **was} if now.get(name) != was.get(name)]
    if changed:
        name = changed[0]
        raise ZSLError(
            f"{file}: {name} is {was.get(name)!r} there, but now {now.get(name)!r}; run `zsl resolve {dataset}`, as "
            "`dvc repro` does"
        )
    return resolved
