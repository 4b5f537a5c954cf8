"""The figures of docs/protocol.md, from the results of `dvc repro`: `python docs/figures.py [RESULTS]`."""

import sys
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from zslcore.io.artifacts import read_json

HERE = Path(__file__).parent


Values = dict[str, float]
"""Seed -> figure."""


def calibration(curve: pd.DataFrame, chosen: Values, unseen: Values, seen: Values) -> Figure:
    """Seen against unseen accuracy of the first seed; its chosen point."""
    figure = Figure(figsize=(5, 3.4), layout="constrained")
    axes = figure.subplots()
    seed, value = next(iter(chosen.items()))
    of_seed = curve[curve.seed == int(seed)].sort_values("calibration")
    axes.plot(of_seed.unseen, of_seed.seen, color="tab:blue")
    axes.fill_between(of_seed.unseen, of_seed.seen, alpha=0.1, color="tab:blue")
    axes.plot(unseen[seed], seen[seed], "o", color="tab:red", label=f"chosen on validation classes: {value:.2f}")
    plain = of_seed.iloc[(of_seed.calibration - 0).abs().argmin()]
    axes.plot(plain.unseen, plain.seen, "s", color="0.4", label="no calibration")
    axes.set(xlabel="U: accuracy of unseen classes (%)", ylabel="S: accuracy of seen classes (%)", xlim=0, ylim=0)
    axes.legend(loc="lower left", frameon=False)
    return figure


def selection(honest: Values, peeked: Values) -> Figure:
    """H of each seed by the two ways to choose the calibration."""
    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    places = range(len(honest))
    axes.bar([place - 0.2 for place in places], [*honest.values()], 0.38, label="chosen on validation classes")
    axes.bar([place + 0.2 for place in places], [*peeked.values()], 0.38, label="best on the test", color="tab:orange")
    low = min([*honest.values(), *peeked.values()])
    axes.set(xlabel="seed", ylabel="H (%)", ylim=(low - 1, max(peeked.values()) + 1), xticks=[*places])
    axes.set_xticklabels(honest)
    axes.legend(frameon=False, ncols=2, loc="upper left")
    return figure


def main() -> None:
    """Draw both next to this file."""
    results = Path(sys.argv[1] if len(sys.argv) > 1 else "results/birds")
    metrics = read_json(results / "metrics.json")
    gzsl = {name: metrics["gzsl"][name]["seeds"] for name in ("U", "S", "H", "calibration")}
    curve = pd.read_csv(results / "curve.csv")
    about = {"Software": None}  # the same bytes by every version of matplotlib's name
    calibration(curve, gzsl["calibration"], gzsl["U"], gzsl["S"]).savefig(
        HERE / "protocol-calibration.png", dpi=120, metadata=about
    )
    peeked = metrics["diagnostic"]["test_selected_H"]["seeds"]
    selection(gzsl["H"], peeked).savefig(HERE / "protocol-selection.png", dpi=120, metadata=about)


if __name__ == "__main__":
    main()
