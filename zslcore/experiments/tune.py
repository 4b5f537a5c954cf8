"""Hyper-parameter search on validation classes (Optuna): resumable, pruned, and never near a test image."""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from math import inf
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import optuna
import pandas as pd
from optuna.trial import Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from zslcore.compute.jobs import in_order
from zslcore.datasets.dataset import Seen
from zslcore.errors import ZSLError, first_line
from zslcore.evaluation.intervals import Interval, mean_interval
from zslcore.evaluation.result_cache import digest
from zslcore.evaluation.select import select
from zslcore.experiments.settings import Dimension, Tune
from zslcore.io.layers import flat, nested
from zslcore.io.sqlite import remedy
from zslcore.settings import Settings

logger = logging.getLogger(__name__)

ROUND = 4
"""Trials that are suggested together: more would learn less from each other, fewer leave cores without work."""
UNPRUNED = 5
"""Trials that must be complete before any is pruned."""
REPEATS = 5
"""Seeds, none of which any trial used, that the best trial and the present settings are compared on."""


class Comparison(NamedTuple):
    """The best trial and the present settings; numbers of trials, and its lead in the score, seed by seed."""

    best: int
    present: int
    lead: Interval

    @property
    def better(self) -> bool:
        """Whether the lead is beyond its noise."""
        return self.lead.low > 0


def suggest(dimension: Dimension, trial: Trial, name: str) -> Any:
    """A value of a dimension for this trial."""
    if dimension.choices:
        return trial.suggest_categorical(name, list(dimension.choices))
    low, high = dimension.low, dimension.high
    assert low is not None
    assert high is not None
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(name, low, high, log=dimension.log)
    return trial.suggest_float(name, low, high, log=dimension.log)


def open_study(path: Path, settings: Settings, dataset: str, tune: Tune) -> optuna.Study:
    """Open or create the study of a data set, around its present settings.

    Raises ZSLError when it searches another space or around other settings: trials of such a study cannot be compared
    with new ones, and the file is left as it is.
    """
    for name, dimension in tune.space.items():  # a misspelt name or an impossible value is better known now
        for value in dimension.ends:
            settings.override(nested({name: value}), "tune.space")
    first = settings.override(nested({name: dimension.ends[0] for name, dimension in tune.space.items()}))
    base = json.loads(first.model_dump_json(include={"finetune", "train", "generate", "classify", "select"}))
    identity = {
        "search space": {name: dimension.model_dump(mode="json") for name, dimension in tune.space.items()},
        "base of settings": base,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # `search` says what failed
    with _as_zsl_error(str(path)):
        study = optuna.create_study(
            study_name=dataset,
            storage=f"sqlite:///{path}",
            direction="maximize",
            load_if_exists=True,
        )
        stored = study.user_attrs
        for kind, value in identity.items():
            text = json.dumps(value, sort_keys=True)
            if kind not in stored or not study.trials:
                study.set_user_attr(kind, text)
            elif stored[kind] != text:
                raise ZSLError(
                    f"{path}: a study with another {kind} ({len(study.trials)} trials); "
                    f"put the parameters back as they were, or move the file away"
                )
    # Another seed, or trials would repeat; a constant liar keeps those of a round apart.
    study.sampler = optuna.samplers.TPESampler(seed=tune.seed + len(study.trials), constant_liar=True)
    return study


@contextmanager
def _as_zsl_error(file: str) -> Iterator[None]:
    """Raise a ZSLError for what goes wrong with a study's file."""
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.OptunaError) as error:
        reason = first_line(error.__cause__ or error)
        if what_to_do := remedy(error):
            raise ZSLError(f"{file}: cannot be used ({reason}); {what_to_do}") from error
        raise ZSLError(f"{file}: not a study of this program, or damaged ({reason}); move the file away") from error


