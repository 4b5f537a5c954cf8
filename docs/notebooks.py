"""Pages and notebooks of the scripts in examples/, with what each printed when it was run."""

import json
import runpy
import sys
from contextlib import redirect_stdout
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
SHARED = "birds"
"""A module of what the scripts share, no example."""
OUTPUTS = ROOT / ".zsl/examples"
"""What scripts printed, by a hash of their code and the library's: the site and the tests run each once."""


def names() -> list[str]:
    """The examples, in order."""
    return sorted({path.stem for path in EXAMPLES.glob("*.py")} - {SHARED})


def output(name: str) -> str:
    """What `python examples/<name>.py` prints; run here, if nothing it depends on has been since."""
    files = [EXAMPLES / f"{one}.py" for one in (name, SHARED)] + sorted((ROOT / "zslcore").rglob("*.py"))
    said = OUTPUTS / f"{name}-{sha256(b''.join(map(Path.read_bytes, files))).hexdigest()[:16]}.txt"
    if not said.exists():
        sys.path.insert(0, str(EXAMPLES))
        try:
            with redirect_stdout(StringIO()) as printed:
                runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        finally:
            sys.path.remove(str(EXAMPLES))
        OUTPUTS.mkdir(parents=True, exist_ok=True)
        said.write_text(printed.getvalue(), encoding="utf-8")
    return said.read_text(encoding="utf-8")


def cells(name: str) -> tuple[str, list[str]]:
    """The docstring of a script, and its code between `# %%` lines."""
    about, *code = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8").split("# %%\n")
    return about.strip().strip('"'), [cell.strip() for cell in code]


def title(name: str) -> str:
    """Of its page."""
    return name.replace("_", " ").capitalize()


def notebook(name: str) -> str:
    """As .ipynb, version 4 of the format; the last cell runs the example, and has what it printed."""
    about, code = cells(name)
    made: list[dict[str, Any]] = [{"cell_type": "markdown", "metadata": {}, "source": f"# {title(name)}\n\n{about}"}]
    made += [
        {"cell_type": "code", "metadata": {}, "source": cell, "execution_count": number, "outputs": []}
        for number, cell in enumerate(code, 1)
    ]
    made[-1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": output(name)}]
    for number, cell in enumerate(made):
        cell["id"] = f"{name}-{number}"
    python = {"display_name": "Python 3", "language": "python", "name": "python3"}
    whole = {"cells": made, "metadata": {"kernelspec": python}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, ensure_ascii=False, indent=1) + "\n"


def page(name: str) -> str:
    """As a page."""
    about, code = cells(name)
    blocks = "\n\n".join(f"```python\n{cell}\n```" for cell in code)
    return f"""# {title(name)}

{about}

In this repository: `python examples/{name}.py`. Elsewhere: [as a notebook]({name}.ipynb), with
[{SHARED}.py]({SHARED}.py) in its folder and `pip install 'zslcore[features]'`.

{blocks}

```text title="It prints"
{output(name)}```
"""
