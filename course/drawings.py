"""The book's drawings, in one hand: `python -m course.drawings` writes `pages/drawings/*.svg`.

Each function draws one idea. Weights, probabilities, counts and merges in them are computed, not made up.
"""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from course.drawing import WIDTH, Drawing

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "pages/drawings"
MODEL = ROOT / "tinyllm/taleteller"


def softmax(scores: Sequence[float]) -> list[float]:
    powers = [math.exp(score - max(scores)) for score in scores]
    return [power / sum(powers) for power in powers]


def merges_of_a_word() -> Drawing:
    """␣then, from characters to a token, by Taleteller's own merges."""
    merges = [tuple(pair) for pair in json.loads((MODEL / "tokenizer.json").read_text(encoding="utf8"))["merges"]]
    spots = [(36 + 44 * i, letter) for i, letter in enumerate(" then")]
    draw = Drawing(222)
    y = 204.0
    row = [(x, y, letter) for x, letter in spots]
    for x, _, letter in row:
        _token(draw, x, y, letter)
    while len(row) > 1:
        ranks = {i: merges.index((a[2], b[2])) for i, (a, b) in enumerate(zip(row, row[1:])) if (a[2], b[2]) in merges}
        i = min(ranks, key=ranks.get)
        (x1, y1, left), (x2, y2, right) = row[i : i + 2]
        x, top = (x1 + x2) / 2, min(spot[1] for spot in row) - 46
        for x0, y0 in ((x1, y1), (x2, y2)):
            draw.line((x0, y0 - 11), (x, top + 11), color="tokens")
        _token(draw, x, top, left + right)
        draw.words(250, top, f"merge {ranks[i] + 1}", "quiet", at="start")
        row[i : i + 2] = [(x, top, left + right)]
    draw.words(250, y, "characters", "quiet", at="start")
    return draw


def _token(draw: Drawing, x: float, y: float, text: str) -> None:
    width = 14 + 7 * len(text)
    draw.label(x - width / 2, y - 11, width, 22, _shown(text), "tokens", mono=True)


def _shown(text: str) -> str:
    return text.replace(" ", "␣")


def one_text_many_questions() -> Drawing:
    """A text and the same text one token later: as many questions as tokens."""
    draw = Drawing(134)
    tokens, step = ["The", "␣cat", "␣sat", "␣on", "␣the"], 56
    draw.words(8, 26, "seen", "quiet", at="start")
    draw.words(8, 108, "asked for", "quiet", at="start")
    for i, token in enumerate(tokens):
        x = 70 + i * step
        if i < len(tokens) - 1:
            draw.label(x, 14, 48, 24, token, "tokens", mono=True)
            draw.arrow((x + 24, 40), (x + 24, 94), color="chance")
            for before in range(i):
                draw.curve((70 + before * step + 24, 40), (x + 24, 56), (x + 24, 80), "chance", 1, opacity=0.4)
            draw.label(x, 96, 48, 24, tokens[i + 1], "chance", mono=True, dashed=True)
    draw.words(294, 67, "4 tokens,", "quiet", at="start")
    draw.words(294, 81, "4 questions", "quiet", at="start")
    return draw


def words_on_a_plane() -> Drawing:
    """Three vectors: what an angle and what a distance compares."""
    draw = Drawing(190)
    origin, happy, very, sad = (60, 160), (160, 90), (262, 34), (220, 150)
    draw.line((20, 160), (340, 160), color="line")
    draw.line((60, 178), (60, 16), color="line")
    for name, tip, at, dx, dy in (("happy", happy, "end", -8, -8), ("very happy", very, "start", 8, -4), ("lemon", sad, "start", 8, 2)):
        draw.arrow(origin, tip, color="vectors", width=1.8)
        draw.words(tip[0] + dx, tip[1] + dy, name, at=at)
    draw.line(happy, very, color="smoother", dashed=True)
    draw.words(226, 74, "far apart, yet one", "smoother", at="start", size=10)
    draw.words(226, 87, "direction: cosine near 1", "smoother", at="start", size=10)
    draw.line(happy, sad, color="lookup", dashed=True)
    draw.words(204, 121, "nearer, another direction", "lookup", at="start", size=10)
    draw.dot(*origin, 2.5, "ink")
    return draw


