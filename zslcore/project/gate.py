"""A gate for builds: is any metric of the working tree worse than at a git revision, beyond tolerance and noise?

The numbers come from `dvc metrics diff --json --all`. A metric with `.mean` and `.seeds.*` below it is one measurement
over seeds; any other number is one by itself. More is better for every gated metric.
"""

import json
import math
import re
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import stats

from zslcore.errors import ZSLError
from zslcore.evaluation.intervals import is_mean
from zslcore.evaluation.metrics import METRICS
from zslcore.project.params import PARAMS_FILE
from zslcore.project.power import detectable_drop, sentence
from zslcore.settings import Section

Verdict = Literal["worse", "missing", "better", "new", "same"]
FILES = "results/*/metrics.json"
"""The files that hold gated metrics, one a data set."""
VALIDATION = "results/*/selected.json"
"""The files that hold what was reached on validation classes, by name `validation.T1` and `validation.H`.

Gated too, so that keeping what raises test figures, build after build, is no silent choice on the test set.
"""
FETCH = "--tags origin '+refs/heads/*:refs/remotes/origin/*'"


class GateSettings(Section):
    """What `zsl gate` looks at, in results/*/metrics.json and, of validation classes, results/*/selected.json."""

    alpha: float = Field(
        0.05, gt=0, lt=1, description="chance that a change which makes nothing worse fails the whole gate, at most"
    )
    metrics: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        {}, description="dotted name -> drop that does not count, in the metric's own unit; over those of METRICS"
    )

    def with_tolerances(self) -> Self:
        """These settings with every metric that has a tolerance of its own and is not named here."""
        of_table = {name: metric.tolerance for name, metric in METRICS.items() if metric.tolerance is not None}
        return self.model_copy(update={"metrics": {**of_table, **self.metrics}})


@dataclass(frozen=True)
class Measurement:
    """A metric at one revision: its value (the mean over seeds) and, where it is measured over seeds, each seed's."""

    value: float
    seeds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """A metric's verdict. old, new: None where absent. allowed: change that does not count. p: None where untested.

    found: the drop that is found in 95 % of builds; NaN where noise is not known, None where nothing is compared.
    """

    metric: str
    verdict: Verdict
    old: float | None
    new: float | None
    allowed: float
    p: float | None
    found: float | None = None

    @property
    def fails(self) -> bool:
        """Whether this row fails the gate."""
        return self.verdict in ("worse", "missing")


def resolve_revision(revision: str | None = None) -> str:
    """The commit to compare with: `revision`, or by default where HEAD left main. As a full hash.

    Raises ZSLError where git does not have it, with the `git fetch` that brings it.
    """
    if _git("rev-parse", "--git-dir") is None:
        raise ZSLError("not in a git repository; run the gate in the project's folder")
    shallow = _git("rev-parse", "--is-shallow-repository") == "true"
    fetch = f"git fetch {'--unshallow ' if shallow else ''}{FETCH}"
    wanted = revision or "main"
    for name in (wanted, f"origin/{wanted}"):
        commit = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        if commit is not None:
            break
    else:
        clone = "this shallow clone" if shallow else "this clone"
        raise ZSLError(f"{clone} has no revision '{wanted}'; check its name, or bring it with: {fetch}")
    if revision is not None:
        return commit
    base = _git("merge-base", "HEAD", commit)
    if base is None:
        raise ZSLError(f"HEAD and main have no common commit here; name one with --against, or bring it with: {fetch}")
    return base


def check_revision(commit: str, named: bool) -> str:
    """A note where the metrics here are byte for byte those of a commit that is HEAD itself; else nothing.

    named: whether the caller asked for this revision. Raises ZSLError where nothing can have changed: HEAD was not
    asked for (by default it is what HEAD itself is on main), or nothing was run here, for the scores that the metrics
    are computed from are absent. A run that gave the same bytes, as CI hopes for, is compared, and noted.
    """
    if commit != _git("rev-parse", "HEAD") or _git("diff", "--quiet", "HEAD", "--", f":(glob){FILES}") is None:
        return ""
    if _git("ls-files", "--others", "--", f":(glob){FILES}"):
        return ""
    here = sorted(Path().glob(FILES))
    same = f"HEAD would be compared with itself: {FILES} are those of {commit[:10]}, byte for byte"
    if not here or not named:
        raise ZSLError(f"{same}; commit on a branch, or name an earlier revision with --against")
    if not all((Path("artifacts") / file.parent.name / "scores.h5").exists() for file in here):
        raise ZSLError(f"{same}, and nothing was run here; run `dvc repro`, or name an earlier revision with --against")
    return f"note: {FILES} are those of HEAD, byte for byte: what was run here gave them again, or nothing was"


