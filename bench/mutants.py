"""Mutation testing: the share of one-place faults in a module that its tests notice.

Each mutant (mutate.py) is put into a copy of the tree in a temporary folder and its tests run there, in a process
forked from one that has the libraries loaded: `--jobs` at once, each stopped after five times what the unmutated
module takes. `mutants.yaml` names the modules, their tests, and the mutants that change no behaviour. Prints every
survivor as a diff and the kill rate of each module; `.zsl/mutants.json` has it all.

    python bench/mutants.py --module losses --sample 40
"""

import argparse
import ast
import compileall
import gc
import hashlib
import importlib
import json
import multiprocessing
import os
import py_compile
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Literal

from mutate import Mutant, mutants
from ruamel.yaml import YAML

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: mutants run side by side, and no thread survives a fork
os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # plugins that other packages bring: seconds for each mutant
FORK = multiprocessing.get_context("fork")
NEVER_IMPORTED, BROKEN = 90, 91  # exit codes beyond pytest's


@dataclass(frozen=True)
class Result:
    """What became of one mutant; seconds on the wall, and what pytest printed."""

    mutant: Mutant
    outcome: Literal["killed", "timeout", "survived"]
    seconds: float
    output: str

    def record(self) -> dict[str, Any]:
        """The result for JSON, with the test that failed."""
        lines = self.output.splitlines()
        by = next((line.split(" - ")[0] for line in lines if line.startswith(("FAILED", "ERROR"))), None)
        mutant = {name: value for name, value in asdict(self.mutant).items() if name != "source"}
        return {**mutant, "outcome": self.outcome, "by": by, "seconds": round(self.seconds, 2)}


class CannotTell(Exception):
    """The tests of a module say nothing of its mutants."""


def copy_tree(root: Path, lane: Path) -> None:
    """Copy the files that git tracks or would track, and compile them so that a change shows whatever a file's date."""
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=root, capture_output=True, check=True
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (root / name).is_file():
            (lane / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, lane / "tree" / name)
    compileall.compile_dir(lane / "tree", quiet=2, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)


def run_tests(lane: Path, module: str, arguments: list[str]) -> None:
    """The forked child: run pytest in the copy of the tree and exit with its code."""
    code = BROKEN
    try:
        os.setsid()  # one group to end, with all that the tests start
        log = os.open(lane / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1), os.dup2(log, 2)
        os.chdir(lane / "tree")
        sys.path[0] = os.environ["PYTHONPATH"] = str(lane / "tree")
        import pytest

        with suppress(ImportError):  # the same examples in every run; a slow one does not fail; none is shrunk
            from hypothesis import Phase, settings

            phases = (Phase.explicit, Phase.generate)
            settings.register_profile("mutants", derandomize=True, database=None, deadline=None, phases=phases)
            settings.load_profile("mutants")
        code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", f"--basetemp={lane / 'tmp'}", *arguments]))
        loaded = sys.modules.get(module.removesuffix(".py").replace("/", "."))
        if code == 0 and not str(getattr(loaded, "__file__", "")).startswith(str(lane)):
            code = NEVER_IMPORTED
        sys.stdout.flush()
    finally:
        os._exit(code)


def end(process: Any) -> int:
    """End a child and all that it started; its exit code."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.join()
    return process.exitcode


def run(chosen: list[Mutant], lanes: list[Path], arguments: list[str], limit: float) -> Iterator[Result]:
    """Run the tests on each mutant, one at a time in each copy of the tree; results come as they end."""
    waiting, free, running = chosen[::-1], list(lanes), {}
    try:
        while waiting or running:
            while waiting and free:
                lane, mutant = free.pop(), waiting.pop()
                (lane / "tree" / mutant.module).write_text(mutant.source)
                process = FORK.Process(target=run_tests, args=(lane, mutant.module, arguments))
                process.start()
                running[process.sentinel] = (process, mutant, lane, time.monotonic())
            wait(list(running), timeout=0.2)
            for key, (process, mutant, lane, started) in list(running.items()):
                seconds, late = time.monotonic() - started, process.is_alive()
                if late and seconds < limit:
                    continue
                code = end(process)
                del running[key]
                free.append(lane)
                output = (lane / "log").read_text(errors="replace")
                if code in (NEVER_IMPORTED, BROKEN):
                    raise CannotTell(
                        f"{mutant.module}: {arguments} broke pytest or never imported it\n{output[-2000:]}"
                    )
                yield Result(mutant, "timeout" if late else "killed" if code else "survived", seconds, output)
    finally:
        for process, *_ in running.values():
            end(process)


def examine(module: str, chosen: list[Mutant], root: Path, lanes: list[Path], arguments: list[str]) -> list[Result]:
    """Run the tests on the module as it stands, which must pass them, then on its mutants."""
    source = (root / module).read_text()
    unmutated = Mutant("", module, 0, "", "", "", "", ast.unparse(ast.parse(source)))
    [whole] = run([unmutated], lanes[-1:], arguments, limit=1800)
    if whole.outcome != "survived":
        raise CannotTell(f"{module}: {arguments} fail without any mutant\n{whole.output[-2000:]}")
    print(f"# {module}: {len(chosen)} mutants, {whole.seconds:.1f} s unmutated", flush=True)
    results = []
    for result in run(chosen, lanes, arguments, limit=max(5, 5 * whole.seconds)):
        results.append(result)
        if result.outcome == "survived":
            print(result.mutant, flush=True)
    for lane in lanes:
        (lane / "tree" / module).write_text(source)
    return results


def is_of(mutant: Mutant, row: dict[str, str]) -> bool:
    """Whether an equivalent mutant's row means this one: the line as it was, and as it is, where the row says."""
    before, after = mutant.before.strip(), mutant.after.strip()
    return before == row["before"] and after == row.get("after", after)