def dict_and_soft_dict() -> Drawing:
    """A dict takes the value of the equal key; attention takes all, by weight."""
    draw = Drawing(232)
    keys, values = ["cherry", "lemon", "plum"], ["red", "yellow", "blue"]
    soft = softmax([0.6, 2.7, 0.9])
    for x, title, query in ((2, "a dict", "lemon"), (206, "attention", "lemons")):
        weights = soft if title == "attention" else [float(key == query) for key in keys]
        middle = x + 76
        draw.words(middle, 11, title, bold=True)
        draw.label(middle - 30, 26, 60, 22, query, "lookup", mono=True)
        for i, (key, value, weight) in enumerate(zip(keys, values, weights)):
            left = x + 51.5 * i
            if weight:
                draw.line((middle, 48), (left + 24.5, 92), color="lookup", width=0.6 + 5 * weight)
                cuts = (159, 173) if i == 1 else ()  # where the number stands
                ends = (138, *cuts, 194)
                for top, bottom in zip(ends[::2], ends[1::2]):
                    here, there = (left + 24.5 + (middle - left - 24.5) * (y - 138) / 56 for y in (top, bottom))
                    draw.line((here, top), (there, bottom), color="smoother", width=0.6 + 5 * weight)
            draw.label(left, 92, 49, 22, key, "lookup", mono=True, size=10, fill=0.08)
            draw.box(left, 116, 49, 22, value, fill=0.85, edge=False)
            shown = f"{weight:.2f}" if title == "attention" else f"{weight:.0f}"
            draw.words(left + (10 if i == 0 else 39 if i == 2 else 24.5), 156 if i != 1 else 166, shown, "quiet", size=10, halo=True)
        for value, weight in zip(values, weights):
            draw.box(middle - 30, 196, 60, 22, value, fill=0.85 * weight, edge=False)
        draw.box(middle - 30, 196, 60, 22, "line", fill=0)
    for y, text in ((37, "query"), (103, "keys"), (127, "values"), (162, "weights"), (207, "answer")):
        draw.words(180, y, text, "quiet", size=10)
    return draw


def query_key_value() -> Drawing:
    """One vector of the stream becomes three, by three matrices, for three uses."""
    draw = Drawing(214)
    draw.words(30, 90, "x", italic=True)
    draw.column(25, 102, (0.8, 0.2, 0.5, 0.9, 0.3, 0.6), "vectors", 11)
    parts = (
        ("q", "W", "Q", 26, "lookup", (0.9, 0.2, 0.6), "query: what this token looks for,", "held against every key so far"),
        ("k", "W", "K", 100, "lookup", (0.3, 0.8, 0.5), "key: what it is found by,", "now and by all later tokens"),
        ("v", "W", "V", 174, "smoother", (0.7, 0.4, 0.9), "value: what it hands over,", "averaged by the weights"),
    )
    for name, matrix, index, y, color, shades, first, second in parts:
        draw.curve((38, 135), (58, y + 8), (76, y + 8), color)
        draw.box(78, y - 14, 42, 44, color)
        draw.words(96, y + 8, matrix, italic=True)
        draw.words(105.2, y + 12, index, size=8.7)
        draw.arrow((121, y + 8), (142, y + 8), color=color)
        draw.column(146, y - 9, shades, color, 11)
        draw.words(167, y - 16 + 24, name, color, italic=True, bold=True)
        draw.words(182, y + 1, first, at="start", size=10)
        draw.words(182, y + 15, second, "quiet", at="start", size=10)
    return draw


