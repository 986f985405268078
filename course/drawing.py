"""A pencil: lines, boxes, words and bars, which become an SVG in the colors of the page around it.

Lengths are units of which a drawing has 360 from left to right, as many as a phone's page has pixels; y grows
downward. A color is the name of what it stands for, see `COLORS`.
"""

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

from course.style import COLORS as FIGURES

WIDTH = 360
# Each with what it is where no page gives another: in a notebook, on paper.
COLORS = {
    "ink": FIGURES["INK"],
    "quiet": FIGURES["QUIET"],
    "line": FIGURES["LINE"],
    "lookup": FIGURES["LOOKUP"],
    "smoother": FIGURES["SMOOTHER"],
    "vectors": FIGURES["CYCLE"][0],
    "tokens": FIGURES["CYCLE"][2],
    "chance": FIGURES["CYCLE"][4],
    "red": "#c8362b",
    "yellow": "#e3b505",
    "blue": "#2b59c3",
}
STYLE = "".join(
    f".drawing .{name}{{fill:var(--book-{name},{color})}}.drawing .{name}-line{{stroke:var(--book-{name},{color})}}"
    for name, color in COLORS.items()
) + (
    ".drawing text{font-family:inherit;font-size:11px}.drawing .mono{font-family:var(--pst-font-family-monospace,monospace)}"
    ".drawing .stroke{fill:none}.drawing .paper{fill:var(--book-paper,#fdfcfa)}.drawing .on{fill:var(--book-on,#fff)}"
    ".drawing .halo{paint-order:stroke;stroke:var(--book-halo,#fdfcfa);stroke-width:4px;stroke-linejoin:round}"
)
Point = tuple[float, float]


class Drawing:
    """What was drawn so far. Every method returns nothing, draws over what is there, and takes units."""

    def __init__(self, height: float) -> None:
        self.height = height
        self.parts: list[str] = []

    def words(self, x: float, y: float, text: str, color: str = "ink", *, at: str = "middle", size: float = 11,
              mono: bool = False, italic: bool = False, bold: bool = False, halo: bool = False) -> None:
        """A line of text whose middle is at height y; `at` is what x means: "start", "middle" or "end".

        A halo of paper keeps it apart from lines that it crosses.
        """
        look = f'text-anchor="{at}"' + (f' style="font-size:{size:g}px"' if size != 11 else "")
        look += ' font-style="italic"' * italic + ' font-weight="600"' * bold
        self.parts.append(f'<text x="{x:.4g}" y="{y + 0.35 * size:.4g}" class="{color}{" mono" * mono}{" halo" * halo}" {look}>{escape(text)}</text>')

    def box(self, x: float, y: float, width: float, height: float, color: str, *, fill: float = 0.14,
            edge: bool = True, radius: float = 4, dashed: bool = False) -> None:
        """A box from its upper left corner; `fill` is how much of its color its inside has, from 0 to 1."""
        line = f' class="{color} {color}-line"' if edge else f' class="{color}"'
        line += ' stroke-dasharray="4 3"' * dashed
        self.parts.append(f'<rect x="{x:.4g}" y="{y:.4g}" width="{width:.4g}" height="{height:.4g}" rx="{radius:g}" fill-opacity="{fill:.3g}"{line}/>')

    def label(self, x: float, y: float, width: float, height: float, text: str, color: str, **look) -> None:
        """A box with a word in it."""
        box = {name: look.pop(name) for name in ("fill", "dashed", "radius", "edge") if name in look}
        self.box(x, y, width, height, color, **box)
        self.words(x + width / 2, y + height / 2, text, **look)

    def line(self, *points: Point, color: str = "quiet", width: float = 1.3, dashed: bool = False, opacity: float = 1) -> None:
        self._path("M" + "L".join(f"{x:.4g} {y:.4g}" for x, y in points), color, width, dashed, opacity)

    def curve(self, start: Point, bend: Point, end: Point, color: str = "quiet", width: float = 1.3, dashed: bool = False,
              opacity: float = 1) -> None:
        """From start to end, drawn toward `bend`."""
        self._path("M{:.4g} {:.4g}Q{:.4g} {:.4g} {:.4g} {:.4g}".format(*start, *bend, *end), color, width, dashed, opacity)

    def arrow(self, *points: Point, color: str = "quiet", width: float = 1.3, dashed: bool = False) -> None:
        """A line with a head at its last point."""
        self.line(*points[:-1], _short(points[-2], points[-1], 5), color=color, width=width, dashed=dashed)
        self.head(points[-2], points[-1], color)

    def bow(self, start: Point, bend: Point, end: Point, color: str = "quiet", width: float = 1.3, dashed: bool = False) -> None:
        """A curve with a head at its end."""
        self.curve(start, bend, _short(bend, end, 5), color, width, dashed)
        self.head(bend, end, color)

    def head(self, before: Point, tip: Point, color: str) -> None:
        angle = math.atan2(tip[1] - before[1], tip[0] - before[0])
        corners = [tip] + [(tip[0] - 8 * math.cos(angle + turn), tip[1] - 8 * math.sin(angle + turn)) for turn in (0.42, -0.42)]
        self.parts.append(f'<polygon points="{" ".join(f"{x:.4g},{y:.4g}" for x, y in corners)}" class="{color}"/>')

    def dot(self, x: float, y: float, radius: float, color: str, *, fill: float = 1, edge: bool = False) -> None:
        line = f"{color} {color}-line" if edge else color
        self.parts.append(f'<circle cx="{x:.4g}" cy="{y:.4g}" r="{radius:.4g}" fill-opacity="{fill:.3g}" class="{line}"/>')

    def bars(self, x: float, y: float, heights: Sequence[float], color: str, *, step: float = 12, width: float = 9,
             fills: Sequence[float] | None = None) -> None:
        """Bars that stand on y, the first from x on."""
        for i, height in enumerate(heights):
            self.box(x + i * step, y - height, width, height, color, fill=fills[i] if fills else 0.8, edge=False, radius=1)

    def column(self, x: float, y: float, shades: Sequence[float], color: str, size: float = 9) -> None:
        """A vector: a cell for each number from 0 to 1, one below the other."""
        for i, shade in enumerate(shades):
            self.box(x, y + i * size, size, size, color, fill=shade, radius=1)

    def row(self, x: float, y: float, shades: Sequence[float], color: str, size: float = 9) -> None:
        """A vector that lies."""
        for i, shade in enumerate(shades):
            self.box(x + i * size, y, size, size, color, fill=shade, radius=1)

    def svg(self) -> str:
        """The whole file. On a page the paper is the page's own."""
        size = f'viewBox="0 0 {WIDTH} {self.height:g}" width="{WIDTH}" height="{self.height:g}"'
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="drawing" {size} font-family="system-ui, sans-serif">',
            f"<style>{STYLE}</style>",
            f'<rect width="{WIDTH}" height="{self.height:g}" class="paper"/>',
            *self.parts,
            "</svg>",
        ]
        return "\n".join(lines) + "\n"

    def _path(self, d: str, color: str, width: float, dashed: bool, opacity: float) -> None:
        look = f'stroke-width="{width:.3g}"' + ' stroke-dasharray="4 3"' * dashed
        look += f' stroke-opacity="{opacity:.3g}"' * (opacity != 1)
        self.parts.append(f'<path d="{d}" class="stroke {color}-line" {look}/>')


def _short(start: Point, end: Point, by: float) -> Point:
    """The end of a line that stops a little before its arrow's tip."""
    length = math.dist(start, end) or 1
    return end[0] - by * (end[0] - start[0]) / length, end[1] - by * (end[1] - start[1]) / length
