"""The figures that the book draws again and again; each returns a `Figure`, a cell's last value."""

import textwrap
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from course.map import machine_map, map_alt
from course.style import ATTENTION, COLORS, MIDDLE, ON, ON_PALE, WIDTH, figure, mix, use_style
from course.svg import FINDING

__all__ = ["COLORS", "attention_map", "figure", "ladder", "loss_plot", "machine_map", "map_alt",
           "token_strip", "use_style", "visible"]

TOKEN_FONTS = ["DejaVu Sans Mono", "DejaVu Sans"]
SIGNS = {" ": "␣", "\n": "⏎", "\t": "⇥"}


def visible(token: str | bytes) -> str:
    r"""`token` as it can be printed: spaces as ␣, line ends as ⏎, what our fonts cannot draw as its bytes.

    >>> visible(" a\n"), visible("你"), visible(b"\xe4\xbd")
    ('␣a⏎', '\\xe4\\xbd\\xa0', '\\xe4\\xbd')
    """
    text = token.decode("utf-8", "backslashreplace") if isinstance(token, bytes) else token
    return "".join(SIGNS.get(c) or (c if _drawable(c) else _escaped(c)) for c in text)


@cache
def _drawable(character: str) -> bool:
    # Marks and controls have a glyph but nothing to see by themselves.
    if unicodedata.category(character)[0] in "CMZ":
        return False
    fonts = (font_manager.get_font(font_manager.findfont(name)) for name in TOKEN_FONTS)
    return any(font.get_char_index(ord(character)) for font in fonts)