def present_values(settings: Settings, tune: Tune) -> dict[str, Any]:
    """What the settings hold now of each value that is searched."""
    values = flat(settings.model_dump())
    return {name: values[name] for name in tune.space}


class Tried(NamedTuple):
    """What became of a trial.

    reached: best score after each split, in percent. figures: T1 and H, in percent; None where the trial failed (why
    stands in `failed`) or was pruned.
    """

    reached: list[float]
    figures: dict[str, float] | None = None
    failed: str | None = None


def search(study: optuna.Study, settings: Settings, seen: Seen, tune: Tune, trials: int, device: str) -> None:
    """Run `trials` more trials: each is `select` with the suggested values, pruned between class splits.

    Trials of a round (`ROUND`) are suggested together and are jobs side by side: what is suggested, and what is pruned,
    depends on the rounds before, and so not on how many run at once. The first trial tries the present settings, where
    no trial has. A trial's score, which is maximised, is the mean of T1 and H, in percent. Raises ZSLError when the
    study's trials were made on other data.
    """
    dataset = str(study.study_name)
    data = digest(seen.features, seen.labels, seen.signatures)
    if study.trials and study.user_attrs.get("data") != data:
        raise ZSLError(
            f"study of '{dataset}': its {len(study.trials)} trials were made on other data; move its file away"
        )
    present = present_values(settings, tune)
    with _as_zsl_error(f"study of '{dataset}'"):
        study.set_user_attr("data", data)
        waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        if trials and _present(study, present) is None and not waiting:
            inside = {name: value for name, value in present.items() if tune.space[name].contains(value)}
            study.enqueue_trial(inside, user_attrs={"present": present})
        for first in range(0, trials, ROUND):
            asked = [study.ask() for _ in range(min(ROUND, trials - first))]
            what = f"{dataset}: tune, trials {first + 1} to {first + len(asked)} of {trials}"
            _run_round(study, asked, settings, seen, tune, device, what)


def _run_round(
    study: optuna.Study, asked: list[Trial], settings: Settings, seen: Seen, tune: Tune, device: str, what: str
) -> None:
    """Try these trials side by side; results are recorded in their order. One without result, by Ctrl-C, has failed."""
    present, bars = present_values(settings, tune), _bars(study)
    jobs: list[tuple[Settings, dict[int, float]]] = []
    for trial in asked:
        is_present = trial.user_attrs.get("present") == present
        dimensions = {  # a present value out of its range stays as it is: it can be tried, not suggested
            name: dimension
            for name, dimension in tune.space.items()
            if not is_present or dimension.contains(present[name])
        }
        values = {name: suggest(dimension, trial, name) for name, dimension in dimensions.items()}
        jobs.append((settings.override(nested(values)), {} if is_present else bars))
    unrecorded = list(asked)
    try:
        for trial, tried in zip(asked, in_order(what, partial(_try, seen, device), jobs, device), strict=True):
            for splits, score in enumerate(tried.reached, 1):
                trial.report(score, splits)
            if tried.failed is not None:  # a diverging fit is a bad trial, not the end of the search
                logger.warning("trial %d failed: %s", trial.number, tried.failed)
                trial.set_user_attr("failed", tried.failed)
                study.tell(trial, state=TrialState.FAIL)
            elif tried.figures is None:
                study.tell(trial, state=TrialState.PRUNED)
            else:
                for name, figure in tried.figures.items():
                    trial.set_user_attr(name, figure)
                study.tell(trial, sum(tried.figures.values()) / 2)
            unrecorded.remove(trial)
    finally:
        for trial in unrecorded:
            study.tell(trial, state=TrialState.FAIL)