def why_root_d() -> Drawing:
    """The same eight random scores in 4 and in 64 dimensions, and divided by the root of d."""
    z = (0.9, -0.4, 1.6, 0.2, -1.3, 0.5, -0.1, -0.8)
    draw = Drawing(236)
    draw.words(100, 10, "scores q · k", "quiet")
    draw.words(268, 10, "weights", "quiet")
    for i, (text, scale) in enumerate((("d = 4", 2.0), ("d = 64", 8.0), ("any d, by √d", 1.0))):
        y = 78 + 68 * i
        draw.words(6, y - 50, text, at="start", bold=True)
        draw.line((6, y), (196, y), color="line")
        points = [(101 + 5.6 * scale * t, y - 46 / scale**0.5 * math.exp(-t * t / 2)) for t in [k / 8 - 3 for k in range(49)]]
        draw.line(*[point for point in points if 6 <= point[0] <= 196], color="vectors", width=1.6)
        for score in z:
            draw.line((101 + 5.6 * scale * score, y), (101 + 5.6 * scale * score, y + 6), color="lookup", width=1.8)
        draw.words(196, y - 40, f"spread {scale:.0f}", "quiet", at="end", size=10)
        weights = softmax([scale * score for score in z])
        draw.line((220, y), (330, y), color="line")
        draw.bars(222, y, [46 * weight for weight in weights], "lookup", step=13.5, width=10)
    return draw


def kernel_over_points() -> Drawing:
    """A kernel around the query gives each point a weight; the answer is the weighted mean."""
    xs = (20, 58, 92, 118, 150, 178, 214, 250, 290, 332)
    ys = (62, 40, 58, 34, 46, 30, 64, 78, 70, 92)
    query, bandwidth = 162, 34
    kernel = [math.exp(-((x - query) ** 2) / (2 * bandwidth**2)) for x in xs]
    weights = [k / sum(kernel) for k in kernel]
    answer = sum(w * y for w, y in zip(weights, ys))
    draw = Drawing(232)
    draw.line((8, 114), (352, 114), color="line")
    draw.line((query, 18), (query, 206), color="lookup", dashed=True)
    draw.words(query, 9, "query", "lookup")
    for x, y, w, k in zip(xs, ys, weights, kernel):
        draw.line((x, 206), (x, 206 - 62 * k), color="smoother", width=2.4)
        draw.dot(x, y + 12, 3 + 9 * w, "smoother", fill=0.25 + 0.75 * k)
    points = [(x, 206 - 62 * math.exp(-((x - query) ** 2) / (2 * bandwidth**2))) for x in range(8, 353, 4)]
    draw.line(*points, color="smoother", width=1.2, opacity=0.7)
    draw.line((8, 206), (352, 206), color="line")
    draw.line((query - 9, answer + 12), (query + 9, answer + 12), color="ink", width=3)
    draw.words(query + 14, answer + 26, "the answer", at="start")
    draw.words(352, 26, "values", "quiet", at="end")
    draw.words(352, 132, "weights", "quiet", at="end")
    draw.words(8, 220, "keys", "quiet", at="start")
    draw.line((query, 198), (query + bandwidth, 198), color="ink", width=1)
    draw.words(query + bandwidth + 6, 221, "a bandwidth wide", size=10, at="middle")
    return draw


