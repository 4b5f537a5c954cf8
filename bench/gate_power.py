"""What `zsl gate` notices: false alarms, and the drop of a metric that it finds in 95 % of builds, by simulated runs.

A run's value is drawn from a normal distribution around its mean with `--std`, the spread over seeds in points. With
the same seeds, a seed's runs before and after a change share a part of that variance; none where the change draws other
random numbers. The gate decides (zslcore.project.gate).

    python bench/gate_power.py --std 1.15
"""

import argparse

import numpy as np

from zslcore.project.gate import GateSettings, counts, p_value

SHARES = (0.0, 0.5, 0.75, 0.9)


def failures(drop: float, seeds: int, shared: float | None, options: argparse.Namespace, metrics: int = 1) -> float:
    """Share of simulated builds that fail: any of `metrics` independent metrics worse, the first one by `drop`.

    shared: of the variance, by the same seeds on both sides, which are paired; None: disjoint seeds.
    """
    random = np.random.default_rng((options.seed, seeds, metrics))
    size = (options.runs, metrics, seeds)
    common = np.sqrt(shared or 0.0) * random.normal(size=size)
    rest = np.sqrt(1 - (shared or 0.0))
    old, new = (options.std * (common + rest * random.normal(size=size)) for _ in range(2))
    new[:, 0] -= drop
    change = new.mean(axis=-1) - old.mean(axis=-1)
    p = p_value(old, new, pairs=shared is not None)
    worse = counts(change, options.tolerance, p, options.alpha / options.metrics) & (change < 0)
    return float(worse.any(axis=1).mean())


def smallest_drop(seeds: int, shared: float | None, options: argparse.Namespace) -> float:
    """The drop, in points, that fails 95 % of the builds; by bisection to a hundredth."""
    low, high = 0.0, options.tolerance + 50 * options.std
    while high - low > 0.01:
        middle = (low + high) / 2
        low, high = (low, middle) if failures(middle, seeds, shared, options) >= 0.95 else (middle, high)
    return high


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--std", type=float, default=1.15, help="spread over seeds, in points")
    parser.add_argument("--tolerance", type=float, default=0.5)
    parser.add_argument("--alpha", type=float, default=GateSettings().alpha)
    parser.add_argument("--metrics", type=int, default=3, help="metrics the gate tests")
    parser.add_argument("--runs", type=int, default=20_000, help="simulated builds for every figure")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(f"std {options.std}, tolerance {options.tolerance}, alpha {options.alpha} over {options.metrics} metrics")
    print("| seeds | kind | unchanged fails | drop of 1 found | drop of 2 found | found with 95 % |")
    print("|---|---|---|---|---|---|")
    for seeds in (3, 5, 10):
        for shared in (None, *SHARES):
            kind = "disjoint" if shared is None else f"the same, sharing {shared:g}"
            unchanged = failures(0.0, seeds, shared, options, options.metrics)
            power = " | ".join(f"{100 * failures(drop, seeds, shared, options):.1f} %" for drop in (1.0, 2.0))
            found = smallest_drop(seeds, shared, options)
            print(f"| {seeds} | {kind} | {100 * unchanged:.2f} % | {power} | {found:.2f} |")


if __name__ == "__main__":
    main()
