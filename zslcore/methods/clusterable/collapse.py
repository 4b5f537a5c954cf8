"""Whether the CVAE or M has collapsed, from the last epoch's means; importable without torch."""

from collections.abc import Mapping

LEAST_KL = 0.5
"""Nats. Below it the posterior tells next to nothing of the image: 0.02 to 0.08 where z is unused, 10 and more where G
draws varied features."""
LEAST_SPREAD = 0.2
"""Of M's outputs, in (0, 1): 0.04 to 0.14 where they are nearly constant, 0.3 to 0.4 where training goes well."""


def collapse_warnings(means: Mapping[str, float]) -> list[str]:
    """Say what has collapsed: the posterior of E to the prior, or M to a constant.

    means: of the terms of `objective` over the last epoch, as in train.csv; a term that is not there warns of nothing.
    """
    warnings = []
    if means.get("kl", LEAST_KL) < LEAST_KL:
        warnings.append(
            f"the posterior has collapsed: the KL term stands at {means['kl']:.2g} nats, under {LEAST_KL}; z is unused "
            "and all synthetic features of a class are nearly one point; use a smaller train.kl_weight"
        )
    if means.get("spread", LEAST_SPREAD) < LEAST_SPREAD:
        warnings.append(
            f"M has collapsed: its outputs have a spread of {means['spread']:.2g} over the images, under "
            f"{LEAST_SPREAD}; use a larger train.lambda_cls, a smaller train.kl_weight, or more epochs"
        )
    return warnings