def check_rows(rows: Sequence[Row], settings: GateSettings, commit: str) -> None:
    """Raise ZSLError for a gate that no result could fail: nothing is compared, or every fall is allowed."""
    names = ", ".join(settings.metrics)
    if all(row.old is None and row.new is None for row in rows):
        raise ZSLError(f"no {FILES} has {names}, neither here nor at {commit[:10]}; run it, or correct gate.metrics")
    for name, allowed in settings.metrics.items():
        old = [row.old for row in rows if row.metric.endswith(f":{name}") and row.old is not None and row.old > 0]
        if old and allowed >= max(old):
            raise ZSLError(
                f"{PARAMS_FILE}: gate.metrics.{name} allows a fall of {allowed:g}, more than the whole of it "
                f"({max(old):.2f} at most): it cannot fail; give a smaller one"
            )
    if not any(row.fails or row.old is not None for row in rows):
        raise ZSLError(f"{commit[:10]} has none of {names}, so nothing can have fallen; name one that does: --against")


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except OSError as error:
        raise ZSLError(f"git cannot be run ({error.strerror}); install it") from error
    return done.stdout.strip() if done.returncode == 0 else None


def metrics_diff(commit: str) -> dict[str, Any]:
    """`dvc metrics diff` of the working tree against a commit. Raises ZSLError when DVC cannot tell it."""
    command = [sys.executable, "-m", "dvc", "metrics", "diff", "--json", "--all", commit]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = done.stderr.strip() or "no reason given"
        raise ZSLError(f"dvc metrics diff against {commit[:10]} failed: {reason}; try `dvc metrics diff` by hand")
    try:
        return json.loads(done.stdout or "{}")
    except json.JSONDecodeError as error:
        raise ZSLError(f"dvc metrics diff gave no JSON ({error}); check that DVC is installed whole") from error


def measurement(metrics: Mapping[str, Any], name: str, side: Literal["old", "new"]) -> Measurement | None:
    """One metric of a file on one side of `dvc metrics diff`; None where it is absent or no number."""
    values = {
        key: float(pair[side])
        for key, pair in metrics.items()
        if isinstance(pair, dict) and isinstance(pair.get(side), int | float)
    }
    if f"{name}.mean" in values:
        each = f"{name}.seeds."
        seeds = {key.removeprefix(each): value for key, value in values.items() if key.startswith(each)}
        if seeds and not is_mean(values[f"{name}.mean"], seeds.values()):
            when, way = ("at the revision", "name another") if side == "old" else ("here", "run `dvc repro`")
            raise ZSLError(f"{FILES}: {name}.mean is not the mean of its seeds {when}: the file was edited; {way}")
        return Measurement(values[f"{name}.mean"], seeds)
    return Measurement(values[name]) if name in values else None


def paired(old: Measurement, new: Measurement) -> bool:
    """Whether the smaller set of seeds lies in the larger one, two seeds at least: then what they share cancels out."""
    shared = old.seeds.keys() & new.seeds.keys()
    return len(shared) >= 2 and len(shared) == min(len(old.seeds), len(new.seeds))


def alike(old: Measurement, new: Measurement) -> tuple[Measurement, Measurement]:
    """Both over the seeds they share where they are paired: those that only one side has would shift its mean alone."""
    if not paired(old, new) or old.seeds.keys() == new.seeds.keys():
        return old, new
    shared = sorted(old.seeds.keys() & new.seeds.keys())
    first, second = ({name: side.seeds[name] for name in shared} for side in (old, new))
    return Measurement(_mean(first), first), Measurement(_mean(second), second)


def _mean(seeds: Mapping[str, float]) -> float:
    return math.fsum(seeds.values()) / len(seeds)


def p_value(old: NDArray[np.float64], new: NDArray[np.float64], pairs: bool) -> NDArray[np.float64]:
    """Chance (...) of so large a change of the mean, in the direction it has, if nothing had changed; one-sided.

    old: (..., n), new: (..., m), both at least 2 seeds. pairs: position k of both is the same seed (paired t test;
    n = m); else Welch's t test. NaN where a seed is.
    """
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # seeds that all agree: p is 0, which is meant
        test = stats.ttest_rel(new, old, axis=-1) if pairs else stats.ttest_ind(new, old, axis=-1, equal_var=False)
    return np.asarray(test.pvalue) / 2


def counts(change: Any, allowed: Any, p: Any, level: float) -> Any:
    """Whether a change counts: beyond what is allowed, and not explained by noise. A NaN p explains nothing."""
    return (np.abs(change) > allowed) & ~(np.asarray(p) >= level)