def _escaped(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogatepass"))


def _at_most(n: int, text: str) -> str:
    return text if len(text) <= n else f"{text[:n // 2]}…{text[-n // 2 + 1:]}"


def attention_map(
    weights,
    queries: Sequence[str | bytes] | None = None,
    keys: Sequence[str | bytes] | None = None,
    title: str | None = None,
    ax: Axes | None = None,
    mask=None,
    vmax: float = 1.0,
) -> Figure:
    """Attention weights as a heat map: queries down, keys across, dark where the weight is large.

    `weights` (n_queries, n_keys), a tensor or an array, is drawn on the scale 0 to `vmax`. `queries` and
    `keys` are the tokens; `keys` left out means the queries' own. `mask`, of the same shape, is True where a
    query may attend; what it hides (and any NaN) is hatched, so that "may not look" and "looks with weight 0"
    stay apart. Up to 8 x 8 (less beside other axes) the values are written into the cells. Long tokens lose
    their middle. Draws into `ax` where it is given, else into a new figure.

    Raises ValueError where shapes and tokens do not fit.
    """
    w = _array(weights)
    if w.ndim != 2 or 0 in w.shape:
        raise ValueError(f"weights must be (n_queries, n_keys), not {w.shape}: pick one text and one head")
    if keys is None and queries is not None and w.shape[0] == w.shape[1]:
        keys = queries
    for name, tokens, n in (("queries", queries, w.shape[0]), ("keys", keys, w.shape[1])):
        if tokens is not None and len(tokens) != n:
            raise ValueError(f"weights of shape {w.shape} need {n} {name}, but there are {len(tokens)}")
    if mask is not None:
        allowed = _array(mask)
        if allowed.shape != w.shape or allowed.dtype != bool:
            raise ValueError(f"mask must be bool of shape {w.shape}, not {allowed.dtype} of {allowed.shape}")
        w = np.where(allowed, w, np.nan)

    alone = ax is None
    cell = min(0.62, 4.6 / max(w.shape))  # inches
    if alone:
        _, ax = figure(height=1.6 + cell * w.shape[0])
    small = max(w.shape) <= min(8, 10 // _columns(ax))
    shown, scale = np.ma.masked_invalid(w), {"cmap": ATTENTION, "vmin": 0, "vmax": vmax}
    if small:
        ax.pcolormesh(shown, edgecolors=COLORS["PAPER"], linewidth=1.5, **scale)
    else:  # an image with a pixel for each cell
        cells = ax.imshow(shown, interpolation="none", extent=(0, w.shape[1], w.shape[0], 0), **scale)
    ax.patch.set(facecolor=COLORS["PAPER"], edgecolor=COLORS["LINE"], hatch="///")
    ax.set(aspect="equal", anchor="W", xlabel="keys", ylabel="queries")
    ax.xaxis.labelpad = 7  # the tokens' tall letters reach up to it
    ax.set_ylim(w.shape[0], 0)
    ax.xaxis.tick_top()
    ax.xaxis.set_label_position("top")
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    _token_ticks(ax, "x", keys, w.shape[1], cell / _columns(ax))
    _token_ticks(ax, "y", queries, w.shape[0], cell / _columns(ax))
    if small:
        for (i, j), value in np.ndenumerate(w):
            if np.isfinite(value):
                ax.text(j + 0.5, i + 0.5, f"{value:.2f}", ha="center", va="center", size=10.4,
                        color=ON if value > MIDDLE * vmax else ON_PALE)
    else:
        above = "max" if vmax < 1 else "neither"
        bar = ax.figure.colorbar(cells, ax=ax, shrink=0.6, aspect=18, label="weight", extend=above)
        bar.outline.set_visible(False)
    _title(ax, title, alone)
    return ax.figure


def _array(values) -> np.ndarray:
    return values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)


def _columns(ax: Axes) -> int:
    """How many axes share the width of the figure with `ax`, itself included."""
    spec = ax.get_subplotspec()
    return spec.get_gridspec().ncols if spec else 1


def _token_ticks(ax: Axes, axis: str, tokens: Sequence[str | bytes] | None, n: int, cell: float) -> None:
    every = -(-n // 32)
    places = np.arange(0, n, every)
    names = [str(i) for i in places] if tokens is None else [_at_most(16, visible(tokens[i])) for i in places]
    size = 10.5 if n <= 20 else 8.5
    letter = 0.61 * size / 72  # the width of any letter of this font, in inches
    turned = axis == "x" and (max(map(len, names)) + 0.5) * letter > cell * every
    # A token may hold dollar signs, which matplotlib would take for mathematics.
    getattr(ax, f"set_{axis}ticks")(places + 0.5, names, parse_math=False, family=TOKEN_FONTS, size=size,
                                    color=COLORS["INK"], rotation=90 if turned else 0)


def _title(ax: Axes, title: str | None, alone: bool) -> None:
    if title and alone:
        ax.figure.suptitle(textwrap.fill(title, 60), x=0.012, ha="left")
    elif title:
        ax.set_title(textwrap.fill(title, 52 // _columns(ax)))


def token_strip(
    tokens: Sequence[str | bytes] | Mapping[str, Sequence[str | bytes]],
    ids: Sequence[int] | Mapping[str, Sequence[int]] | None = None,
    title: str | None = None,
) -> Figure:
    """A text cut into its tokens, each in a box with its id below; equal tokens have equal colors.

    `tokens` is a list, or a dict of lists that are drawn below each other under their names; `ids` is of the
    same kind. Long strips wrap, and a token too long for a line loses its middle. What cannot be drawn is
    written as its bytes (see `visible`).

    Raises ValueError where tokens and ids do not fit, and where there is no token.
    """
    strips = tokens if isinstance(tokens, Mapping) else {"": tokens}
    numbers = ids if isinstance(ids, Mapping) else dict.fromkeys(strips) if ids is None else {"": ids}
    if numbers.keys() != strips.keys():
        raise ValueError("tokens and ids must both be lists, or both dicts with the same names")
    if not any(len(strip) for strip in strips.values()):
        raise ValueError("there is no token to draw")

    fig, ax = figure(height=1)
    fig.set_layout_engine("none")
    ax.set(position=(0, 0, 1, 1), xlim=(-0.1, WIDTH - 0.1))
    ax.axis("off")
    tints = [mix(color, COLORS["PAPER"], 0.28) for color in COLORS["CYCLE"]]
    tint_of: dict = {}
    y = 0.0  # inches from the top; x and all sizes are inches too
    if title:
        lines = textwrap.wrap(title, 58)
        ax.text(0, y, "\n".join(lines), size=12, va="top", gid=FINDING)
        y += 0.22 * len(lines) + 0.14
    for name, strip in strips.items():
        strip_ids = numbers[name]
        if strip_ids is not None and len(strip_ids) != len(strip):
            raise ValueError(f"{len(strip)} tokens need as many ids, but there are {len(strip_ids)}")
        if name:
            ax.text(0, y, name, size=10.5, va="top", color=COLORS["QUIET"], parse_math=False)
            y += 0.25
        x, line_height = 0.0, 0.4 if strip_ids is None else 0.6
        for i, token in enumerate(strip):
            label = ax.text(0, 0, _at_most(50, visible(token)), size=12, ha="center", va="center_baseline",
                            family=TOKEN_FONTS, parse_math=False)
            width = label.get_window_extent().width / fig.dpi + 0.12
            if strip_ids is not None:
                number = ax.text(0, 0, str(strip_ids[i]), size=10.4, ha="center", va="center",
                                 color=COLORS["QUIET"])
                width = max(width, number.get_window_extent().width / fig.dpi + 0.04)
            if x and x + width > WIDTH - 0.2:
                x, y = 0.0, y + line_height
            if strip_ids is not None:
                number.set_position((x + width / 2, y + 0.42))
            label.set_position((x + width / 2, y + 0.16))
            key = token if strip_ids is None else int(strip_ids[i])
            tint = tints[tint_of.setdefault(key, len(tint_of)) % len(tints)]
            ax.add_patch(FancyBboxPatch((x, y), width, 0.3, boxstyle="round,pad=0,rounding_size=0.05",
                                        facecolor=tint, edgecolor="none"))
            x += width + 0.04
        y += line_height + 0.06
    fig.set_size_inches(WIDTH, y + 0.1)
    ax.set_ylim(y, -0.1)
    return fig


def loss_plot(
    curves: Mapping[str, tuple],
    floor: float | None = None,
    floor_label: str = "best possible",
    title: str | None = None,
    xlabel: str = "step",
    ylabel: str = "loss (nats per character)",
    ax: Axes | None = None,
    colors: Mapping[str, str] | None = None,
) -> Figure:
    """Loss curves with their names at their ends, above the floor that no model can pass.

    `curves` maps a name to `(x, y)` with x (n,) and y (n,), or y (n_seeds, n): then the line is the mean and
    the band reaches from the lowest seed to the highest. `floor` is in the units of y. `colors` gives a curve
    its own color (`COLORS["LOOKUP"]`, say). Draws into `ax` where it is given, else into a new figure.

    Raises ValueError where there is no curve, and where x and y of one do not fit.
    """
    if not curves:
        raise ValueError("there is no curve to draw")
    alone = ax is None
    if alone:
        _, ax = figure()
    ends = {}
    for name, (x, y) in curves.items():
        x, y = _array(x), np.atleast_2d(_array(y))
        if x.ndim != 1 or y.ndim != 2 or y.shape[1] != len(x) or not len(x):
            raise ValueError(f"curve {name!r} needs x (n,), y (n,) or (n_seeds, n), not {x.shape}, {y.shape}")
        mean = y.mean(axis=0)
        line, = ax.plot(x, mean, label=name, color=(colors or {}).get(name))
        if len(y) > 1:
            ax.fill_between(x, y.min(axis=0), y.max(axis=0), color=line.get_color(), alpha=0.2, linewidth=0)
        ends[name] = (x[-1], mean[-1], line.get_color())
    if floor is not None:
        bottom, top = ax.get_ylim()
        ax.set_ylim(floor - 0.12 * (top - floor), top)
        ax.axhline(floor, color=COLORS["FLOOR"], linestyle=(0, (4, 3)), linewidth=1.5)
        ax.annotate(f"{floor_label} {floor:.3f}", (0.01, floor), (0, -4), va="top", size=10.5,
                    color=COLORS["FLOOR"], xycoords=("axes fraction", "data"), textcoords="offset points")
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.margins(x=0.01)
    ax.grid(axis="y")
    if max(map(len, ends)) > 18:
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2))
    elif len(ends) > 1:
        _label_ends(ax, ends)
    _title(ax, title, alone)
    return ax.figure


def _label_ends(ax: Axes, ends: Mapping[str, tuple[float, float, str]]) -> None:
    """Names right of the curves' last points, moved apart where they would overlap."""
    bottom, top = ax.get_ylim()
    gap = (top - bottom) * 14 / (72 * 0.75 * ax.figure.get_size_inches()[1])  # 14 points, in units of y
    names = sorted(ends, key=lambda name: ends[name][1])
    at = [ends[name][1] for name in names]
    for _ in range(100):
        for i in range(len(at) - 1):
            push = max(0.0, gap - (at[i + 1] - at[i])) / 2
            at[i], at[i + 1] = at[i] - push, at[i + 1] + push
    for name, y in zip(names, at):
        x, _, color = ends[name]
        ax.annotate(name, (x, y), (6, 0), textcoords="offset points", va="center", size=10.5,
                    color=mix(color, COLORS["INK"], 0.65))


def ladder(
    values: Mapping[str, float],
    floor: float | None = None,
    floor_label: str = "best possible",
    title: str | None = None,
    xlabel: str = "loss (nats per character)",
) -> Figure:
    """One number per model, the largest on top, each drawn as what is left between it and the floor.

    `values` and `floor` are in the units that `xlabel` names. Without a floor the distances start at 0.
    """
    if not values:
        raise ValueError("there is no value to draw")
    rungs = sorted(values.items(), key=lambda item: -item[1])
    start = 0.0 if floor is None else floor
    fig, ax = figure(height=0.9 + 0.36 * (len(rungs) + (floor is not None)))
    color = COLORS["CYCLE"][0]
    beside = {"xytext": (9, 0), "textcoords": "offset points", "va": "center_baseline", "size": 10.5}
    for i, (_, value) in enumerate(rungs):
        ax.plot([start, value], [i, i], color=mix(color, COLORS["PAPER"], 0.4), linewidth=5)
        ax.plot(value, i, "o", color=color, markersize=9)
        ax.annotate(f"{value:.3f}", (value, i), **beside)
    names = [name for name, _ in rungs]
    if floor is not None:
        names.append(floor_label)
        ax.axvline(floor, color=COLORS["FLOOR"], linestyle=(0, (4, 3)), linewidth=1.5)
        ax.annotate(f"{floor:.3f}", (floor, len(rungs)), color=COLORS["FLOOR"], **beside)
    ax.set_yticks(range(len(names)), names, color=COLORS["INK"])
    ax.set(xlabel=xlabel, ylim=(len(names) - 0.5, -0.5))
    ax.set_xlim(start - 0.04 * (rungs[0][1] - start), start + 1.16 * (rungs[0][1] - start))
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    _title(ax, title, alone=True)
    return fig
