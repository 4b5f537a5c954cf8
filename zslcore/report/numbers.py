"""How numbers look in the report's tables."""

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from zslcore.evaluation.intervals import Interval

if TYPE_CHECKING:
    import pandas as pd

COVERS = "±: standard deviation over seeds, which are other random numbers on the same classes and images"


def captioned(text: str, rows: Iterable[Iterable[str]]) -> str:
    """A table's caption; where a cell has a ±, with what that covers."""
    parts = [text] if text else []
    return "; ".join([*parts, COVERS] if any("±" in cell for row in rows for cell in row) else parts)


def spread(value: Mapping[str, Any] | None, digits: int = 1) -> str:
    """mean ± standard deviation over seeds; the value alone where there is one."""
    if value is None:
        return ""
    mean = f"{value['mean']:.{digits}f}"
    return mean if len(value.get("seeds", "many")) == 1 else f"{mean} ± {value['std']:.{digits}f}"


def difference(interval: Interval, digits: int = 1) -> str:
    """A signed mean and its 95 % interval; nothing where there is no mean."""
    if math.isnan(interval.mean):
        return ""
    if math.isnan(interval.low):
        return f"{interval.mean:+.{digits}f} (one seed: no interval)"
    return f"{interval.mean:+.{digits}f} [{interval.low:+.{digits}f}, {interval.high:+.{digits}f}]"


def between(interval: Interval, digits: int = 1) -> str:
    """The ends of an interval; nothing where there is none."""
    if math.isnan(interval.low):
        return ""
    return f"[{interval.low:.{digits}f}, {interval.high:.{digits}f}]"


def half_width(mean: float, high: float, digits: int = 1) -> str:
    """mean ± half the width of its 95 % interval."""
    return f"{mean:.{digits}f} ± {high - mean:.{digits}f}"


def number(value: float | None, digits: int = 1) -> str:
    """A number, or nothing."""
    return "" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def named(values: Mapping[str, float]) -> str:
    """Parameters and their values: "train.epochs = 60, classify.calibration = 1.25"."""
    return ", ".join(f"{name} = {value:.4g}" for name, value in values.items())


def sizes(classes: "pd.DataFrame") -> str:
    """How many classes and test images there are, and what guessing would reach: classes, as `by_class` gives them."""
    images = classes.groupby("kind")["images"].sum()
    unseen, seen = (int((classes["kind"] == kind).sum()) for kind in ("unseen", "seen"))
    if not unseen:
        return ""
    without = int(((classes["kind"] == "unseen") & (classes["images"] == 0)).sum())
    lacking = f" ({without} of them without any image, which only compete)" if without else ""
    return (
        f"{unseen} unseen classes{lacking} with {images.get('unseen', 0)} test images, {seen} seen ones with "
        f"{images.get('seen', 0)}; by guessing: T1 {100 / unseen:.1f}, U and S {100 / len(classes):.1f}"
    )
