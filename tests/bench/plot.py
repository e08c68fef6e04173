"""The picture of docs/performance.md. Runs where matplotlib is: `plot.py FILE < JSON`.

The JSON has `title`, `what` is measured, `note` and `series`, each with a `name`, `points` of (tenants, seconds), and
whether it is `ours`.
"""

import json
import sys

import matplotlib as mpl
from matplotlib import pyplot
from matplotlib.ticker import FuncFormatter, NullLocator

OURS = ("#0b5cad", "#2f8fdd", "#78b7ea", "#a9cfee")
THEIRS = ("#b3461f", "#6b6b6b", "#8a6d00", "#7d4fa3", "#3f6b25")


def main(file: str) -> None:
    """Writes the picture."""
    data = json.load(sys.stdin)
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "bench", "font.family": "sans-serif", "font.size": 11})
    figure, axes = pyplot.subplots(figsize=(9, 5.6))
    colors = {True: iter(OURS), False: iter(THEIRS)}
    labels = []
    for series in data["series"]:
        tenants, seconds = zip(*series["points"], strict=True)
        color = next(colors[series["ours"]])
        style = {"linewidth": 2.2, "marker": "o"} if series["ours"] else {"linewidth": 1.4, "marker": "s", "ls": "--"}
        axes.plot(tenants, seconds, color=color, markersize=5, **style)
        labels.append([seconds[-1], tenants[-1], series["name"], color])
    axes.set(xscale="log", yscale="log", xlabel="tenants, of 5 contracts each", ylabel=data["what"])
    axes.set_title(data["title"], loc="left", fontsize=12)
    known = sorted({x for s in data["series"] for x, _ in s["points"]})
    axes.set_xticks(known, [f"{x:,}" for x in known])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(True, which="major", color="#dddddd", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    label(axes, labels, known)
    figure.text(0.01, 0.01, data["note"], fontsize=8.5, color="#555555")
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    figure.savefig(file, metadata={"Date": None, "Creator": None})


def label(axes: pyplot.Axes, labels: list[list], known: list[int]) -> None:
    """Names each line at its end, apart from the others."""
    low, high = axes.get_ylim()
    gap = (high / low) ** 0.045
    at = 0.0
    for seconds, tenants, name, color in sorted(labels):
        at = max(seconds, at * gap)
        short = tenants < known[-1]
        axes.annotate(
            f"{name} (to {tenants:,})" if short else name,
            xy=(known[-1], at),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            color=color,
            fontsize=10,
            annotation_clip=False,
        )
    axes.set_ylim(low, max(high, at * gap))


if __name__ == "__main__":
    main(sys.argv[1])
