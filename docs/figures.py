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
    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.subplots()
    places = [*range(len(honest))]
    axes.vlines(places, [*honest.values()], [*peeked.values()], color="0.7")
    axes.plot(places, [*honest.values()], "o", color="tab:red", label="chosen on validation classes")
    axes.plot(places, [*peeked.values()], "D", color="tab:orange", label="best on the test")
    axes.set(xlabel="seed", ylabel="H (%)", xticks=places)
    axes.set_xticklabels(honest)
    figure.legend(frameon=False, ncols=2, loc="outside upper center")
    return figure


def draw(results: Path, folder: Path = HERE) -> None:
    """Both figures of a data set's results."""
    metrics = read_json(results / "metrics.json")
    gzsl = {name: metrics["gzsl"][name]["seeds"] for name in ("U", "S", "H", "calibration")}
    figures = {
        "calibration": calibration(pd.read_csv(results / "curve.csv"), gzsl["calibration"], gzsl["U"], gzsl["S"]),
        "selection": selection(gzsl["H"], metrics["diagnostic"]["test_selected_H"]["seeds"]),
    }
    for name, figure in figures.items():
        figure.savefig(folder / f"protocol-{name}.png", dpi=120, metadata={"Software": None})


if __name__ == "__main__":
    draw(Path(sys.argv[1] if len(sys.argv) > 1 else "results/birds"))
