"""What `select` tries where the settings say `auto`, and what it chose; importable without torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zslcore.settings import Settings


@dataclass(frozen=True)
class CandidateValues:
    """Numbers to try, ascending; one where the settings give it."""

    train_epochs: tuple[int, ...]
    per_unseen: tuple[int, ...]
    classify_epochs: tuple[int, ...]


def candidate_values(settings: Settings) -> CandidateValues:
    """What `select` tries."""
    tried = settings.select

    def of(given: int | str, wanted: tuple[int, ...]) -> tuple[int, ...]:
        return (given,) if isinstance(given, int) else tuple(sorted(wanted))

    return CandidateValues(
        of(settings.train.epochs, tried.train_epochs),
        of(settings.generate.per_unseen, tried.per_unseen),
        of(settings.classify.epochs, tried.classify_epochs),
    )


def chosen_names(settings: Settings) -> set[str]:
    """Dotted names of what `select` really chooses on validation classes; what else it writes down is given."""
    tried = candidate_values(settings)
    names = {
        "train.epochs": tried.train_epochs,
        "generate.per_unseen": tried.per_unseen,
        "classify.epochs": tried.classify_epochs,
    }
    calibration = {"classify.calibration"} if settings.classify.calibration == "auto" else set()
    return calibration | {name for name, values in names.items() if len(set(values)) > 1}


def given(settings: Settings) -> dict[str, Any]:
    """What `select` writes where `chosen_names` is empty, for a data set of too few seen classes to choose on."""
    values = candidate_values(settings)
    return {
        "train": {"epochs": values.train_epochs[0]},
        "generate": {"per_unseen": values.per_unseen[0]},
        "classify": {"epochs": values.classify_epochs[0], "calibration": settings.classify.calibration},
        "validation": {},
    }


def chosen_and_given(settings: Settings, selected: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
    """What `select` wrote, by dotted name: the values chosen on validation classes, and those given."""
    sections = ("train", "generate", "classify")
    values = {f"{name}.{key}": value for name in sections for key, value in selected.get(name, {}).items()}
    names = chosen_names(settings)
    chosen = {name: value for name, value in values.items() if name in names}
    return chosen, {name: value for name, value in values.items() if name not in names}


def fill(settings: Settings, selected: Mapping[str, Any]) -> Settings:
    """The settings with every `auto` of `train`, `generate` and `classify` replaced by what `select` chose."""
    update = {}
    for name in ("train", "generate", "classify"):
        section = getattr(settings, name)
        filled = {key: value for key, value in selected[name].items() if getattr(section, key) == "auto"}
        update[name] = section.model_copy(update=filled)
    return settings.model_copy(update=update)


def at_an_end(settings: Settings, selected: Mapping[str, Any]) -> list[str]:
    """What `select` chose at the end of its list, a sentence each: values beyond that end might be better still."""
    tried = candidate_values(settings)
    lists = {
        ("train", "epochs"): ("train_epochs", tried.train_epochs),
        ("generate", "per_unseen"): ("per_unseen", tried.per_unseen),
        ("classify", "epochs"): ("classify_epochs", tried.classify_epochs),
    }
    found = []
    for (section, key), (name, values) in lists.items():
        chosen = selected.get(section, {}).get(key)
        if len(set(values)) > 1 and chosen in (values[0], values[-1]):
            end, more = ("largest", "larger") if chosen == values[-1] else ("smallest", "smaller")
            listed = ", ".join(map(str, values))
            found.append(
                f"{section}.{key} = {chosen} is the {end} of {listed}: add {more} values to select.{name} and run again"
            )
    return found
