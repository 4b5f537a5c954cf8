"""Pages of the site that are made of the code, and those that stand in the repository's root. A hook of mkdocs.yml."""

import inspect
import re
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import zslcore
from stages.cli import COMMANDS, _help
from zslcore.evaluation.published import load_published
from zslcore.io.layers import describe
from zslcore.methods import registry
from zslcore.methods.base import Method
from zslcore.methods.table import tags
from zslcore.project.gate import GateSettings
from zslcore.project.params import SECTIONS

sys.path.insert(0, str(Path(__file__).parent))  # mkdocs loads this file alone
import measured
import notebooks

ROOT = Path(__file__).resolve().parents[1]
OF_ROOT = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "CODE_OF_CONDUCT.md": "code-of-conduct.md",
    "SECURITY.md": "security.md",
}
"""File in the root -> its page."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The pages of methods and of examples in the navigation."""
    part = {name: pages for item in config.nav or () for name, pages in item.items()}
    part["Methods"].append({"All, measured": "methods/measured.md"})
    part["Methods"].append({"Each of them": [{method.title: f"methods/{name}.md"} for name, method in by_title()]})
    part["Examples"] += [{notebooks.title(name): f"examples/{name}.md"} for name in notebooks.names()]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Every generated page."""
    made = {"settings.md": settings(), "commands.md": commands(), "api.md": api()}
    made["methods/measured.md"] = of_all()
    made |= {f"methods/{name}.md": of_method(name, method) for name, method in by_title()}
    for name, page in OF_ROOT.items():
        made[page] = of_root((ROOT / name).read_text(encoding="utf-8"))
    made[f"examples/{notebooks.SHARED}.py"] = (notebooks.EXAMPLES / f"{notebooks.SHARED}.py").read_text("utf-8")
    for name in notebooks.names():
        made |= {f"examples/{name}.md": notebooks.page(name), f"examples/{name}.ipynb": notebooks.notebook(name)}
    for page, text in made.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Examples for doctest as code, which Markdown takes for quotations; the table of examples with links."""
    if page.file.src_uri == "examples.md":
        return re.sub(r"`(\w+)\.py` \|", r"[`\1.py`](examples/\1.md) |", markdown)
    blocks = re.split(r"(```.*?```)", markdown, flags=re.DOTALL)
    fenced = [
        re.sub(r"^(>>> .*(?:\n(?!\n).+)*)", r"```pycon\n\1\n```", text, flags=re.MULTILINE) for text in blocks[::2]
    ]
    blocks[::2] = fenced
    return "".join(blocks)


def of_root(text: str) -> str:
    """A page of the root, whose links are as from docs/."""
    text = re.sub(r"\]\(docs/", "](", text)
    for name, page in OF_ROOT.items():
        text = text.replace(f"]({name})", f"]({page})")
    return text


def table(header: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines) + "\n"


def _of(model: Any) -> str:
    rows = ((f"`{path}`", f"`{default}`", meaning) for path, default, meaning in describe(model))
    return table(("setting", "default", "meaning"), rows)


def settings() -> str:
    """Every section of a data set's settings."""
    text = (
        "# Settings\n\nDefaults of the program. `params.yaml`, a preset and a data set's file set others; "
        "`zsl params birds` shows the value that runs, and the file it stands in "
        "([settings](architecture.md#settings)).\n"
    )
    for name, model in {**SECTIONS, "gate": GateSettings}.items():
        text += f"\n## {name}\n\n{(model.__doc__ or '').strip()}\n\n{_of(model)}"
    return text