def heads_split_and_joined() -> Drawing:
    """A stream's vectors are cut among heads, each smooths by itself, the parts are joined and mixed."""
    draw = Drawing(212)
    for x, text in ((38, "cut"), (162, "each by itself"), (262, "joined"), (330, "mixed")):
        draw.words(x, 10, text, "quiet")
    rows = {"vectors": ((1,), (0.2, 0.8), (0.1, 0.1, 0.8)), "tokens": ((1,), (0.5, 0.5), (0.33, 0.33, 0.34))}
    for i in range(3):
        draw.row(10, 64 + 34 * i, (0.8, 0.3, 0.6, 0.5), "vectors", 8)
        draw.row(42, 64 + 34 * i, (0.4, 0.9, 0.2, 0.7), "tokens", 8)
        draw.row(230, 64 + 34 * i, (0.7, 0.4, 0.5, 0.8), "vectors", 8)
        draw.row(262, 64 + 34 * i, (0.5, 0.6, 0.4, 0.6), "tokens", 8)
    for color, y, name in (("vectors", 30, "head 1"), ("tokens", 122, "head 2")):
        draw.box(112, y, 100, 72, color, fill=0.06)
        draw.words(120, y + 12, name, color, at="start", size=10)
        for i, row in enumerate(rows[color]):
            for j in range(3):
                draw.box(138 + 15 * j, y + 22 + 15 * i, 14, 14, color, fill=row[j] if j <= i else 0, edge=j > i, radius=1, dashed=j > i)
        draw.arrow((78, 104 if name == "head 1" else 112), (110, y + 36), color=color)
        draw.arrow((213, y + 36), (228, 82 if name == "head 1" else 134), color=color)
    draw.box(308, 72, 40, 64, "quiet")
    draw.words(325, 104, "W", italic=True)
    draw.words(334.2, 108, "O", size=8.7)
    draw.arrow((295, 104), (307, 104))
    draw.words(328, 168, "added to", "quiet", size=10)
    draw.words(328, 181, "the stream", "quiet", size=10)
    draw.arrow((328, 137), (328, 159))
    return draw


def induction() -> Drawing:
    """Two layers find what came after the same token before."""
    draw = Drawing(214)
    tokens = ["Mr", "␣Oak", "␣saw", "Mr", "?"]
    xs = [38, 106, 174, 242, 316]
    for x, token in zip(xs, tokens):
        draw.label(x - 27, 176, 54, 24, token, "tokens" if token != "?" else "chance", mono=True, dashed=token == "?")
    said = "layer 1 writes what stood before", 146
    behind = [(), (116, 138, 84, 106), (said[1] - 10, said[1] + 10), (said[1] - 10, said[1] + 10)]
    for x, cuts in zip(xs, behind):  # streams end at the boxes and words that they pass: a page's paper hides nothing
        ends = sorted((30, *cuts, 176))
        for top, bottom in zip(ends[::2], ends[1::2]):
            draw.line((x, bottom), (x, top), color="line", width=2)
    for y, text, color in ((84, "value: Oak", "smoother"), (116, "key: after Mr", "lookup")):
        draw.label(xs[1] - 42, y, 84, 22, text, color, size=10)
    draw.bow((xs[0], 158), (xs[0] + 2, 128), (xs[1] - 43, 127), "lookup", 2)
    draw.words(116, said[1], said[0], "quiet", at="start", size=10)
    draw.bow((xs[1] + 43, 92), ((xs[1] + xs[3]) / 2 + 20, 52), (xs[3], 66), "smoother", 2)
    draw.words(174, 14, "layer 2 asks who stood after a Mr", "quiet", size=10)
    draw.bow((xs[3], 66), (xs[4], 76), (xs[4], 172), "chance", 2)
    draw.words(xs[4] - 2, 62, "␣Oak", "chance", mono=True)
    return draw


def residual_stream() -> Drawing:
    """Two tokens' streams: attention reads across, the MLP reads its own, both add."""
    draw = Drawing(196)
    for y, token in ((58, "␣cat"), (138, "␣sat")):
        draw.label(6, y - 12, 44, 24, token, "tokens", mono=True)
        draw.arrow((52, y), (350, y), color="vectors", width=3)
        for x, name, color in ((112, "attention", "lookup"), (232, "MLP", "vectors")):
            draw.line((x - 20, y), (x - 20, y - 26), color=color)
            draw.label(x - 32, y - 46, 64, 20, name, color, size=10)
            draw.arrow((x + 20, y - 26), (x + 20, y - 8), color=color)
            draw.dot(x + 20, y, 7, "paper")
            draw.dot(x + 20, y, 7, color, fill=0.15, edge=True)
            draw.words(x + 20, y - 0.5, "+")
    draw.bow((74, 58), (70, 92), (92, 110), "lookup")
    draw.words(62, 170, "reads this token and", "quiet", at="start", size=10)
    draw.words(62, 183, "the ones before it", "quiet", at="start", size=10)
    draw.words(190, 170, "reads this token alone", "quiet", at="start", size=10)
    draw.words(350, 122, "to the logits", "quiet", at="end", size=10)
    return draw


