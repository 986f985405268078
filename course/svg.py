"""Figures as text: written into notebooks as small SVGs, read again into pages, where they have the page's colors.

A figure in a notebook stands on its own paper and has its title above it. In a page of the book it is a part of
the page: its colors become variables of the style sheet, which are those of the day, and its title is what the
caption says, which can be selected and breaks its lines on a phone.
"""

import io
import re
from functools import cache
from xml.etree import ElementTree as ET

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogFormatter, LogFormatterMathtext

from course.style import ATTENTION, COLORS, OFF, ON, ON_PALE, mix

LARGEST = 150_000  # bytes; a figure that would be larger stays an image
FINDING, PAPER = "finding", "paper"  # ids of what a page leaves out
SANS = "DejaVu Sans,Verdana,sans-serif"
MONO = "DejaVu Sans Mono,Menlo,Consolas,monospace"
NS = "{http://www.w3.org/2000/svg}"
HREF = "{http://www.w3.org/1999/xlink}href"
NUMBER = re.compile(r"-?\d+\.\d{3,}(?:e-?\d+)?")
COLOR = re.compile(r"#[0-9a-f]{6}")

# Each color of the style with the variable that it becomes; pages/book.css says what it is at night.
NAMES = {
    COLORS["INK"]: "--book-ink",
    COLORS["QUIET"]: "--book-quiet",
    COLORS["LINE"]: "--book-line",
    COLORS["PAPER"]: "--fig-paper",
    COLORS["LOOKUP"]: "--book-lookup",
    COLORS["SMOOTHER"]: "--book-smoother",
    COLORS["FLOOR"]: "--fig-floor",
    COLORS["CYCLE"][0]: "--book-vectors",
    COLORS["CYCLE"][1]: "--fig-pink",
    COLORS["CYCLE"][2]: "--book-tokens",
    COLORS["CYCLE"][3]: "--fig-olive",
    COLORS["CYCLE"][4]: "--book-chance",
    OFF: "--fig-off",
    ON: "--book-on",
    ON_PALE: "--fig-on-pale",
}
SHADES = {to_hex(ATTENTION(i / 3)): f"--fig-weight-{i}" for i in range(4)}


# --- a figure becomes text --------------------------------------------------------------------------------


class LogTicks(LogFormatter):
    """The numbers of a logarithmic axis in full size: 0.001, or 1e-8 where the axis reaches far.

    Matplotlib's own are powers with a small exponent, which nobody can read on a phone.
    """

    def __call__(self, x: float, pos: int | None = None) -> str:
        """The label of the tick at `x`; empty where matplotlib would write none."""
        if not super().__call__(x, pos):
            return ""
        low, high = sorted(self.axis.get_view_interval())
        if 1e-5 < low and high < 1e7:
            return f"{x:,.0f}" if x >= 1 and x == round(x) else f"{x:.6f}".rstrip("0")
        digit, exponent = f"{x:.0e}".split("e")
        return digit + (f"e{int(exponent)}" if int(exponent) else "")


def settle(fig: Figure) -> None:
    """Lay a figure out once for all forms that it is written in: a second time would move its parts.

    What a map of square cells leaves empty above and below is taken away.
    """
    for axis in (axis for ax in fig.axes for axis in (ax.xaxis, ax.yaxis)):
        for which in ("major", "minor"):
            if isinstance(getattr(axis, f"get_{which}_formatter")(), LogFormatterMathtext):
                getattr(axis, f"set_{which}_formatter")(LogTicks(axis.get_transform().base))
    if isinstance(fig.get_layout_engine(), ConstrainedLayoutEngine):
        fig.draw_without_rendering()
        width, height = fig.get_size_inches()
        empty = height - fig.get_tightbbox().height - 2 * mpl.rcParams["figure.constrained_layout.h_pad"]
        if empty > 0.2:
            fig.set_size_inches(width, height - round(20 * empty) / 20)
            fig.draw_without_rendering()
        fig.set_layout_engine("none")


def headline(fig: Figure) -> mpl.text.Text | None:
    """The title that says what the whole figure shows, if it has one."""
    found = [text for text in fig.findobj(mpl.text.Text) if text.get_gid() == FINDING]
    if fig._suptitle is not None and fig._suptitle.get_text():
        found.append(fig._suptitle)
    titles = [ax._left_title for ax in fig.axes if ax.get_title("left")]
    return found[0] if found else titles[0] if len(titles) == 1 else None


def caption(fig: Figure) -> str:
    """What a figure says in words: its label, its title, or the titles of its panels."""
    title = headline(fig)
    said = [title.get_text()] if title else [ax.get_title("left") for ax in fig.axes if ax.get_title("left")]
    return " ".join((fig.get_label() or " · ".join(said)).split())


