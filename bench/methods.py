"""Time and peak memory of every method of the comparison, over scikit-learn's ridge regression on the same matrix.

`python bench/methods.py DATASET [--methods a,b] [--threads N]`, after `dvc repro` made the data set's artifacts. Each
method runs in a separate process (fit on trainval, score both test splits), with the settings that
experiments/methods.yaml gives, else those that `zsl compare` chose; the ridge regression of signatures on features is
timed in that same process, before and after, and the smaller of its times is the unit. Time is processor time, the
least of three calls where they are short: other work on the machine changes that least, and with one thread it is the
wall time of an idle machine. Peak memory is the process's largest resident size, less what it held with data and
libraries loaded. Prints a Markdown table and adds to .zsl/bench/methods-DATASET.json; timings enter no DVC output,
`zsl report --with-timings` shows them.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any


def seconds(work: Callable[[], object], repeats: int = 3, enough: float = 5.0) -> float:
    """Processor time of a call: the least of `repeats`, fewer where `enough` seconds have passed."""
    found: list[float] = []
    while len(found) < repeats and sum(found) < enough:
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


def peak() -> float:
    """Largest resident size so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(dataset: str, name: str) -> dict[str, Any]:
    """One method in this process."""
    from scipy.linalg import LinAlgWarning
    from sklearn.linear_model import Ridge

    from stages.compare import GIVEN
    from stages.workspace import Workspace
    from zslcore.evaluation.protocol import benchmark_task, fit, score
    from zslcore.experiments.compare import load_given
    from zslcore.io.artifacts import read_json
    from zslcore.methods import registry

    workspace, cls = Workspace(dataset), registry.get(name)
    of_vectors = benchmark_task(workspace.data, workspace.features())
    task = benchmark_task(workspace.data, workspace.maps()) if cls.input == "maps" else of_vectors
    given = load_given(Path(GIVEN)).get(name, {}).get(dataset)
    chosen = workspace.experiment(f"methods/{name}.json")
    settings = given.settings if given else read_json(chosen)["about"]["settings"] if chosen.exists() else {}
    method = cls(cls.Settings(**settings))
    targets = of_vectors.train.signatures[of_vectors.train.labels]

    def ridge() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LinAlgWarning)  # how well it is conditioned does not change what it costs
            Ridge(alpha=1.0).fit(of_vectors.train.features, targets)

    before, held = seconds(ridge), peak()
    fitting = seconds(lambda: fit(method, task))
    scoring = seconds(lambda: score(method, task))
    memory = peak() - held
    unit = min(before, seconds(ridge))
    return {"fit_s": fitting, "score_s": scoring, "memory_mib": memory, "ridge_s": unit}


def main() -> None:
    """Measure each method in a fresh process, and print."""
    from stages.compare import GIVEN
    from stages.report import TIMINGS
    from zslcore.io.artifacts import read_json, write_json
    from zslcore.io.yaml import read_yaml

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--methods", default=",".join(read_yaml(Path(GIVEN))))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.dataset, options.methods)))
        return
    threads = {name: str(options.threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    file = TIMINGS / f"methods-{options.dataset}.json"
    found = read_json(file)["methods"] if file.exists() else {}
    print("| method | fit, s | score, s | over ridge | peak memory, MiB |\n|---|---|---|---|---|")
    for name in options.methods.split(","):
        command = [sys.executable, __file__, options.dataset, "--methods", name, "--one"]
        done = subprocess.run(command, env={**os.environ, **threads}, stdout=subprocess.PIPE, text=True, check=True)
        row = found[name] = {**json.loads(done.stdout.splitlines()[-1]), "threads": options.threads}
        ratio = (row["fit_s"] + row["score_s"]) / row["ridge_s"]
        cells = f"{row['fit_s']:.2f} | {row['score_s']:.2f} | {ratio:.1f} | {row['memory_mib']:.0f}"
        print(f"| {name} | {cells} |", flush=True)
        write_json(file, {"methods": found})


if __name__ == "__main__":
    main()