def parameter_bill() -> Drawing:
    """Taleteller's weights as areas."""
    config = json.loads((MODEL / "model.json").read_text(encoding="utf8"))["config"]
    C, n = config["d_model"], config["n_layer"]
    parts = [
        ("token vectors", config["vocab_size"] * C, "tokens"),
        ("position vectors", config["block_size"] * C, "vectors"),
        ("attention", n * 4 * C * C, "lookup"),
        ("MLPs", n * 8 * C * C, "vectors"),
        ("un- embedding", config["vocab_size"] * C, "chance"),
    ]
    total = sum(size for _, size, _ in parts)
    draw = Drawing(196)
    left, top, width, height = 6.0, 8.0, 348.0, 168.0
    for group in (parts[:2], parts[2:4], parts[4:]):
        share = sum(size for _, size, _ in group) / total
        y, narrow = top, share * width < 60
        for name, size, color in group:
            tall = height * size / (share * total)
            draw.box(left + 1.5, y + 1.5, share * width - 3, tall - 3, color, fill=0.2, edge=True)
            middle = left + share * width / 2
            lines = [*name.split(), f"{size / 1000:,.0f} k"] if tall > 36 else [f"{name.split()[0]}s", f"{size / 1000:,.0f} k"]
            gap, type_size = (15, 10) if tall > 36 else (10, 8.7)
            for i, text in enumerate(lines):
                last = i == len(lines) - 1
                draw.words(middle, y + tall / 2 + gap * (i - (len(lines) - 1) / 2), text, "quiet" if last else "ink", size=8.7 if narrow else type_size, bold=not last and not narrow)
            y += tall
        left += share * width
    draw.words(WIDTH / 2, 188, f"{total / 1e6:.2f} million weights; norms and biases are too few to see", "quiet", size=10)
    return draw


def training_loop() -> Drawing:
    """The five parts of a step, and what happens beside them."""
    draw = Drawing(220)
    steps = [("draw a batch", 72, 34, "tokens"), ("forward: logits", 180, 34, "vectors"), ("loss", 288, 34, "chance"),
             ("backward: slopes", 288, 112, "chance"), ("step: weights", 180, 112, "vectors")]
    for name, x, y, color in steps:
        draw.label(x - 49, y - 15, 98, 30, name, color, size=10.5)
    draw.arrow((121, 34), (130, 34), color="ink")
    draw.arrow((229, 34), (238, 34), color="ink")
    draw.arrow((288, 49), (288, 96), color="ink")
    draw.arrow((239, 112), (230, 112), color="ink")
    draw.arrow((131, 112), (72, 112), (72, 50), color="ink")
    draw.words(76, 126, "again, thousands", "quiet", size=10)
    draw.words(76, 139, "of times", "quiet", size=10)
    draw.line((180, 127), (180, 172), color="quiet", dashed=True)
    draw.words(188, 150, "every so often", "quiet", at="start", size=10)
    draw.label(96, 172, 78, 26, "evaluate", "quiet", size=10.5)
    draw.label(186, 172, 78, 26, "checkpoint", "quiet", size=10.5)
    draw.words(135, 209, "on held-out text", "quiet", size=9.5)
    draw.words(225, 209, "to go on from", "quiet", size=9.5)
    return draw


