"""What `zsl gate` notices: false alarms, and the drop of a metric it detects, by simulated runs.

Unchanged means two disjoint sets of seeds of the same settings. Each run's value is drawn from a normal distribution
around its mean with `--std`, the spread over seeds in points; the gate decides (zslcore.project.gate).

    python bench/gate_power.py --std 0.5 --metrics 3 --tolerance 0.5
"""

import argparse

import numpy as np

from zslcore.project.gate import counts, p_value


def failures(drop: float, seeds: int, pairs: bool, options: argparse.Namespace, metrics: int = 1) -> float:
    """Share of simulated builds that fail: any of `metrics` independent metrics worse, the first one by `drop`.

    pairs: the same seeds on both sides, which share `--shared` of the variance; else disjoint seeds.
    """
    random = np.random.default_rng((options.seed, seeds, pairs, metrics))
    size = (options.runs, metrics, seeds)
    common = np.sqrt(options.shared) * random.normal(size=size) if pairs else 0.0
    rest = np.sqrt(1 - options.shared) if pairs else 1.0
    old, new = (options.std * (common + rest * random.normal(size=size)) for _ in range(2))
    new[:, 0] -= drop
    change = new.mean(axis=-1) - old.mean(axis=-1)
    level = options.alpha / options.metrics
    worse = counts(change, options.tolerance, p_value(old, new, pairs), level) & (change < 0)
    return float(worse.any(axis=1).mean())


def smallest_drop(seeds: int, pairs: bool, options: argparse.Namespace) -> float:
    """The drop, in points, that fails 95 % of the builds; by bisection to a hundredth."""
    low, high = 0.0, options.tolerance + 50 * options.std
    while high - low > 0.01:
        middle = (low + high) / 2
        low, high = (low, middle) if failures(middle, seeds, pairs, options) >= 0.95 else (middle, high)
    return high


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--std", type=float, default=0.5, help="spread over seeds, in points")
    parser.add_argument("--shared", type=float, default=0.5, help="part of the variance the same seed has in common")
    parser.add_argument("--tolerance", type=float, default=0.5)
    parser.add_argument("--alpha", type=float, default=0.01)
    parser.add_argument("--metrics", type=int, default=3, help="metrics the gate tests")
    parser.add_argument("--runs", type=int, default=20_000, help="simulated builds for every figure")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    drops = [round(step * options.std, 3) for step in (0.5, 1, 1.5, 2, 2.5, 3, 4, 5)]
    print(f"std {options.std}, tolerance {options.tolerance}, alpha {options.alpha} over {options.metrics} metrics")
    print("| seeds | kind | unchanged fails | " + " | ".join(f"drop {drop}" for drop in drops) + " | 95 % at |")
    print("|---" * (len(drops) + 4) + "|")
    for seeds in (3, 5, 7, 8, 10):
        for pairs in (False, True):
            unchanged = failures(0.0, seeds, pairs, options, options.metrics)
            power = [failures(drop, seeds, pairs, options) for drop in drops]
            cells = [f"{100 * value:.1f} %" for value in power]
            kind = "same seeds" if pairs else "disjoint seeds"
            found = smallest_drop(seeds, pairs, options)
            print(f"| {seeds} | {kind} | {100 * unchanged:.2f} % | {' | '.join(cells)} | {found:.2f} |")


if __name__ == "__main__":
    main()