def compare(diff: Mapping[str, Any], settings: GateSettings) -> list[Row]:
    """The verdict on every gated metric of every data set, failures first; one that no data set has is missing.

    With k metrics tested over seeds, each is tested at alpha / k (Bonferroni): alpha bounds the whole gate.
    """
    pairs: dict[str, tuple[Measurement | None, Measurement | None]] = {}
    allowed: dict[str, float] = {}
    for name, tolerance in settings.metrics.items():
        sides = {
            f"{path}:{name}": (measurement(metrics, name, "old"), measurement(metrics, name, "new"))
            for path, metrics in diff.items()
            if fnmatchcase(path, FILES) or fnmatchcase(path, VALIDATION)
        }
        known = {metric: pair for metric, pair in sides.items() if any(pair)} or {f"{FILES}:{name}": (None, None)}
        pairs |= known
        allowed |= dict.fromkeys(known, tolerance)
    both = {metric: alike(old, new) for metric, (old, new) in pairs.items() if old and new}
    p = {metric: _test(old, new) for metric, (old, new) in both.items()}
    level = settings.alpha / max(1, sum(value is not None for value in p.values()))
    rows = [
        _row(metric, *both.get(metric, pair), allowed[metric], p.get(metric), level) for metric, pair in pairs.items()
    ]
    rows = [
        replace(row, found=_found(*both[row.metric], row.allowed, level)) if row.metric in both else row for row in rows
    ]
    return sorted(rows, key=lambda row: (not row.fails, row.metric))


def _test(old: Measurement, new: Measurement) -> float | None:
    if min(len(old.seeds), len(new.seeds)) < 2:
        return None
    return float(p_value(*_by_seed(old, new), paired(old, new)))


def _found(old: Measurement, new: Measurement, allowed: float, level: float) -> float:
    return detectable_drop(*_by_seed(old, new), allowed, level, paired(old, new))


def _by_seed(old: Measurement, new: Measurement) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first, second = (np.array([side.seeds[name] for name in sorted(side.seeds)]) for side in (old, new))
    return first, second


def _row(
    metric: str, old: Measurement | None, new: Measurement | None, allowed: float, p: float | None, level: float
) -> Row:
    if old is None or new is None:
        before, now = (None if side is None else side.value for side in (old, new))
        return Row(metric, "missing" if new is None else "new", before, now, allowed, None)
    return Row(metric, _verdict(old.value, new.value, allowed, p, level), old.value, new.value, allowed, p)


def _verdict(old: float, new: float, allowed: float, p: float | None, level: float) -> Verdict:
    if math.isnan(old) or math.isnan(new):
        return "same" if math.isnan(old) and math.isnan(new) else "worse" if math.isnan(new) else "better"
    if old == new or not counts(new - old, allowed, 0.0 if p is None else p, level):
        return "same"
    return "better" if new > old else "worse"


def summary(rows: list[Row], commit: str) -> str:
    """One line: passed or failed, how many of each verdict, against what, and what it could have found."""
    tally = ", ".join(
        f"{count} {verdict}"
        for verdict in ("worse", "missing", "better", "new", "same")
        if (count := sum(row.verdict == verdict for row in rows))
    )
    outcome = "failed" if any(row.fails for row in rows) else "passed"
    power = sentence([row.found for row in rows if row.found is not None])
    verdict = f"gate {outcome} against {commit[:10]}: {tally or 'no metric named, nothing compared'}"
    return f"{verdict}; {power}" if power else verdict


HEADER = ("verdict", "metric", "before", "now", "change", "allowed", "p")


def cells(row: Row) -> tuple[str, ...]:
    """A row as text, in the order of HEADER."""

    def number(value: float | None, form: str = ".2f") -> str:
        return "" if value is None else format(value, form)

    tested = row.p is not None and not math.isnan(row.p)  # NaN: no change in any seed, which tests nothing

    change = row.new - row.old if row.old is not None and row.new is not None else None
    values = (
        number(row.old),
        number(row.new),
        number(change, "+.2f"),
        f"± {row.allowed:.2f}",
        number(row.p if tested else None, ".2g"),
    )
    return (row.verdict, row.metric, *values)


def markdown(rows: list[Row], commit: str) -> str:
    """The verdicts as Markdown, for a comment or a job summary; names are escaped."""
    lines = [f"**{summary(rows, commit)}**", "", f"| {' | '.join(HEADER)} |", "|---" * len(HEADER) + "|"]
    for row in rows:
        verdict, metric, *numbers = cells(row)
        text = re.sub(r"([\\`*_\[\]<>|&])", r"\\\1", " ".join(metric.split()))
        lines.append(f"| {f'**{verdict}**' if row.fails else verdict} | {text} | {' | '.join(numbers)} |")
    return "\n".join(lines)


def as_json(rows: list[Row], commit: str) -> str:
    """The verdicts as JSON; NaN and infinity, which JSON lacks, as strings."""

    def plain(value: Any) -> Any:
        return str(value) if isinstance(value, float) and not math.isfinite(value) else value

    listed = [{name: plain(value) for name, value in vars(row).items()} | {"fails": row.fails} for row in rows]
    return json.dumps({"against": commit, "passed": not any(row.fails for row in rows), "metrics": listed}, indent=2)
