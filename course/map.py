"""The map: one picture of the whole machine, on which each chapter marks where the reader is."""

from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Polygon, Rectangle

from course.style import ATTENTION, COLORS, OFF, WIDTH, figure, mix

# What is text, what is vectors and what is probabilities; attention has the colors of its two views.
VECTORS, _, TEXT, _, CHANCE = COLORS["CYCLE"]
INK, QUIET, PAPER = COLORS["INK"], COLORS["QUIET"], COLORS["PAPER"]

# All lengths are inches; y grows downward, as the text goes through the machine.
HEIGHT = 7.26
TRACKS = (0.56, 1.20, 1.84)  # one residual stream per token
BRANCH = 0.25  # a layer works beside the stream that it reads and writes
NEXT = 2.78  # the track of the token to come
LEGEND = 3.36
SMALL = 10.4  # points of the smallest words, 9 pixels on a phone

TOKENS = (("The", 464), ("␣cat", 3797), ("␣sat", 3332), ("␣on", 319))
SHADES = ((0.7, 0.2, 0.9, 0.4), (0.1, 0.8, 0.5, 0.6), (0.9, 0.5, 0.1, 0.7))
WAVES = ((0.1, 0.1, 0.1, 0.1), (0.9, 0.6, 0.35, 0.2), (0.2, 0.9, 0.6, 0.35))
WEIGHTS = (0.2, 0.65, 0.15)  # what the last token takes from each
HEADS = (((1.0,), (0.3, 0.7), WEIGHTS), ((1.0,), (0.9, 0.1), (0.05, 0.15, 0.8)))
CHANCES = ((0.3, 0.9, 0.5, 0.2, 0.4), (0.2, 0.3, 0.4, 1.0, 0.1), (0.15, 0.2, 1.0, 0.3, 0.1))


@dataclass(frozen=True)
class Stop:
    number: int
    title: str
    what: str
    color: str
    top: float
    bottom: float


STOPS = {
    "tokens": Stop(1, "Tokens", "text → pieces → ids", TEXT, 0.16, 0.82),
    "vectors": Stop(3, "Vectors", "one for each id,\none for each position", VECTORS, 0.90, 1.54),
    "lookup": Stop(4, "Attention: a lookup", "q · k → scores → weights", COLORS["LOOKUP"], 1.72, 2.32),
    "smoothing": Stop(5, "Attention: a smoother", "weights average values", COLORS["SMOOTHER"], 2.38, 2.98),
    "heads": Stop(6, "Two views, many heads", "several averages at once", VECTORS, 3.04, 3.62),
    "model": Stop(7, "The block and the model", "attention and MLP, n times,\nthen unembedding → logits",
                  VECTORS, 3.72, 5.14),
    "prediction": Stop(2, "Predicting the next token", "probabilities and the loss", CHANCE, 5.22, 5.88),
    "training": Stop(8, "Training", "loss → all weights", CHANCE, 5.96, 6.54),
    "generation": Stop(9, "Generating", "choose one, append, repeat", TEXT, 6.60, 7.20),
}


def machine_map(here: str | None = None) -> Figure:
    """The whole machine from text to the next token, with the chapter that builds each part.

    `here` is the chapter whose part is highlighted: "tokens", "prediction", "vectors", "lookup", "smoothing",
    "heads", "model", "training" or "generation". None shows all parts alike.
    """
    _check(here)
    fig, ax = figure(height=HEIGHT)
    fig.set_layout_engine("none")
    fig.set_label("The whole machine" + (f", and where chapter {STOPS[here].number} is in it" if here else ""))
    ax.set(position=(0, 0, 1, 1), xlim=(0, WIDTH), ylim=(HEIGHT, 0))
    ax.axis("off")
    color = {name: stop.color if here in (None, name) else OFF for name, stop in STOPS.items()}
    _frames(ax, color)
    if here:
        _here(ax, STOPS[here])
    _tokens_and_vectors(ax, color)
    _layers(ax, color)
    _lookup(ax, color)
    _end(ax, color)
    _loops(ax, color)
    for name, stop in STOPS.items():
        _legend(ax, stop, color[name])
    return fig


def _check(here: str | None) -> None:
    if here is not None and here not in STOPS:
        raise ValueError(f"there is no chapter {here!r} on the map, only {', '.join(STOPS)}")


def _box(ax: Axes, x: float, y: float, width: float, height: float, face, edge="none", radius=0.06,
         **style) -> None:
    ax.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=f"round,pad=0,rounding_size={radius}",
                                facecolor=face, edgecolor=edge, **style))


def _chip(ax: Axes, x: float, y: float, width: float, height: float, text: str, color: str, **style) -> None:
    """A small part with its name on it, around (x, y)."""
    face = color if color != OFF else "#e9eaec"
    _box(ax, x - width / 2, y - height / 2, width, height, face, color, linewidth=0.8, zorder=4)
    ax.text(x, y, text, ha="center", va="center_baseline", zorder=5, color="white" if color != OFF else QUIET,
            **style)