def svg(fig: Figure) -> str | None:
    """`fig` as an SVG with its words as text, the same bytes every time; None if that would be very large."""
    settle(fig)
    title, below = headline(fig), 0.0
    fig.patch.set_gid(PAPER)
    if title is not None:
        title.set_gid(FINDING)
        title.set_visible(False)
        below = max(0.0, 72 * (fig.get_size_inches()[1] - _top(fig)) - 3)
        title.set_visible(True)
    out = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "attention, twice"}):
        fig.savefig(out, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = compact(out.getvalue(), caption(fig), below)
    return text if len(text) <= LARGEST else None


def _top(fig: Figure) -> float:
    """How far up a figure reaches, in inches."""
    boxes = [ax.get_tightbbox() for ax in fig.axes if ax.axison]
    bare = [ax for ax in fig.axes if not ax.axison]
    parts = [part for ax in bare for part in (*ax.texts, *ax.patches, *ax.lines, *ax.collections) if part.get_visible()]
    boxes += [part.get_window_extent() for part in parts]
    legends = [legend.get_window_extent() for legend in fig.legends]
    return max(box.y1 for box in boxes + legends if box.height > 0) / fig.dpi


def compact(text: str, title: str = "", below: float = 0.0) -> str:
    """An SVG of matplotlib's without what nobody needs; its title, and where what is below its headline begins."""
    source = ET.fromstring(text, ET.XMLParser(target=ET.TreeBuilder(insert_comments=False)))
    used = dict.fromkeys(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    ids = {name: f"i{i}" for i, name in enumerate(used)} | {FINDING: FINDING, PAPER: PAPER}
    root = ET.Element("svg", {
        "xmlns": "http://www.w3.org/2000/svg", "width": _px(source.get("width")), "height": _px(source.get("height")),
        "viewBox": source.get("viewBox"), "font-family": SANS, "stroke-linejoin": "round", "stroke-linecap": "butt",
    })
    if below:
        root.set("data-below", f"{below:.1f}")
    if title:
        ET.SubElement(root, "title").text = title
    _copy(source, root, ids)
    return ET.tostring(root, encoding="unicode") + "\n"


def _px(points: str) -> str:
    return f"{float(points.removesuffix('pt')) * 4 / 3:.0f}"


def _copy(source: ET.Element, goal: ET.Element, ids: dict[str, str]) -> None:
    """Copy what is in `source` into `goal`: short numbers, no id that nobody uses, no group without a purpose."""
    for part in source:
        tag = part.tag.removeprefix(NS)
        if tag in ("style", "metadata") or tag in ("g", "defs") and not len(part):
            continue
        if tag == "text":
            _copy_text(part, goal)
            continue
        look = {}
        for name, value in part.attrib.items():
            value = " ".join(value.split())
            if name == "id":
                look |= {"id": ids[value]} if value in ids and tag != "image" else {}
            elif name == "style":
                look[name] = _style(value, ids)
            elif name in ("fill", "stroke"):
                look["style"] = f"{name}:{value}"
            elif name == HREF:
                look["href"] = f"#{ids[value[1:]]}" if value[0] == "#" else value.replace(" ", "")
            elif name == "d":
                look[name] = _path(value)
            else:
                look[name] = _linked(value, ids) if tag == "image" else _numbers(_linked(value, ids))
        _copy(part, goal if tag == "g" and not look else ET.SubElement(goal, tag, look), ids)


def _linked(text: str, ids: dict[str, str]) -> str:
    return re.sub(r"url\(#([^)]+)\)", lambda found: f"url(#{ids[found[1]]})", text)


def _number(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}".rstrip("0").rstrip(".")


def _numbers(text: str) -> str:
    return NUMBER.sub(lambda found: _number(float(found[0])), text)


def _path(d: str) -> str:
    """A path in steps of a hundredth, each from the point before it, which takes half of the letters."""
    x, y, start, parts = 0, 0, (0, 0), []
    for command, numbers in re.findall(r"([A-Za-z])([^A-Za-z]*)", d):
        points = [round(100 * float(number)) for number in numbers.split()]
        if command in "zZ":
            parts.append("z")
            x, y = start
            continue
        steps = [value - (x, y)[i % 2] for i, value in enumerate(points)]
        if command == "M":
            parts.append("M" + _join(points))
            start = tuple(points)
        elif command == "L" and 0 in steps:
            parts.append("h" + _join(steps[:1]) if steps[1] == 0 else "v" + _join(steps[1:]))
        else:
            parts.append(command.lower() + _join(steps))
        x, y = points[-2:]
    return re.sub(r"l([^a-zA-Z]+)((?:l[^a-zA-Z]+)+)", lambda found: "l" + found[1] + found[2].replace("l-", "-").replace("l", " "), "".join(parts))


def _join(hundredths: list[int]) -> str:
    return " ".join(_number(value / 100) for value in hundredths).replace(" -", "-")


def _style(text: str, ids: dict[str, str] | None = None) -> str:
    rules = [[side.strip() for side in rule.split(":", 1)] for rule in text.split(";") if rule.strip()]
    kept = (f"{name}:{_numbers(_linked(value, ids or {}))}" for name, value in rules)
    return ";".join(rule for rule in kept if rule not in ("stroke-dashoffset:0", "stroke-width:1", "text-anchor:start"))


def _copy_text(part: ET.Element, goal: ET.Element) -> None:
    """A line of text; a formula's letters are joined, so that they stand close together in every font."""
    look = {name: _numbers(value) for name, value in part.attrib.items() if name not in ("id", "style")}
    if re.fullmatch(r"rotate\(-?0 .*\)", look.get("transform", "")):
        del look["transform"]
    if part.get("style"):
        look["style"] = _words(part.get("style"))
    line = ET.SubElement(goal, "text", look)
    line.text = part.text if not len(part) else None
    if not len(part):
        if part.text and ("  " in part.text or part.text != part.text.strip()):
            line.set("xml:space", "preserve")
        return
    line.set("xml:space", "preserve")
    letters = [(float(x), float(y), letter, _words(span.get("style")))
               for span in part for letter, x, y in zip(span.text, _each(span.get("x")), _each(span.get("y"), len(span.text)))]
    height, style, span = None, None, None
    for x, y, letter, look in sorted(letters, key=lambda item: item[0]):
        if (y, look) != (height, style):
            place = {"x": f"{x:.2f}", "y": f"{y:.2f}"} if height is None else {"dy": f"{y - height:.2f}"} if y != height else {}
            span = ET.SubElement(line, "tspan", {**place, "style": look})
            span.text, height, style = "", y, look
        span.text += letter


def _each(numbers: str, n: int = 0) -> list[str]:
    found = numbers.split()
    return found * n if len(found) == 1 and n else found


def _words(style: str) -> str:
    """The look of words, which have the family of the whole figure or are written in letters of one width."""
    rules = dict(rule.split(":", 1) for rule in _style(style).split(";"))
    family = rules.pop("font-family", "")
    return ";".join([f"{name}:{value}" for name, value in rules.items()] + [f"font-family:{MONO}"] * ("Mono" in family))


# --- text becomes a part of a page ------------------------------------------------------------------------


def caption_of(text: str) -> str:
    return ET.fromstring(text).findtext(NS + "title", "")


def inline(text: str, prefix: str, alt: str) -> str:
    """An SVG of ours as a part of a page: `prefix` makes its ids its own, `alt` says what it shows."""
    root = ET.fromstring(text)
    for parent in list(root.iter()):
        for part in list(parent):
            if part.get("id") in (FINDING, PAPER) or part.tag == NS + "title":
                parent.remove(part)
    below = float(root.attrib.pop("data-below", 0))
    _, _, width, height = map(float, root.get("viewBox").split())
    root.set("viewBox", f"0 {below:g} {width:g} {height - below:g}")
    root.set("height", f"{(height - below) * float(root.get('width')) / width:.0f}")
    root.attrib.pop("font-family", None)
    root.attrib |= {"role": "img", "aria-label": alt}
    for part in root.iter():
        part.tag = part.tag.removeprefix(NS)
        if "id" in part.attrib:
            part.set("id", f"{prefix}-{part.get('id')}")
        for name in ("href", "clip-path"):
            if (value := part.get(name, "")).startswith(("#", "url(#")):
                part.set(name, value.replace("#", f"#{prefix}-"))
        if "style" in part.attrib:
            part.set("style", _themed(part.get("style"), prefix))
    root.set("xmlns", NS[1:-1])
    return ET.tostring(root, encoding="unicode")


def _themed(style: str, prefix: str) -> str:
    rules = []
    for rule in style.split(";"):
        name, value = rule.split(":", 1)
        if COLOR.fullmatch(value) and (color := variable(value)):
            if "color-mix" in color:
                rules.append(rule)  # for a browser that cannot mix
            rules.append(f"{name}:{color}")
        elif name == "font-family":
            rules.append("font-family:var(--pst-font-family-monospace,monospace)")
        else:
            rules.append(rule.replace("url(#", f"url(#{prefix}-"))
    return ";".join(rules)


@cache
def variable(color: str) -> str | None:
    """What a color becomes in a page: a variable or a mixture of two; None where it is not a color of the style."""
    if color in NAMES:
        return f"var({NAMES[color]},{color})"
    for some in (SHADES, NAMES):
        pairs = list(zip(some, list(some)[1:])) if some is SHADES else [
            (one, other) for one in some for other in (COLORS["PAPER"], COLORS["INK"]) if one != other]
        for one, other in pairs:
            share = _share(color, one, other)
            if share is not None:
                first, second = (f"var({some.get(c, NAMES.get(c))},{c})" for c in (one, other))
                percent = f"{100 * share:.3g}" if some is SHADES else f"{100 * share:.0f}"  # shades are many
                return f"color-mix(in srgb,{first} {percent}%,{second})"
    return None


def _share(color: str, one: str, other: str) -> float | None:
    """How much of `one` is in `color`, if the rest of it is `other`."""
    c, a, b = (255 * np.array(mpl.colors.to_rgb(each)) for each in (color, one, other))
    share = float(np.clip((c - b) @ (a - b) / ((a - b) @ (a - b)), 0, 1))
    return share if np.abs(share * a + (1 - share) * b - c).max() <= 1.0 else None
