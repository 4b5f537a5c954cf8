"""Figures as stages print them; what a line says changes no result, so this module is in no stage's code hash."""

from zslcore.report.headline import headline
from zslcore.report.numbers import half_width, named, sizes, spread

__all__ = ["half_width", "headline", "named", "sizes", "spread"]