def plain(text: str) -> str:
    """A docstring whose signs of the equations are no Markdown; what stands in backticks stays code."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([\\*_\[\]])", r"\\\1", escape(part, quote=False)) for part in parts[::2]]
    return "`".join(parts)


def by_title() -> list[tuple[str, type[Method[Any]]]]:
    """Every method by name, in the order of their titles."""
    return sorted(((name, registry.get(name)) for name in registry.METHODS), key=lambda one: one[1].title.lower())


FAMILIES = {
    "attribute classifiers": "Where people should read off the answer which attributes were found.",
    "compatibility": "A first choice: quick to fit, few settings.",
    "convex combination": "Where a good classifier of the seen classes is at hand, or easily had.",
    "dictionaries": "As a second opinion; their settings matter much, so let validation classes choose them.",
    "metric": "Where images of a class vary much more than classes do, and for retrieval.",
    "deep": "With many seen classes; a search over training lengths belongs to it.",
    "generative": "Where GZSL counts: seen and unseen classes are learned alike. Costs minutes rather than seconds.",
}
"""When to use the methods of a family."""
TAGGED = {
    "transductive": "It has seen the unlabelled test images: never compare it with the others.",
    "binary attributes": "Signatures that are no yes or no are made binary first.",
    "attributes of images": "Some settings need attributes of each image.",
}
"""What to know of a method with a tag."""


def of_method(name: str, method: type[Method[Any]]) -> str:
    """A method's page: idea, equation, when to use it, how to run it, figures, settings; all as its class says."""
    can = tags(method)
    advice = " ".join([FAMILIES[method.family], *(TAGGED[tag] for tag in can if tag in TAGGED)])
    if method.input == "maps":
        advice += " It learns from [feature maps](../regions.md), and says where attributes are seen."
    return f"""# {method.title}

{method.summary}

{plain(inspect.getdoc(method) or "")}

| | |
|---|---|
| source | {method.citation} |
| family | {method.family}{f"; {', '.join(can)}" if can else ""} |
| when | {advice} [Which one?](../methods.md#which-one) |

## Run it

```
zsl compare --methods {name}
{f"zsl package birds --method {name}" if method.input == "vectors" else "# on `extract: {output: both}`"}
```

```python
import zslcore as zsl
zsl.{method.__name__}().fit(X, y, S).predict(X_new, S_new)
```

`zsl compare` chooses settings on validation classes, measures over seeds, and the report shows it with the others
([the methods](../methods.md), [the estimators](../python.md#methods-in-scikit-learns-manners)).

## Figures

{figures(name)}
{published(method)}
## Settings

{_of(method.Settings)}"""


def rows_measured() -> dict[str, dict[str, str]]:
    """Method -> its row; the main method's and ESZSL's are those of the pipeline."""
    return {row["method"]: row for row in [*measured.read(), *measured.pipeline()]}


def figures(name: str) -> str:
    """What was measured on the drawn birds, with the main method and ESZSL below it."""
    rows = rows_measured()
    if name not in rows:
        return "Not measured on the drawn birds yet: `zsl compare --datasets birds` does.\n"
    shown = dict.fromkeys((name, "clusterable", "eszsl"))
    lines = (
        (registry.get(one).title, rows[one]["seeds"], *(rows[one][figure] for figure in measured.FIGURES))
        for one in shown
        if one in rows
    )
    return f"""Measured on the [drawn birds](../start.md) ([how, and all of them](measured.md)):

{table(("method", "seeds", *measured.FIGURES), lines)}"""


def published(method: type[Method[Any]]) -> str:
    """The figures that papers print of a method, by what they rest on; empty where the project quotes none."""
    key = "xuetal" if method.name == "clusterable" else _key(method.title)
    rows = [row for row in load_published() if _key(row.method) == key and {"T1", "H"} & row.metrics.keys()]
    lines = (
        (row.dataset, *(str(row.metrics.get(name, "")) for name in ("T1", "U", "S", "H")), row.features, row.source)
        for row in rows
    )
    header = ("published", "T1", "U", "S", "H", "features", "source")
    return f"\n{table(header, lines)}" if rows else ""


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def of_all() -> str:
    """The table of every measured method."""
    rows = sorted(rows_measured().values(), key=lambda row: -float(row["H"].split()[0]))
    lines = (
        (
            f"[{registry.get(row['method']).title}]({row['method']}.md)",
            row["seeds"],
            *(row[figure] for figure in measured.FIGURES),
            row["day"] or "each run",
        )
        for row in rows
    )
    return f"""---
hide: [toc]
---

# The methods, measured on the drawn birds

Frozen `tf_efficientnet_lite0`, 40 seen and 10 unseen kinds. Settings and calibration factors were chosen on validation
classes (`experiments/methods.yaml`). Mean ± standard deviation over seeds, in percent; a closed form has one run.
With ten unseen classes a lead of a few points is within the noise.

{table(("method", "seeds", *measured.FIGURES, "measured on"), lines)}
```
zsl compare --datasets birds      # measures all that have a row in experiments/methods.yaml
python docs/measured.py           # puts them here
```

The rows of the main method and of ESZSL are those of `results/birds/metrics.json`: every `dvc repro` chooses their
settings and measures them anew.
"""


def commands() -> str:
    """Every command of `zsl`, by the first paragraph of its help."""
    rows = (
        (f"`zsl {name}`", " ".join(_help(module).partition("\n\n")[0].split())) for name, module in COMMANDS.items()
    )
    return f"# Commands\n\n`zsl COMMAND --help` says the rest.\n\n{table(('command', 'what it does'), rows)}"


def api() -> str:
    """Every public name, by its docstring."""
    text = (
        "# API\n\n`import zslcore as zsl`; every name below is `zsl.NAME`. [In Python](python.md) shows each at work.\n"
    )
    for name, module in sorted(zslcore.NAMES.items(), key=lambda item: item[0].lower()):
        text += f"\n::: zslcore.{module}.{name}\n"
    return text
