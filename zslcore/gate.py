"""A gate for builds: is any metric of the working tree worse than at a git revision, beyond tolerance and noise?

The numbers come from `dvc metrics diff --json --all`. A metric with `.mean`, `.std` and `.seeds.*` below it is one
measurement; any other number is one by itself. It is named `<file>:<dotted name>`, and rules are globs over that.
"""

import json
import math
import re
import subprocess
import sys
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import stats

from zslcore.errors import ZSLError
from zslcore.settings import Section

Verdict = Literal["worse", "missing", "better", "new", "same"]
FETCH = "--tags origin '+refs/heads/*:refs/remotes/origin/*'"


class Rule(Section):
    """What is expected of the metrics a glob matches; the first rule that matches holds."""

    metric: str = Field(description="glob over `<file>:<dotted name>`")
    direction: Literal["higher", "lower"] = Field("higher", description="which way is better")
    tolerance: float = Field(0.0, ge=0, description="change that does not count, in the metric's own unit")
    seed_stds: float = Field(0.0, ge=0, description="the same, in standard deviations over the old seeds")
    required: bool = Field(True, description="whether the gate fails where the metric is gone")
    test: bool = Field(True, description="let a change count only where noise over seeds does not explain it")


class GateSettings(Section):
    """The rules of `zsl gate`."""

    alpha: float = Field(0.01, gt=0, lt=1, description="chance that unchanged settings fail the whole gate, at most")
    rules: tuple[Rule, ...] = Field((), description="first match wins; metrics that match none are not looked at")


@dataclass(frozen=True)
class Measurement:
    """A metric at one revision: its value, and where known its standard deviation over seeds and each seed's value."""

    value: float
    std: float = 0.0
    seeds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """A metric's verdict. old, new: None where absent. allowed: change that does not count. p: None where untested."""

    metric: str
    verdict: Verdict
    old: float | None
    new: float | None
    allowed: float
    p: float | None
    required: bool

    @property
    def fails(self) -> bool:
        """Whether this row fails the gate."""
        return self.verdict == "worse" or (self.verdict == "missing" and self.required)


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


def measurements(diff: Mapping[str, Any], side: Literal["old", "new"]) -> dict[str, Measurement]:
    """All metrics of one side of `dvc metrics diff`, by name; what is no number counts as absent."""
    found: dict[str, Measurement] = {}
    for path, metrics in diff.items():
        values = {
            name: float(pair[side])
            for name, pair in metrics.items()
            if isinstance(pair, dict) and isinstance(pair.get(side), int | float)
        }
        means = [name.removesuffix(".mean") for name in values if name.endswith(".mean")]
        for name in means:
            each = f"{name}.seeds."
            seeds = {key.removeprefix(each): value for key, value in values.items() if key.startswith(each)}
            found[f"{path}:{name}"] = Measurement(values[f"{name}.mean"], values.get(f"{name}.std", 0.0), seeds)
        parts = re.compile(
            "|".join(rf"{re.escape(name)}\.(mean|std|seeds\..*)" for name in means) or r"(?!)", re.DOTALL
        )
        for name, value in values.items():
            if not parts.fullmatch(name):
                found[f"{path}:{name}"] = Measurement(value)
    return found


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
    return Measurement(_mean(first), old.std, first), Measurement(_mean(second), new.std, second)


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
    """The verdict on every metric that a rule matches, failures first; a required rule that matches none is missing.

    With k metrics tested over seeds, each is tested at alpha / k (Bonferroni): alpha bounds the whole gate.
    """
    old, new = measurements(diff, "old"), measurements(diff, "new")
    for name in old.keys() & new.keys():
        old[name], new[name] = alike(old[name], new[name])
    ruled = {name: rule for name in sorted({*old, *new}) if (rule := _rule(name, settings.rules)) is not None}
    p = {name: _test(old[name], new[name]) for name, rule in ruled.items() if rule.test and name in old and name in new}
    level = settings.alpha / max(1, sum(value is not None for value in p.values()))
    rows = [_row(name, rule, old.get(name), new.get(name), p.get(name), level) for name, rule in ruled.items()]
    rows += [
        Row(rule.metric, "missing", None, None, rule.tolerance, None, rule.required)
        for rule in settings.rules
        if not any(fnmatchcase(name, rule.metric) for name in {*old, *new})
    ]
    return sorted(rows, key=lambda row: (not row.fails, row.metric))


def _rule(name: str, rules: Iterable[Rule]) -> Rule | None:
    return next((rule for rule in rules if fnmatchcase(name, rule.metric)), None)


def _test(old: Measurement, new: Measurement) -> float | None:
    if min(len(old.seeds), len(new.seeds)) < 2:
        return None
    first, second = (np.array([side.seeds[name] for name in sorted(side.seeds)]) for side in (old, new))
    return float(p_value(first, second, paired(old, new)))


def _row(name: str, rule: Rule, old: Measurement | None, new: Measurement | None, p: float | None, level: float) -> Row:
    if old is None or new is None:
        side: Verdict = "new" if old is None else "missing"
        before, now = (None if found is None else found.value for found in (old, new))
        return Row(name, side, before, now, rule.tolerance, None, rule.required)
    allowed = max(rule.tolerance, rule.seed_stds * old.std if math.isfinite(old.std) else 0.0)
    verdict = _verdict(old.value, new.value, rule.direction, allowed, p, level)
    return Row(name, verdict, old.value, new.value, allowed, p, rule.required)


def _verdict(old: float, new: float, direction: str, allowed: float, p: float | None, level: float) -> Verdict:
    if math.isnan(old) or math.isnan(new):
        return "same" if math.isnan(old) and math.isnan(new) else "worse" if math.isnan(new) else "better"
    if old == new or not counts(new - old, allowed, 0.0 if p is None else p, level):
        return "same"
    return "better" if (new > old) == (direction == "higher") else "worse"


def summary(rows: list[Row], commit: str) -> str:
    """One line: passed or failed, how many of each verdict, against what."""
    tally = ", ".join(
        f"{count} {verdict}"
        for verdict in ("worse", "missing", "better", "new", "same")
        if (count := sum(row.verdict == verdict for row in rows))
    )
    outcome = "failed" if any(row.fails for row in rows) else "passed"
    return f"gate {outcome} against {commit[:10]}: {tally or 'no rule, nothing compared'}"


HEADER = ("verdict", "metric", "before", "now", "change", "allowed", "p")


def cells(row: Row) -> tuple[str, ...]:
    """A row as text, in the order of HEADER."""

    def number(value: float | None, form: str = ".2f") -> str:
        return "" if value is None else format(value, form)

    change = row.new - row.old if row.old is not None and row.new is not None else None
    verdict = f"{row.verdict} (optional)" if row.verdict == "missing" and not row.required else row.verdict
    values = (number(row.old), number(row.new), number(change, "+.2f"), f"± {row.allowed:.2f}", number(row.p, ".2g"))
    return (verdict, row.metric, *values)


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