def _bars(study: optuna.Study) -> dict[int, float]:
    """Splits done -> the median score there of completed trials, which a trial must reach to go on; {} with few."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < UNPRUNED:
        return {}
    steps = {step for trial in complete for step in trial.intermediate_values}
    return {
        step: median(trial.intermediate_values[step] for trial in complete if step in trial.intermediate_values)
        for step in steps
    }


def _try(seen: Seen, device: str, settings: Settings, bars: Mapping[int, float] = {}) -> Tried:
    """`select` with these settings, which ends where the best score is below the bar for as many splits."""
    reached: list[float] = []

    def observe(splits: int, score: float) -> None:
        reached.append(score)
        if score < bars.get(splits, -inf):
            raise optuna.TrialPruned

    try:
        chosen, _ = select(seen, settings, device, observe)
    except ZSLError as error:
        return Tried(reached, failed=str(error))
    except optuna.TrialPruned:
        return Tried(reached)
    return Tried(reached, {name: float(chosen["validation"][name]) for name in ("T1", "H")})


def _present(study: optuna.Study, present: Mapping[str, Any]) -> int | None:
    """The number of the trial of these values, of all that are searched; None where there is none."""
    for trial in study.trials:
        if trial.state == TrialState.COMPLETE and present in (trial.user_attrs.get("present"), trial.params):
            return trial.number
    return None


def compare(study: optuna.Study, settings: Settings, seen: Seen, tune: Tune, device: str) -> Comparison | None:
    """The best trial and that of the present settings; None where these have not been tried.

    The best of many trials owes part of its score to luck, so that both are scored once more, by REPEATS seeds that no
    trial used (of the fits, of held-out images and of derived splits), once a study. Raises ZSLError as `best_trial`.
    """
    best, present = best_trial(study), _present(study, present_values(settings, tune))
    if present is None:
        return None
    if best.number == present or best.value == study.trials[present].value:
        return Comparison(present, present, mean_interval([0.0]))
    seeds = range(settings.select.seed + 1, settings.select.seed + 1 + REPEATS)
    names = {(number, seed): f"trial {number} by seed {seed}" for number in (best.number, present) for seed in seeds}
    values = {best.number: nested(best.params), present: {}}
    missing = [key for key, name in names.items() if name not in study.user_attrs]  # the others are kept in the study
    jobs = [(settings.override(values[number]).override({"select": {"seed": seed}}),) for number, seed in missing]
    retried = in_order(f"{study.study_name}: tune, other seeds", partial(_try, seen, device), jobs, device)
    for key, tried in zip(missing, retried, strict=True):
        if tried.figures is None:
            logger.warning("%s failed: %s", names[key], tried.failed)
        reached = float("nan") if tried.figures is None else sum(tried.figures.values()) / 2
        study.set_user_attr(names[key], reached)
    scores = study.user_attrs
    leads = [float(scores[names[best.number, seed]]) - float(scores[names[present, seed]]) for seed in seeds]
    return Comparison(best.number, present, mean_interval(leads))


def history(study: optuna.Study) -> pd.DataFrame:
    """A row a trial: number, state, score, T1, H (percent, validation classes) and the values tried."""
    return pd.DataFrame(
        [
            {
                "trial": trial.number,
                "state": trial.state.name.lower(),
                "score": trial.value if trial.state == TrialState.COMPLETE else None,
                **{name: trial.user_attrs.get(name) for name in ("T1", "H")},
                **trial.params,
            }
            for trial in study.trials
        ]
    )


def best_trial(study: optuna.Study) -> optuna.trial.FrozenTrial:
    """The completed trial with the best score. Raises ZSLError when no trial has been completed."""
    if not study.get_trials(states=(TrialState.COMPLETE,)):
        failed = next((trial.user_attrs["failed"] for trial in study.trials if "failed" in trial.user_attrs), None)
        first = f" (the first that failed: {failed})" if failed else ""
        raise ZSLError(f"study of '{study.study_name}': no trial was completed{first}; run more, or narrow tune.space")
    return study.best_trial


def best_values(study: optuna.Study) -> dict[str, Any]:
    """The best trial's values, by section. Raises ZSLError when no trial has been completed."""
    return nested(best_trial(study).params)
