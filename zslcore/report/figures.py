"""The report's figures, drawn by matplotlib into PNG bytes; the same data give the same bytes."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any, cast

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import LogLocator
from matplotlib.transforms import Bbox

COLOURS = (
    "#1f77b4", "#d1622b", "#2a9d5c", "#b3395b", "#7a5bb0",
    "#8c6a3f", "#d68ab8", "#6b7785", "#a8a52b", "#2aa9b8",
)  # fmt: skip
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8b98a5",
    "axes.labelcolor": "#3a4754",
    "xtick.color": "#5b6b7c",
    "ytick.color": "#5b6b7c",
    "axes.grid": True,
    "grid.color": "#e8edf2",
    "axes.axisbelow": True,
    "legend.frameon": False,
}


@contextmanager
def _canvas(columns: int, width: float, height: float) -> Iterator[tuple[list[Axes], list[bytes]]]:
    with rc_context(STYLE):
        canvas = Canvas(figsize=(width, height), layout="constrained")
        out: list[bytes] = []
        yield list(canvas.subplots(1, columns, squeeze=False)[0]), out
        file = BytesIO()
        canvas.savefig(file, format="png", dpi=140, metadata={"Software": None})
        out.append(file.getvalue())


def training_curves(curves: dict[str, pd.DataFrame]) -> bytes:
    """A panel a stage (F, then M, C, E and G): each loss term over epochs, mean over seeds, their spread shaded."""
    with _canvas(len(curves), 5.2 * len(curves), 3.0) as (axes, out):
        for axis, (title, curve) in zip(axes, curves.items(), strict=True):
            by_epoch = curve.drop(columns="seed").groupby("epoch")
            mean, low, high = by_epoch.mean(), by_epoch.min(), by_epoch.max()
            for colour, term in zip(COLOURS, mean.columns, strict=False):
                axis.plot(mean.index, mean[term], color=colour, label=term, linewidth=2 if term == "total" else 1.2)
                axis.fill_between(mean.index, low[term], high[term], color=colour, alpha=0.15, linewidth=0)
            positive = bool((mean.min() > 0).all()) and float(mean.max().max() / mean.min().min()) > 20
            axis.set(title=title, xlabel="epoch", ylabel="loss", yscale="log" if positive else "linear")
            axis.legend(fontsize=7.5, ncols=2)
    return out[0]


def selection_curve(table: pd.DataFrame, chosen: int | None) -> bytes:
    """T1 and H on validation classes over the training length, the best of the other choices at each."""
    best = table.groupby("train_epochs")[["T1", "H"]].max()
    with _canvas(1, 5.2, 3.2) as (axes, out):
        for colour, name in zip(COLOURS, best.columns, strict=False):
            axes[0].plot(best.index, best[name], "o-", color=colour, label=name)
        if chosen is not None:
            axes[0].axvline(chosen, color="#8b98a5", linestyle="--", linewidth=1, label="chosen")
        axes[0].set(xlabel="epochs of training", ylabel="percent, validation classes")
        axes[0].legend()
    return out[0]


def seen_unseen_curve(table: pd.DataFrame, points: list[tuple[str, float, float]]) -> bytes:
    """Seen over unseen accuracy as calibration varies, one line a seed; points: (label, U, S)."""
    with _canvas(1, 5.2, 3.2) as (axes, out):
        for position, (_, curve) in enumerate(table.groupby("seed")):
            axes[0].plot(curve["unseen"], curve["seen"], color=COLOURS[0], alpha=0.6, linewidth=1,
                         label="calibration varies, a line a seed" if position == 0 else None)  # fmt: skip
        for colour, (label, unseen, seen) in zip(COLOURS[1:], points, strict=False):
            axes[0].plot(unseen, seen, "o", color=colour, markersize=7, label=label)
        axes[0].set(xlabel="unseen accuracy U, percent", ylabel="seen accuracy S, percent")
        axes[0].set_xlim(left=0)
        axes[0].set_ylim(bottom=0)
        axes[0].legend(fontsize=8)
    return out[0]


def reliability_panels(table: pd.DataFrame) -> bytes:
    """Accuracy over probability, a panel a label space, before and after; the area of a dot: images of the bin."""
    titles = {"all": "all classes compete", "unseen": "unseen classes compete"}
    with _canvas(2, 8.0, 3.4) as (axes, out):
        for axis, (classes, title) in zip(axes, titles.items(), strict=True):
            axis.plot([0, 100], [0, 100], color="#8b98a5", linestyle="--", linewidth=1)
            for colour, when in zip(COLOURS, ("before", "after"), strict=False):
                points = table[(table["classes"] == classes) & (table["temperature"] == when)]
                share = points["images"] / points["images"].sum()
                axis.plot(points["confidence"], points["accuracy"], color=colour, linewidth=1, label=when)
                axis.scatter(points["confidence"], points["accuracy"], s=300 * share, color=colour, alpha=0.7)
            axis.set(title=title, xlabel="probability, percent", ylabel="accuracy, percent")
            axis.set(xlim=(0, 102), ylim=(0, 102))
            axis.legend()
    return out[0]


def tsne_panels(table: pd.DataFrame) -> bytes:
    """Fig. 3: a panel each; real features ×, synthetic •, one colour a class."""
    panels = list(table["panel"].unique())
    classes = sorted(table["class"].unique())
    colour = {name: COLOURS[position % len(COLOURS)] for position, name in enumerate(classes)}
    marks: dict[str, dict[str, Any]] = {
        "synthetic": {"marker": "o", "s": 9, "alpha": 0.45, "linewidths": 0},
        "real": {"marker": "x", "s": 16, "alpha": 0.9, "linewidths": 0.9},
    }
    with _canvas(len(panels), 3.6 * len(panels), 3.7) as (axes, out):
        for axis, panel in zip(axes, panels, strict=True):
            points = table[table["panel"] == panel]
            for kind, mark in marks.items():
                for name, cloud in points[points["kind"] == kind].groupby("class"):
                    axis.scatter(cloud["x"], cloud["y"], color=colour[str(name)], **mark)
            axis.set(title=panel, xticks=[], yticks=[])
            axis.grid(visible=False)
    return out[0]


def ablation_bars(rows: list[tuple[str, float, float]], label: str) -> bytes:
    """Fig. 4: a bar a variant with its standard deviation; rows: (title, mean, std)."""
    with _canvas(1, 7.2, 0.32 * len(rows) + 0.9) as (axes, out):
        titles, means, stds = zip(*reversed(rows), strict=True)
        axes[0].barh(titles, means, xerr=stds, color=COLOURS[0], alpha=0.8, ecolor="#3a4754", height=0.65)
        axes[0].set(xlabel=label)
        axes[0].set_xlim(left=max(0.0, min(means) - 12))
        axes[0].grid(axis="y", visible=False)
    return out[0]


def accuracy_against_time(
    points: list[tuple[str, float, float, float | None]],
    figure: str = "T1, percent",
    time: str = "processor time to fit and score, s",
    other: str = "published, other features",
) -> bytes:
    """A dot a method over the logarithm of its time; points: (name, seconds, measured, another figure or None).

    figure, time, other: what the axes and the other figure are.
    """
    hollow: dict[str, Any] = {"color": COLOURS[1], "markerfacecolor": "white", "markersize": 5}
    with _canvas(1, 8.4, 5.4) as (axes, out):
        axis = axes[0]
        axis.set(xlabel=time, ylabel=figure, xscale="log")
        axis.margins(x=0.08)
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.minorticks_off()
        for _, seconds, measured, another in points:
            if another is not None:
                axis.plot([seconds, seconds], [measured, another], color="#c3ccd5", linewidth=1, zorder=1)
                axis.plot(seconds, another, "o", **hollow)
            axis.plot(seconds, measured, "o", color=COLOURS[0])
        axis.plot([], [], "o", color=COLOURS[0], label="measured here")
        axis.plot([], [], "o", **hollow, label=other)
        axis.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, 1.08), ncols=2)
        _label(axis, points)
    return out[0]


def _label(axis: Axes, points: list[tuple[str, float, float, float | None]]) -> None:
    """Name each measured point at the first place around it where no other name or point is."""
    cast(Canvas, axis.figure).draw_without_rendering()  # settles the axes' size and limits
    taken = []
    for _, seconds, *values in points:
        for value in values:
            if value is not None:
                x, y = axis.transData.transform((seconds, value))
                taken.append(Bbox.from_extents(x - 4, y - 4, x + 4, y + 4))
    places: Any = [(5, 3, "left"), (-5, 3, "right"), (5, -9, "left"), (-5, -9, "right"), (0, 8, "center")]
    for name, seconds, measured, _ in points:
        for right, up, side in places:
            text = axis.annotate(
                name, (seconds, measured), (right, up), textcoords="offset points", fontsize=7.5, ha=side
            )
            box = text.get_window_extent()
            if not any(box.overlaps(other) for other in taken):
                break
            text.set_visible(side == "center")  # the last place is taken come what may
        taken.append(box)


def search_history(table: pd.DataFrame) -> bytes:
    """Score of each trial (mean of T1 and H on validation classes), and the best so far."""
    done = table[table["score"].notna()]
    with _canvas(1, 5.2, 3.2) as (axes, out):
        axes[0].plot(done["trial"], done["score"], "o", color=COLOURS[0], alpha=0.6, label="trial")
        axes[0].step(done["trial"], done["score"].cummax(), where="post", color=COLOURS[1], label="best so far")
        axes[0].set(xlabel="trial", ylabel="(T1 + H) / 2, percent")
        axes[0].legend()
    return out[0]


def mining_curves(table: pd.DataFrame) -> bytes:
    """Fig. 1: a panel an n, a line a mining strategy; T1 by epoch, mean over seeds, their spread shaded."""
    panels = list(table.groupby("n"))
    with _canvas(len(panels), 4.6 * len(panels), 3.2) as (axes, out):
        for axis, (n, panel) in zip(axes, panels, strict=True):
            for colour, (strategy, lines) in zip(COLOURS, panel.groupby("strategy"), strict=False):
                by_epoch = lines.groupby("epoch")["T1"]
                axis.plot(by_epoch.mean(), color=colour, label=strategy)
                axis.fill_between(by_epoch.mean().index, by_epoch.min(), by_epoch.max(), color=colour, alpha=0.15)
            axis.set(title=f"n = {n}", xlabel="epoch", ylabel="T1, percent")
            axis.legend(fontsize=7.5)
    return out[0]
