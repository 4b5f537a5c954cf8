"""How numbers look in the report's tables."""

import math
from collections.abc import Mapping
from typing import Any

from zslcore.evaluation.intervals import Interval


def spread(value: Mapping[str, Any] | None, digits: int = 1) -> str:
    """mean ± standard deviation over seeds; the value alone where there is one."""
    if value is None:
        return ""
    mean = f"{value['mean']:.{digits}f}"
    return mean if len(value.get("seeds", "many")) == 1 else f"{mean} ± {value['std']:.{digits}f}"


def difference(interval: Interval, digits: int = 1) -> str:
    """A signed mean and its 95 % interval."""
    if math.isnan(interval.low):
        return f"{interval.mean:+.{digits}f} (one seed: no interval)"
    return f"{interval.mean:+.{digits}f} [{interval.low:+.{digits}f}, {interval.high:+.{digits}f}]"


def half_width(mean: float, high: float, digits: int = 1) -> str:
    """mean ± half the width of its 95 % interval."""
    return f"{mean:.{digits}f} ± {high - mean:.{digits}f}"


def number(value: float | None, digits: int = 1) -> str:
    """A number, or nothing."""
    return "" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def named(values: Mapping[str, float]) -> str:
    """Parameters and their values: "train.epochs = 60, classify.calibration = 1.25"."""
    return ", ".join(f"{name} = {value:.4g}" for name, value in values.items())
