"""What `select` tries where the settings say `auto`, and what it chose; importable without torch."""

from collections.abc import Mapping
from typing import Any

from zslcore.io.layers import nested
from zslcore.settings import Settings

LISTS = {"train.epochs": "train_epochs", "generate.per_unseen": "per_unseen", "classify.epochs": "classify_epochs"}
"""What `select` may choose together: dotted name of the setting -> the list in section `select`."""


def candidate_values(settings: Settings) -> dict[str, tuple[int, ...]]:
    """What `select` tries, ascending, by the names of LISTS; one value where the settings give it."""
    values: dict[str, tuple[int, ...]] = {}
    for name, wanted in LISTS.items():
        section, key = name.split(".")
        setting = getattr(getattr(settings, section), key)
        values[name] = (setting,) if isinstance(setting, int) else tuple(sorted(getattr(settings.select, wanted)))
    return values


def chosen_names(settings: Settings) -> set[str]:
    """Dotted names of what `select` really chooses on validation classes; what else it writes down is given."""
    calibration = {"classify.calibration"} if settings.classify.calibration == "auto" else set()
    return calibration | {name for name, values in candidate_values(settings).items() if len(set(values)) > 1}


def given(settings: Settings) -> dict[str, Any]:
    """What `select` writes where `chosen_names` is empty, for a data set of too few seen classes to choose on."""
    values: dict[str, Any] = {name: values[0] for name, values in candidate_values(settings).items()}
    return {**nested({**values, "classify.calibration": settings.classify.calibration}), "validation": {}}


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
    found = []
    for name, values in candidate_values(settings).items():
        section, key = name.split(".")
        chosen = selected.get(section, {}).get(key)
        if len(set(values)) > 1 and chosen in (values[0], values[-1]):
            end, more = ("largest", "larger") if chosen == values[-1] else ("smallest", "smaller")
            listed = ", ".join(map(str, values))
            found.append(
                f"{name} = {chosen} is the {end} of {listed}: add {more} values to select.{LISTS[name]} and run again"
            )
    return found