def cutting_a_distribution() -> Drawing:
    """What top-k, top-p and min-p leave of one distribution."""
    p = softmax([3.0, 2.5, 2.1, 1.2, 0.9, 0.2, -0.1, -0.5, -0.8, -1.2, -1.5, -1.9])
    draw = Drawing(218)
    kept = {"top-k, k = 4": [i < 4 for i in range(12)],
            "top-p, p = 0.9": [sum(p[:i]) < 0.9 for i in range(12)],
            "min-p, 0.1 of the largest": [x >= 0.1 * p[0] for x in p]}
    for row, (name, keep) in enumerate(kept.items()):
        y = 62 + 70 * row
        draw.line((8, y), (192, y), color="line")
        draw.bars(10, y, [118 * x for x in p], "chance", step=15, width=11, fills=[0.85 if k else 0.18 for k in keep])
        end = 10 + 15 * sum(keep) - 2
        if name.startswith("min"):
            draw.line((8, y - 11.8 * p[0]), (192, y - 11.8 * p[0]), color="ink", dashed=True)
        else:
            draw.line((end, y + 4), (end, y - 44), color="ink", dashed=True)
        draw.words(200, y - 30, name, at="start", bold=True)
        left = sum(x for x, k in zip(p, keep) if k)
        draw.words(200, y - 15, f"{sum(keep)} tokens are left,", "quiet", at="start", size=10)
        draw.words(200, y - 2, f"with {left:.2f} of the probability", "quiet", at="start", size=10)
    return draw


def cache_growing() -> Drawing:
    """Three steps of decoding: one new query each, and keys and values that stay."""
    draw = Drawing(212)
    tokens = ["Once", "␣there", "␣was", "␣a"]
    for x, text in ((52, "the new token"), (208, "keys and values kept")):
        draw.words(x, 10, text, "quiet")
    for row in range(3):
        y, n = 48 + 60 * row, row + 2
        draw.label(16, y - 12, 56, 24, tokens[n - 1], "tokens", mono=True, size=10.5)
        draw.words(84, y, "q", "lookup", italic=True, bold=True)
        for j in range(n):
            x, new = 130 + 52 * j, j == n - 1
            draw.curve((90, y - 6), (112, y - 24), (x + 4, y - 15), "lookup", 1, opacity=0.7)
            for dx, name, color in ((0, "k", "lookup"), (21, "v", "smoother")):
                draw.box(x + dx, y - 14, 19, 28, color, fill=0.75 if new else 0.16)
                draw.words(x + dx + 9.5, y, name, "on" if new else color, italic=True, size=10.5)
        if row == 2:
            draw.words(342, y - 1, "new", "quiet", size=10)
    draw.words(WIDTH / 2, 203, "filled: computed in this step; pale: kept from the steps before", "quiet", size=10)
    return draw