def choose(config: dict[str, Any], root: Path, options: argparse.Namespace) -> dict[str, list[Mutant]]:
    """The mutants to run by module: without the equivalent ones, and of those `--sample`, the same for one seed."""
    equivalent = config.get("equivalent") or ()
    chosen = {}
    for module in config["modules"]:
        every = mutants(module, (root / module).read_text())
        ignored: set[str] = set()
        for row in (row for row in equivalent if row["module"] == module):
            same = {one.id for one in every if is_of(one, row)}
            if not same:
                change = f"{row['before']} -> {row.get('after')}"
                print(f"no such mutant any more, remove it from the equivalent ones: {module}: {change}")
            ignored |= same
        if options.only:
            chosen[module] = [one for one in every if one.id == options.only]
        elif not options.module or any(part in module for part in options.module):
            left = [one for one in every if one.id not in ignored]
            left.sort(key=lambda one: hashlib.sha256(f"{options.seed} {one.id}".encode()).digest())
            chosen[module] = left[: options.sample or None]
    return {module: some for module, some in chosen.items() if some}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path(__file__).with_suffix(".yaml"))
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1], help="the tree, in a git repository")
    parser.add_argument("--module", action="append", help="only modules whose path has this in it")
    parser.add_argument("--sample", type=int, help="mutants of each module, 0: all [the configuration's]")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at once")
    parser.add_argument("--list", action="store_true", help="print the mutants, run nothing")
    parser.add_argument("--show", metavar="ID", help="print one mutant, run nothing")
    parser.add_argument("--only", metavar="ID", help="run one mutant and print what pytest says")
    options = parser.parse_args()
    config = YAML(typ="safe").load(options.config)
    options.sample = config.get("sample", 0) if options.sample is None else options.sample
    options.only, run_nothing = options.show or options.only, options.show or options.list
    chosen = choose(config, options.root, options)
    if run_nothing:
        print("\n".join(str(one) for some in chosen.values() for one in some))
        return
    for library in config.get("warm") or ():
        importlib.import_module(library)
    gc.freeze()  # the children's collections need not go through the libraries
    failed: list[str] = []
    report: dict[str, Any] = {"seed": options.seed, "sample": options.sample, "modules": {}}
    target = options.root / ".zsl" / "mutants.json"
    target.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        lanes = [Path(folder).resolve() / str(job) for job in range(options.jobs)]
        for lane in lanes:
            copy_tree(options.root, lane)
        for module, some in chosen.items():
            try:
                results = examine(module, some, options.root, lanes, config["modules"][module])
            except CannotTell as error:
                print(error, flush=True)
                failed.append(module)
                continue
            killed = sum(result.outcome != "survived" for result in results)
            report["modules"][module] = {
                "mutants": len(results),
                "killed": killed,
                "kill_rate": round(100 * killed / len(results), 1),
                "seconds": round(sum(result.seconds for result in results), 1),
                "results": [result.record() for result in results],
            }
            target.write_text(json.dumps(report, indent=1))
            if options.only:
                print(results[0].output)
    print("| module | mutants | killed | % |\n|---|---|---|---|")
    for module, row in report["modules"].items():
        print(f"| {module} | {row['mutants']} | {row['killed']} | {row['kill_rate']:.1f} |")
    total, killed = (sum(row[name] for row in report["modules"].values()) for name in ("mutants", "killed"))
    print(f"| all | {total} | {killed} | {100 * killed / max(total, 1):.1f} |")
    if failed:
        sys.exit(f"not measured: {', '.join(failed)}; see above why")


if __name__ == "__main__":
    main()