def _arrow(ax: Axes, *points: tuple[float, float], color: str, width: float = 1.5) -> None:
    ax.plot(*zip(*points[:-1]), color=color, linewidth=width, solid_capstyle="projecting", zorder=2)
    ax.add_patch(FancyArrowPatch(points[-2], points[-1], arrowstyle="-|>", mutation_scale=9, color=color,
                                 linewidth=width, shrinkA=0, shrinkB=0, joinstyle="miter", zorder=2))


def _frames(ax: Axes, color: dict[str, str]) -> None:
    """The block with others behind it, its attention layer with several heads and its MLP layer."""
    model, heads = color["model"], color["heads"]
    for shift in (0.12, 0.06, 0.0):
        _box(ax, 0.30 + shift, 1.66 + shift, 2.18, 2.96, PAPER, mix(model, PAPER, 0.7), linewidth=1.2)
    for shift in (0.08, 0.04, 0.0):
        _box(ax, 0.37 + shift, 1.76 + shift, 1.97, 1.78, mix(heads, PAPER, 0.08), mix(heads, PAPER, 0.55),
             linewidth=1)
    _box(ax, 0.37, 3.76, 2.05, 0.76, mix(model, PAPER, 0.08), mix(model, PAPER, 0.55), linewidth=1)


def _here(ax: Axes, stop: Stop) -> None:
    _box(ax, 0.03, stop.top, WIDTH - 0.06, stop.bottom - stop.top, stop.color, alpha=0.13, linewidth=0)
    _chip(ax, WIDTH - 0.64, stop.top - 0.01, 1.1, 0.22, "you are here", stop.color, size=SMALL)


def _tokens_and_vectors(ax: Axes, color: dict[str, str]) -> None:
    for (token, number), x in zip(TOKENS, (*TRACKS, NEXT)):
        tone, line = (color["tokens"], "-") if x != NEXT else (color["generation"], (0, (3, 2)))
        _box(ax, x - 0.28, 0.23, 0.56, 0.28, mix(tone, PAPER, 0.2), tone, linewidth=1, linestyle=line)
        ax.text(x, 0.37, token, size=10.5, family="DejaVu Sans Mono", ha="center", va="center_baseline",
                color=INK if tone != OFF else QUIET)
        ax.text(x, 0.64, str(number), size=SMALL, color=QUIET, ha="center", va="center")
    tone = color["vectors"]
    for x, shades, waves in zip(TRACKS, SHADES, WAVES):
        _arrow(ax, (x, 0.73), (x, 0.94), color=color["tokens"])
        for i in range(4):
            y = 0.97 + 0.12 * i
            _box(ax, x - 0.22, y, 0.15, 0.11, mix(tone, PAPER, 0.2 + 0.75 * shades[i]), radius=0.02)
            _box(ax, x + 0.07, y, 0.15, 0.11, mix(tone, PAPER, 0.12 + 0.5 * waves[i]), radius=0.02)
        ax.text(x, 1.20, "+", size=11, color=QUIET, ha="center", va="center")


def _layers(ax: Axes, color: dict[str, str]) -> None:
    """Streams run through; each layer reads from them through a norm and adds what it found."""
    tone = color["model"]
    for x in TRACKS:
        ax.plot((x, x), (1.5, 4.80), color=tone, linewidth=2.2, solid_capstyle="butt", zorder=1)
        b = x + BRANCH
        for top, bottom in ((1.88, 3.54), (3.88, 4.52)):
            _arrow(ax, (x, top), (b, top), (b, bottom), (x + 0.07, bottom), color=tone, width=1.2)
            _box(ax, b - 0.21, top - 0.085, 0.43, 0.17, PAPER, tone, radius=0.04, linewidth=0.8, zorder=4)
            ax.text(b + 0.005, top, "norm", size=SMALL, ha="center", va="center_baseline", zorder=5,
                    color=INK if tone != OFF else QUIET)
            ax.add_patch(Circle((x, bottom), 0.075, facecolor=PAPER, edgecolor=tone, linewidth=1.4, zorder=4))
            ax.plot((x - 0.04, x + 0.04), (bottom, bottom), (x, x), (bottom - 0.04, bottom + 0.04),
                    color=tone, linewidth=1.2, zorder=5)
        _chip(ax, b + 0.02, 4.20, 0.38, 0.28, "MLP", tone, size=SMALL)
    _chip(ax, 2.42, 1.66, 0.36, 0.22, "× n", tone, size=SMALL)


