"""Hyper-parameter search on validation classes (Optuna): resumable, pruned, and never near a test image."""

import difflib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.trial import Trial, TrialState
from pydantic import Field, model_validator
from sqlalchemy.exc import SQLAlchemyError

from zslcore.datasets.dataset import Seen
from zslcore.errors import ZSLError, first_line
from zslcore.evaluation.cells import digest
from zslcore.evaluation.select import select
from zslcore.params import Params, merge, nested
from zslcore.params_edit import with_dataset
from zslcore.progress import progress
from zslcore.settings import Section
from zslcore.sqlite import remedy

logger = logging.getLogger(__name__)


class Dimension(Section):
    """A range (low to high, in whole numbers where both are; log: even in the logarithm), or a list of choices."""

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    choices: tuple[bool | int | float | str, ...] = ()

    @model_validator(mode="after")
    def _one_kind(self) -> "Dimension":
        if bool(self.choices) == (self.low is not None and self.high is not None):
            raise ValueError("give low and high, or choices")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError("low must be below high")
        if self.log and not (self.low or 0) > 0:
            raise ValueError("log needs low above 0")
        return self

    @property
    def ends(self) -> tuple[Any, ...]:
        """Every choice, or both ends of the range."""
        return self.choices or (self.low, self.high)

    def suggest(self, trial: Trial, name: str) -> Any:
        """A value for this trial."""
        if self.choices:
            return trial.suggest_categorical(name, list(self.choices))
        assert self.low is not None
        assert self.high is not None
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(name, self.low, self.high, log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)


class TuneSettings(Section):
    """The search of `zsl tune`."""

    seed: int = Field(0, ge=0, description="of the sampler")
    space: dict[str, Dimension] = Field(min_length=1, description="section.name -> range or choices")


def open_study(path: Path, params: Params, dataset: str, own: TuneSettings) -> optuna.Study:
    """Open or create the study of a data set. Raises ZSLError when it searches another space or around other settings.

    Trials of such a study cannot be compared with new ones; the file is left as it is.
    """
    explicit = [name for name in own.space if _given(params.raw, name) is not None]
    if explicit:
        raise ZSLError(
            f"{params.file}: {', '.join(explicit)}: set for every data set, so a preset's value would not hold; "
            "set to null what is to be tuned"
        )
    for name, dimension in own.space.items():  # a misspelt name or an impossible value is better known now
        for value in dimension.ends:
            params.resolve(dataset, nested({name: value}))
    first = nested({name: dimension.ends[0] for name, dimension in own.space.items()})
    fixed = params.resolve(dataset, first).section("finetune", "train", "generate", "classify", "select")
    wanted = {
        "search space": {name: dimension.model_dump(mode="json") for name, dimension in own.space.items()},
        "base of settings": fixed,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # `search` says what failed
    with _explained(str(path)):
        study = optuna.create_study(
            study_name=dataset,
            storage=f"sqlite:///{path}",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=5),
            direction="maximize",
            load_if_exists=True,
        )
        known = study.user_attrs
        for kind, value in wanted.items():
            text = json.dumps(value, sort_keys=True)
            if kind not in known or not study.trials:
                study.set_user_attr(kind, text)
            elif known[kind] != text:
                raise ZSLError(
                    f"{path}: a study with another {kind} ({len(study.trials)} trials); "
                    f"put the parameters back as they were, or move the file away"
                )
    study.sampler = optuna.samplers.TPESampler(seed=own.seed + len(study.trials))  # else trials would repeat
    return study


@contextmanager
def _explained(file: str) -> Iterator[None]:
    """What goes wrong with a study's file, as a ZSLError."""
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.OptunaError) as error:
        reason = first_line(error.__cause__ or error)
        if todo := remedy(error):
            raise ZSLError(f"{file}: cannot be used ({reason}); {todo}") from error
        raise ZSLError(f"{file}: not a study of this program, or damaged ({reason}); move the file away") from error


def _given(raw: Mapping[str, Any], name: str) -> Any:
    node: Any = raw
    for part in name.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def search(study: optuna.Study, params: Params, seen: Seen, own: TuneSettings, trials: int) -> None:
    """Run `trials` more trials: each is `select` with the suggested values, pruned between class splits.

    Raises ZSLError when the study's trials were made on other data.
    """
    dataset = str(study.study_name)
    data = digest(seen.features, seen.labels, seen.signatures)
    if study.trials and study.user_attrs.get("data") != data:
        raise ZSLError(
            f"study of '{dataset}': its {len(study.trials)} trials were made on other data; move its file away"
        )

    def objective(trial: Trial) -> float:
        values = {name: dimension.suggest(trial, name) for name, dimension in own.space.items()}

        def observe(splits: int, score: float) -> None:
            trial.report(score, splits)
            if trial.should_prune():
                raise optuna.TrialPruned

        try:
            chosen, _ = select(seen, params.resolve(dataset, nested(values)), params.device, observe)
        except ZSLError as error:
            logger.warning("trial %d failed: %s", trial.number, error)
            trial.set_user_attr("failed", str(error))
            raise
        for name in ("T1", "H"):
            trial.set_user_attr(name, chosen["validation"][name])
        return float(chosen["validation"]["T1"] + chosen["validation"]["H"]) / 2

    with _explained(f"study of '{dataset}'"), progress(f"{dataset}: tune", trials) as advance:
        study.set_user_attr("data", data)
        # A diverging fit is a bad trial, not the end of the search.
        study.optimize(objective, n_trials=trials, catch=(ZSLError,), callbacks=[lambda *_: advance(1)])


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


def params_diff(study: optuna.Study, params: Params, text: str) -> str:
    """The best trial's values as a unified diff of the parameters file, whose content is `text`.

    Raises ZSLError when no trial has been completed.
    """
    if not study.get_trials(states=(TrialState.COMPLETE,)):
        failed = next((trial.user_attrs["failed"] for trial in study.trials if "failed" in trial.user_attrs), None)
        first = f" (the first that failed: {failed})" if failed else ""
        raise ZSLError(f"study of '{study.study_name}': no trial was completed{first}; run more, or narrow tune.space")
    dataset = str(study.study_name)
    presets = dict(params.raw["presets"][dataset])
    presets[params.preset] = merge(presets[params.preset] or {}, nested(study.best_params))
    changed = with_dataset(text, dataset, params.source(dataset), presets)
    name = str(params.file)
    return "".join(difflib.unified_diff(text.splitlines(True), changed.splitlines(True), name, name))
