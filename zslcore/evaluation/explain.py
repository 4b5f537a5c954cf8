"""Why: the attributes that spoke for one class against another, in numbers and in words.

>>> scorer = method.for_classes(signatures, seen_mask)                          # doctest: +SKIP
>>> found = explain(scorer, features, winner, runner_up, attribute_names)       # doctest: +SKIP
>>> in_words("striped finch", "sooty finch", found)                             # doctest: +SKIP
'for striped finch, against sooty finch: striped breast (+1.2), no crest (+0.4); against: yellow beak (−0.3)'
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zslcore.errors import ZSLError
from zslcore.methods.base import Explained, Scorer


@dataclass(frozen=True)
class Contribution:
    """What an attribute adds to the lead of the winner over the runner-up, in units of the scores.

    more: whether the winner has more of the attribute than the runner-up; where not, its lack is what speaks.
    """

    attribute: str
    value: float
    more: bool = True


def explain(
    scorer: Scorer, features: NDArray[np.float32], winner: int, runner_up: int, attributes: Sequence[str] = ()
) -> list[Contribution]:
    """The contributions of all attributes to the lead of one class over another, the largest first.

    features: (n, d) unscaled; of several images, the mean. winner, runner_up: positions among the scorer's classes.
    attributes: their names; numbers from 1 where there are none. They sum to the difference of the two scores where
    these are linear (`linear_scores`), and for the main method to the difference in R's logits.
    Raises ZSLError for a method that cannot say.
    """
    if not isinstance(scorer, Explained):
        raise ZSLError("this method's scores are no sum over attributes, so nothing can be said of one")
    values = scorer.contributions(features, winner, runner_up).mean(axis=0)
    return ranked(values, scorer.signatures[winner] - scorer.signatures[runner_up], attributes)


def ranked(
    values: NDArray[np.floating[Any]], lead: NDArray[np.floating[Any]], attributes: Sequence[str] = ()
) -> list[Contribution]:
    """Contributions from their values (a,) and the winner's signature less the runner-up's (a,), the largest first."""
    names = attributes or [f"attribute {number}" for number in range(1, len(values) + 1)]
    order = np.argsort(-np.abs(values), kind="stable")
    return [Contribution(names[m], float(values[m]), bool(lead[m] >= 0)) for m in order]


def worded(attributes: Sequence[str]) -> bool:
    """Whether attributes have names that say something, and not numbers alone, as the values of an embedding do.

    >>> worded(["breast: striped"]), worded(["attribute 12", "text 3"])
    (True, False)
    """
    return not all(re.fullmatch(r"\S+ \d+", name) for name in attributes)


def nearest_seen(scores: NDArray[np.floating[Any]], seen_mask: NDArray[np.bool_], count: int = 3) -> NDArray[np.int64]:
    """(n, classes) joint scores -> (n, count) positions of the seen classes an image is most like, the nearest first.

    seen_mask: (classes,) bool.
    """
    seen = np.flatnonzero(seen_mask)
    return seen[np.argsort(-scores[:, seen], axis=1, kind="stable")[:, :count]]


def in_words(winner: str, runner_up: str, contributions: Sequence[Contribution], count: int = 3) -> str:
    """The `count` contributions that speak most for the winner, and as many against; none below 5 % of the largest.

    >>> in_words("finch", "crow", [Contribution("breast: striped", 1.25), Contribution("crest", -0.3)])
    'for finch, against crow: striped breast (+1.2); against: crest (−0.3)'
    """
    least = 0.05 * max((abs(one.value) for one in contributions), default=0.0)
    notable = [one for one in contributions if abs(one.value) >= least]
    parts = [
        ", ".join(f"{described(one)} ({one.value:+.2g})".replace("-", "−") for one in side[:count])
        for side in ([one for one in notable if one.value > 0], [one for one in notable if one.value < 0])
    ]
    speaks, opposes = (parts[0] or "nothing that stands out"), (f"; against: {parts[1]}" if parts[1] else "")
    return f"for {winner}, against {runner_up}: {speaks}{opposes}"


def described(contribution: Contribution) -> str:
    """An attribute as one says it: "striped breast" of "breast: striped"; "no striped breast" where its lack counts."""
    trait, _, value = contribution.attribute.partition(": ")
    name = f"{value} {trait}" if value else trait
    return name if contribution.more else f"no {name}"