def memory_of_fixed_size() -> Drawing:
    """A cache of keys and values that grows, and below it a table to which each token adds an outer product."""
    draw = Drawing(300)
    tokens, xs = ["Ana", "has", "a", "red", "kite"], [74 + 52 * j for j in range(5)]
    shades_k = [(0.8, 0.2, 0.5), (0.3, 0.7, 0.2), (0.5, 0.4, 0.8), (0.2, 0.8, 0.6), (0.7, 0.5, 0.3)]
    shades_v = [(0.3, 0.8, 0.2, 0.6), (0.7, 0.2, 0.5, 0.3), (0.2, 0.4, 0.8, 0.7), (0.6, 0.7, 0.3, 0.2), (0.5, 0.3, 0.6, 0.8)]
    draw.words(8, 12, "cache: a key and a value for each token, grows", at="start", bold=True)
    draw.words(16, 66, "q", "lookup", italic=True, bold=True)
    for x, token, key, value in zip(xs, tokens, shades_k, shades_v):
        draw.words(x + 12, 34, token, "tokens", mono=True, size=10.5)
        draw.curve((24, 62), (x - 20, 36), (x + 4, 50), "lookup", 1, opacity=0.6)
        draw.column(x, 52, key, "lookup", 10)
        draw.column(x + 14, 52, value, "smoother", 10)
    draw.words(344, 72, "…", "quiet", size=14)
    draw.line((8, 112), (352, 112), color="line", width=1)
    draw.words(8, 128, "state: one table M, of the same size for any text", at="start", bold=True)
    for x, token, key, value in zip(xs, tokens, shades_k, shades_v):
        draw.words(x + 14, 150, token, "tokens", mono=True, size=10.5)
        for i, a in enumerate(key):
            draw.row(x - 4, 160 + 9 * i, [a * b for b in value], "vectors")
        draw.arrow((x + 14, 190), (168 + 0.18 * (x - 164), 216), color="vectors", width=1.1)
    draw.words(8, 172, "k vᵀ", "quiet", at="start", italic=True)
    draw.words(8, 202, "added", "quiet", at="start", size=10)
    table = [[sum(key[i] * value[j] for key, value in zip(shades_k, shades_v)) / 1.8 for j in range(4)] for i in range(3)]
    for i, row in enumerate(table):
        draw.row(148, 219 + 16 * i, row, "vectors", 16)
    draw.words(136, 243, "M", italic=True, bold=True, at="end")
    query = (0.8, 0.2, 0.5)
    draw.words(28, 243, "q", "lookup", italic=True, bold=True)
    draw.column(42, 219, query, "lookup", 16)
    draw.arrow((66, 243), (118, 243), color="lookup")
    draw.words(92, 233, "reads", "lookup", size=10)
    draw.arrow((218, 243), (256, 243), color="smoother")
    answer = [sum(q * row[j] for q, row in zip(query, table)) / 1.5 for j in range(4)]
    draw.row(262, 235, answer, "smoother", 16)
    draw.words(294, 263, "Mᵀq", "smoother", italic=True)
    draw.words(WIDTH / 2, 289, "darker is larger; the answer mixes the rows of M by q", "quiet", size=10)
    return draw


def rotation_by_position() -> Drawing:
    """A query and a key turned by their positions: the angle between them is that of the offset."""
    draw = Drawing(206)
    base_q, base_k, turn = -0.35, -0.9, 0.42  # radians; each position turns by so much
    for cx, m, n in ((92, 3, 1), (268, 7, 5)):
        cy, r = 102, 68
        draw.dot(cx, cy, r, "line", fill=0, edge=True)
        for base, position, color, name in ((base_q, m, "lookup", "q"), (base_k, n, "vectors", "k")):
            angle = base + turn * position
            start, tip = (cx + 0.99 * r * math.cos(base), cy + 0.99 * r * math.sin(base)), (cx + r * math.cos(angle), cy + r * math.sin(angle))
            draw.line((cx, cy), start, color=color, width=1, dashed=True, opacity=0.5)
            draw.arrow((cx, cy), tip, color=color, width=2.2)
            draw.words(cx + (r + 13) * math.cos(angle), cy + (r + 11) * math.sin(angle), name, color, italic=True, bold=True)
        middle = (base_q + turn * m + base_k + turn * n) / 2
        half = (base_q + turn * m - base_k - turn * n) / 2
        arc = [(cx + 26 * math.cos(middle + t * half / 6), cy + 26 * math.sin(middle + t * half / 6)) for t in range(-6, 7)]
        draw.line(*arc, color="ink", width=1.6)
        draw.words(cx, 9, f"positions {m} and {n}")
    draw.words(WIDTH / 2, 196, "the same offset, the same angle, the same score", "quiet")
    return draw


DRAWINGS: dict[str, Callable[[], Drawing]] = {
    function.__name__: function
    for function in (
        merges_of_a_word, one_text_many_questions, words_on_a_plane, dict_and_soft_dict, query_key_value,
        why_root_d, kernel_over_points, heads_split_and_joined, induction, residual_stream, parameter_bill, training_loop,
        cutting_a_distribution, cache_growing, rotation_by_position, memory_of_fixed_size,
    )
}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, draw in DRAWINGS.items():
        (FOLDER / f"{name}.svg").write_text(draw().svg(), encoding="utf8")


if __name__ == "__main__":
    main()