def _lookup(ax: Axes, color: dict[str, str]) -> None:
    """The last token scores every key and averages the values; below, the weights of two heads."""
    asks = (TRACKS[-1] + BRANCH - 0.11, 2.21)
    mixed = (TRACKS[-1] + BRANCH, 2.99)
    for x, weight in zip(TRACKS, WEIGHTS):
        b = x + BRANCH
        _chip(ax, b - 0.11, 2.12, 0.19, 0.19, "q", color["lookup"], size=SMALL, style="italic")
        _chip(ax, b + 0.11, 2.12, 0.19, 0.19, "k", color["lookup"], size=SMALL, style="italic")
        _chip(ax, b, 2.66, 0.19, 0.19, "v", color["smoothing"], size=SMALL, style="italic")
        for start, end, bend, tone in ((asks, (b + 0.11, 2.21), -0.36, color["lookup"]),
                                       ((b, 2.75), mixed, 0.0, color["smoothing"])):
            ax.add_patch(FancyArrowPatch(start, end, arrowstyle="-", connectionstyle=f"arc3,rad={bend}",
                                         color=tone, linewidth=0.8 + 3.6 * weight, shrinkA=0, shrinkB=0,
                                         zorder=3, alpha=0.75))
    ax.add_patch(Circle(mixed, 0.05, color=color["smoothing"], linewidth=0, zorder=4))
    for x, rows in zip(TRACKS, HEADS):
        for i, row in enumerate(rows):
            for j, weight in enumerate(row):
                face = ATTENTION(weight) if color["heads"] != OFF else mix(OFF, PAPER, 0.25 + 0.75 * weight)
                ax.add_patch(Rectangle((x + 0.30 + 0.1 * j, 3.14 + 0.1 * i), 0.094, 0.094, facecolor=face))


def _end(ax: Axes, color: dict[str, str]) -> None:
    tone = color["model"]
    _box(ax, 0.30, 4.82, 2.18, 0.28, mix(tone, PAPER, 0.2), tone, linewidth=1.2)
    ax.text(1.39, 4.96, "norm, unembedding", size=SMALL, ha="center", va="center_baseline",
            color=INK if tone != OFF else QUIET)
    for x, chances in zip(TRACKS, CHANCES):
        _arrow(ax, (x, 5.10), (x, 5.30), color=tone)
        for i, chance in enumerate(chances):
            _box(ax, x - 0.24 + 0.1 * i, 5.82 - 0.46 * chance, 0.08, 0.46 * chance,
                 mix(color["prediction"], PAPER, 1 if chance == max(chances) else 0.45), radius=0.01)


def _loops(ax: Axes, color: dict[str, str]) -> None:
    """The way back of the loss, into every weight, and the way back of the chosen token, into the text."""
    loss = CHANCE if CHANCE in (color["prediction"], color["training"]) else OFF  # of both chapters
    for x in TRACKS[:2]:
        _arrow(ax, (x, 5.86), (0.88 + 0.3 * (x - 0.88), 6.11), color=loss)
    _chip(ax, 0.88, 6.26, 0.6, 0.28, "loss", loss, size=10.5)
    tone = color["training"]
    ax.plot((0.58, 0.14, 0.14), (6.26, 6.26, 1.2), color=tone, linewidth=1.5, linestyle=(0, (3, 2)))
    for y in (1.2, 2.66, 4.14, 4.96):
        _arrow(ax, (0.14, y), (0.3, y), color=tone)
    tone = color["generation"]
    _arrow(ax, (TRACKS[-1], 5.86), (TRACKS[-1], 6.90), (NEXT - 0.3, 6.90), color=tone)
    _chip(ax, NEXT, 6.90, 0.56, 0.28, TOKENS[-1][0], tone, size=10.5, family="DejaVu Sans Mono")
    _arrow(ax, (NEXT, 6.75), (NEXT, 0.76), color=tone)


def _legend(ax: Axes, stop: Stop, color: str) -> None:
    y = (stop.top + stop.bottom) / 2 - 0.1 - 0.08 * stop.what.count("\n")
    face, number, title = (PAPER, QUIET, QUIET) if color == OFF else (color, "white", INK)
    ax.add_patch(Circle((LEGEND, y), 0.15, facecolor=face, edgecolor=color, linewidth=1.2))
    ax.text(LEGEND, y, str(stop.number), size=10.5, color=number, ha="center", va="center_baseline")
    ax.text(LEGEND + 0.24, y, stop.title, size=12, color=title, va="center_baseline")
    ax.text(LEGEND + 0.24, y + 0.13, stop.what, size=10.5, color=QUIET, va="top", linespacing=1.15)


def map_alt(here: str | None = None) -> str:
    """The map in words, for the alt text of `machine_map(here)`."""
    _check(here)
    whole = (
        "Map of the machine, top to bottom: text is cut into tokens with ids (chapter 1); each id and each "
        "position becomes a vector (3); in a block that is repeated n times, attention lets every token look "
        "up itself and the ones before it (4) and average what it finds (5), with several heads (6), and an "
        "MLP works on each token alone, both after a norm and both added to the stream (7); the unembedding "
        "turns vectors into logits and probabilities of the next token (2); the loss moves all weights (8); "
        "a chosen token joins the text (9)."
    )
    if here is None:
        return whole
    return f"{whole} You are here: chapter {STOPS[here].number}, {STOPS[here].title}."
