"""Hyper-parameter search on validation classes (Optuna): resumable, pruned, and never near a test image."""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import optuna
import pandas as pd
from optuna.trial import Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from zslcore.datasets.dataset import Seen
from zslcore.errors import ZSLError, first_line
from zslcore.evaluation.intervals import Interval, mean_interval
from zslcore.evaluation.result_cache import digest
from zslcore.evaluation.select import select
from zslcore.experiments.settings import Dimension, Tune
from zslcore.io.sqlite import remedy
from zslcore.layers import flat, nested
from zslcore.progress import progress
from zslcore.settings import Settings

logger = logging.getLogger(__name__)

REPEATS = 5
"""Seeds, none of which any trial used, that the best trial and the present settings are compared on."""


class Comparison(NamedTuple):
    """The best trial beside the present settings; numbers of trials, and its lead in the score, seed by seed."""

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
            pruner=optuna.pruners.MedianPruner(n_startup_trials=5),
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
    study.sampler = optuna.samplers.TPESampler(seed=tune.seed + len(study.trials))  # else trials would repeat
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


def search(study: optuna.Study, settings: Settings, seen: Seen, tune: Tune, trials: int, device: str) -> None:
    """Run `trials` more trials: each is `select` with the suggested values, pruned between class splits.

    The first of them tries the present settings, where no trial has. A trial's score, which is maximised, is the mean
    of T1 and H, in percent. Raises ZSLError when the study's trials were made on other data.
    """
    dataset = str(study.study_name)
    data = digest(seen.features, seen.labels, seen.signatures)
    if study.trials and study.user_attrs.get("data") != data:
        raise ZSLError(
            f"study of '{dataset}': its {len(study.trials)} trials were made on other data; move its file away"
        )

    present = present_values(settings, tune)

    def objective(trial: Trial) -> float:
        is_present = trial.user_attrs.get("present") == present
        dimensions = {  # a present value out of its range stays as it is: it can be tried, not suggested
            name: dimension
            for name, dimension in tune.space.items()
            if not is_present or dimension.contains(present[name])
        }
        values = {name: suggest(dimension, trial, name) for name, dimension in dimensions.items()}

        def observe(splits: int, score: float) -> None:
            trial.report(score, splits)
            if trial.should_prune() and not is_present:
                raise optuna.TrialPruned

        try:
            chosen, _ = select(seen, settings.override(nested(values)), device, observe)
        except ZSLError as error:
            logger.warning("trial %d failed: %s", trial.number, error)
            trial.set_user_attr("failed", str(error))
            raise
        for name in ("T1", "H"):
            trial.set_user_attr(name, chosen["validation"][name])
        return float(chosen["validation"]["T1"] + chosen["validation"]["H"]) / 2

    with _as_zsl_error(f"study of '{dataset}'"), progress(f"{dataset}: tune", trials) as advance:
        study.set_user_attr("data", data)
        waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        if trials and _present(study, present) is None and not waiting:
            inside = {name: value for name, value in present.items() if tune.space[name].contains(value)}
            study.enqueue_trial(inside, user_attrs={"present": present})
        # A diverging fit is a bad trial, not the end of the search.
        study.optimize(objective, n_trials=trials, catch=(ZSLError,), callbacks=[lambda *_: advance(1)])


def _present(study: optuna.Study, present: Mapping[str, Any]) -> int | None:
    """The number of the trial of these values, of all that are searched; None where there is none."""
    for trial in study.trials:
        if trial.state == TrialState.COMPLETE and present in (trial.user_attrs.get("present"), trial.params):
            return trial.number
    return None


def compare(study: optuna.Study, settings: Settings, seen: Seen, tune: Tune, device: str) -> Comparison | None:
    """The best trial beside that of the present settings; None where these have not been tried.

    The best of many trials owes part of its score to luck, so that both are scored anew, by REPEATS seeds that no
    trial used (of the fits, of held-out images and of derived splits), once a study. Raises ZSLError as `best_trial`.
    """
    best, present = best_trial(study), _present(study, present_values(settings, tune))
    if present is None:
        return None
    if best.number == present or best.value == study.trials[present].value:
        return Comparison(present, present, mean_interval([0.0]))
    values = {best.number: nested(best.params), present: {}}
    scores: dict[int, list[float]] = {}
    with progress(f"{study.study_name}: tune, other seeds", REPEATS * len(values)) as advance:
        for number, over in values.items():
            scores[number] = []
            for seed in range(settings.select.seed + 1, settings.select.seed + 1 + REPEATS):
                scores[number].append(_score_again(study, number, settings.override(over), seen, seed, device))
                advance(1)
    return Comparison(best.number, present, mean_interval([a - b for a, b in zip(*scores.values(), strict=True)]))


def _score_again(study: optuna.Study, number: int, settings: Settings, seen: Seen, seed: int, device: str) -> float:
    """The score of a trial's settings by another seed, kept in the study; NaN where a fit fails."""
    key = f"trial {number} by seed {seed}"
    if key not in study.user_attrs:
        try:
            reached = select(seen, settings.override({"select": {"seed": seed}}), device)[0]["validation"]
            study.set_user_attr(key, (reached["T1"] + reached["H"]) / 2)
        except ZSLError as error:
            logger.warning("%s failed: %s", key, error)
            study.set_user_attr(key, float("nan"))
    return float(study.user_attrs[key])


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
