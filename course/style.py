"""The one look of every figure in the book; importing this module applies it."""

import io
import sys

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from PIL import Image

# One color per view through the whole book. The categorical colors stay apart from these two, from the floor
# and from each other under protanopia, deuteranopia and tritanopia, and have a contrast of 3 with the paper.
COLORS = {
    "LOOKUP": "#0072b2",
    "SMOOTHER": "#d55e00",
    "FLOOR": "#5f6672",
    "CYCLE": ["#6c4680", "#cc70ad", "#2b661f", "#998e54", "#802644"],
    "INK": "#222832",
    "QUIET": "#6b717b",
    "LINE": "#c9cbd0",
    "PAPER": "#fdfcfa",
}
OFF, ON = "#aeb2b9", "#ffffff"  # what is not at work here, and words on a color
ON_PALE = "#010101"  # words on a pale color (black itself matplotlib does not write into an SVG)
# Light is 0. The lightness falls evenly, so that equal steps in weight are equal steps in gray.
# The third is nearly the color of vectors, and not the same, since at night they differ.
ATTENTION = LinearSegmentedColormap.from_list("attention", ["#f4f1f8", "#b9a5cf", "#6c4681", "#2f1446"])
MIDDLE = 0.543  # of it: here black and white can be read alike, 4.6 : 1, by day and in the shades of pages/book.css

WIDTH = 6.0  # inches; on a phone 375 pixels, so that 10.4 points are 9 pixels there


def use_style() -> None:
    """Make matplotlib draw in the book's style from now on."""
    ink, quiet, line, paper = (COLORS[name] for name in ("INK", "QUIET", "LINE", "PAPER"))
    if ATTENTION.name not in mpl.colormaps:
        mpl.colormaps.register(ATTENTION)
    mpl.rcParams.update({
        "figure.figsize": (WIDTH, 3.6),
        "figure.dpi": 120,
        "savefig.dpi": 100,  # of the image that stands in for the SVG where a notebook is not trusted
        # In a page the paper is the page's own; in a notebook, which may be dark, the figure brings it.
        "figure.facecolor": paper,
        "savefig.facecolor": paper,
        "axes.facecolor": "none",
        "figure.constrained_layout.use": True,
        "figure.constrained_layout.w_pad": 0.1,
        "figure.constrained_layout.h_pad": 0.08,
        "font.family": ["DejaVu Sans"],  # comes with matplotlib, so the same everywhere
        "font.size": 11,
        "axes.titlesize": 12,
        "figure.titlesize": 12,
        "figure.titleweight": "normal",
        "axes.titlelocation": "left",
        "axes.titlepad": 8,
        "axes.labelsize": 10.5,
        "xtick.labelsize": 10.5,
        "ytick.labelsize": 10.5,
        "legend.fontsize": 10.5,
        "legend.frameon": False,
        "text.color": ink,
        "axes.titlecolor": ink,
        "axes.labelcolor": quiet,
        "axes.edgecolor": line,
        "xtick.color": line,
        "ytick.color": line,
        "xtick.labelcolor": quiet,
        "ytick.labelcolor": quiet,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.prop_cycle": mpl.cycler(color=COLORS["CYCLE"]),
        "axes.axisbelow": True,
        "grid.color": line,
        "grid.linewidth": 0.6,
        "lines.linewidth": 2.0,
        "hatch.linewidth": 0.7,
        "image.cmap": ATTENTION.name,
    })
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is not None:
        # A notebook's backend registers a writer of its own when it is loaded: ours must come later.
        plt.switch_backend(mpl.get_backend())
        from course.svg import svg  # which needs the colors above

        shell.display_formatter.formatters["image/svg+xml"].for_type(Figure, svg)
        shell.display_formatter.formatters["image/png"].for_type(Figure, png)


def png(fig: Figure) -> bytes:
    """`fig` as a PNG with a palette of 64 colors: a quarter of the bytes, and the same bytes every time.

    JupyterLab shows no SVG in a notebook that somebody else ran, which it does not trust; it shows this.
    """
    from course.svg import settle

    settle(fig)
    full = io.BytesIO()
    fig.savefig(full, format="png")
    reduced = Image.open(full).convert("RGB").quantize(64, Image.Quantize.MAXCOVERAGE, kmeans=1)
    small = io.BytesIO()
    reduced.save(small, "png", optimize=True)
    return small.getvalue()


def mix(color: str, other: str, share: float) -> tuple[float, float, float]:
    """`share` of one color and the rest of the other; mixed with the paper, it is a tint."""
    return tuple(share * a + (1 - share) * b for a, b in zip(to_rgb(color), to_rgb(other)))


def figure(rows: int = 1, columns: int = 1, height: float = 3.6) -> tuple[Figure, Axes | np.ndarray]:
    """An empty figure of the book's width and its axes; `height` in inches.

    The figure is already closed for pyplot: a notebook shows it once, where it is the last value of a cell,
    and not a second time at the cell's end.

    >>> fig, ax = figure()
    >>> fig
    <Figure size 720x432 with 1 Axes>
    """
    fig, axes = plt.subplots(rows, columns, figsize=(WIDTH, height))
    plt.close(fig)
    return fig, axes


use_style()
