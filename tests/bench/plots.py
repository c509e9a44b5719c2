#!/usr/bin/env python3
"""Draws the plots of BENCHMARKS.md from curves.json, with the standard library alone.

    tests/bench/plots.py            writes tests/bench/plots/*.svg
    tests/bench/plots.py --check    exit code 1 where a file there is not what would be written

A series has measured points and the command that gave them, or bytes and bytes_per_token from which its
points are computed. curves.py measures.
"""

import argparse
import json
import math
import pathlib
import sys

FOLDER = pathlib.Path(__file__).resolve().parent
WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 84, 20, 44, 112
LINE = 18  # of the legend
COLOURS = ("#2f7ed8", "#d9822b", "#3a9d5d", "#a05bc4", "#c0504d")
# Both read well: on white, and on the dark pages of those who prefer them.
STYLE = """
  text { font: 13px sans-serif; fill: #333; }
  .title { font-size: 15px; font-weight: bold; }
  .axis { stroke: #888; }
  .grid { stroke: #8884; }
  @media (prefers-color-scheme: dark) { text { fill: #ddd; } }
"""


def log_ticks(first, last):
    """The powers of ten in [first, last]."""
    return [10.0 ** e for e in range(math.ceil(math.log10(first) - 1e-9),
                                     math.floor(math.log10(last) + 1e-9) + 1)]


class Axis:
    """Numbers to pixels. A tick is (number, text)."""

    def __init__(self, name, first, last, ticks, is_log):
        self.name, self.first, self.last, self.ticks, self.is_log = name, first, last, ticks, is_log

    def share(self, value):
        """0 at the first number, 1 at the last."""
        if self.is_log:
            return math.log(value / self.first) / math.log(self.last / self.first)
        return (value - self.first) / (self.last - self.first)


def count_text(value):
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return "%g%s" % (value / size, letter)
    return "%g" % value


def bytes_text(value):
    for exponent, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if value >= 2 ** exponent:
            return "%g %s" % (value / 2 ** exponent, unit)
    return "%g B" % value


def escaped(text):
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def draw(title, x, y, curves):
    """The SVG of curves [(name, points, is_computed)]; computed ones are dashed."""
    height = HEIGHT + LINE * len(curves)
    bottom = HEIGHT - BOTTOM + TOP
    right = WIDTH - RIGHT

    def at(point):
        return (LEFT + x.share(point[0]) * (right - LEFT), bottom - y.share(point[1]) * (bottom - TOP))

    out = ['<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d">' % (
        WIDTH, height, WIDTH, height), "<style>%s</style>" % STYLE,
        '<text class="title" x="%d" y="22">%s</text>' % (LEFT, escaped(title))]

    def line(kind, x1, y1, x2, y2):
        out.append('<line class="%s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>' % (kind, x1, y1, x2, y2))

    def text(content, tx, ty, anchor, more=""):
        out.append('<text x="%.1f" y="%.1f" text-anchor="%s"%s>%s</text>' % (
            tx, ty, anchor, more, escaped(content)))

    for value, label in x.ticks:
        px = at((value, y.first))[0]
        line("grid", px, TOP, px, bottom)
        text(label, px, bottom + 18, "middle")
    for value, label in y.ticks:
        py = at((x.first, value))[1]
        line("grid", LEFT, py, right, py)
        text(label, LEFT - 8, py + 4, "end")
    line("axis", LEFT, bottom, right, bottom)
    line("axis", LEFT, TOP, LEFT, bottom)
    text(x.name, (LEFT + right) / 2, bottom + 38, "middle")
    text(y.name, 18, (TOP + bottom) / 2, "middle",
         ' transform="rotate(-90 18 %.1f)"' % ((TOP + bottom) / 2))
    for i, (name, points, is_computed) in enumerate(curves):
        colour = COLOURS[i % len(COLOURS)]
        dashes = ' stroke-dasharray="6 4"' if is_computed else ""
        path = " ".join("%.1f,%.1f" % at(point) for point in points)
        out.append('<polyline points="%s" fill="none" stroke="%s" stroke-width="2.5"%s/>' % (
            path, colour, dashes))
        if not is_computed:
            out += ['<circle cx="%.1f" cy="%.1f" r="3.5" fill="%s"/>' % (*at(point), colour)
                    for point in points]
        ty = bottom + 64 + LINE * i
        out.append('<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="%s" stroke-width="2.5"%s/>' % (
            LEFT, ty - 4, LEFT + 32, ty - 4, colour, dashes))
        text(name, LEFT + 42, ty, "start")
    return "\n".join(out) + "\n</svg>\n"


def lengths(first, last, count=60):
    """Points of a computed curve, evenly spread on a logarithmic axis."""
    return [first * (last / first) ** (i / (count - 1)) for i in range(count)]


def bytes_at(series, tokens):
    return series["bytes"] + series["bytes_per_token"] * tokens


def legend(series):
    return "%s; %s" % (series["name"], series["machine"]) if "machine" in series else series["name"]


def context_plot(all_series):
    curves = []
    for series in all_series:
        if "points" in series:
            base = series["points"][0][1]
            points = [(max(n, 1), 100 * speed / base) for n, speed in series["points"]]
        else:
            points = [(n, 100 * series["bytes"] / bytes_at(series, n)) for n in lengths(1, 1e6)]
        curves.append((legend(series), points, "points" not in series))
    x = Axis("tokens read before", 1, 1e6, [(t, count_text(t)) for t in log_ticks(1, 1e6)], True)
    y = Axis("decode speed, % of the first", 0, 120, [(t, "%d" % t) for t in range(0, 121, 20)], False)
    return draw("Decode speed of one sequence against the length of its context", x, y, curves)


def batch_plot(all_series):
    curves = [(legend(series), series["points"], False) for series in all_series]
    most = max(speed for _, points, _ in curves for _, speed in points)
    least = min(speed for _, points, _ in curves for _, speed in points)
    first, last = 10 ** math.floor(math.log10(least)), 10 ** math.ceil(math.log10(most))
    largest = max(n for _, points, _ in curves for n, _ in points)
    x = Axis("sequences decoded together", 1, largest,
             [(2 ** e, "%d" % 2 ** e) for e in range(int(math.log2(largest)) + 1)], True)
    y = Axis("tokens per second", first, last, [(t, count_text(t)) for t in log_ticks(first, last)], True)
    return draw("Decode throughput against the number of sequences", x, y, curves)


def memory_plot(all_series):
    curves = []
    for series in all_series:
        is_computed = "computed" in series
        at = lengths(1, 1e6) if is_computed else log_ticks(1, 1e6)
        curves.append((legend(series), [(n, bytes_at(series, n)) for n in at], is_computed))
    x = Axis("tokens of the sequence", 1, 1e6, [(t, count_text(t)) for t in log_ticks(1, 1e6)], True)
    ticks = [2 ** e for e in range(14, 39, 4)]
    y = Axis("memory of one sequence", ticks[0], ticks[-1], [(t, bytes_text(t)) for t in ticks], True)
    return draw("Memory of one sequence against its length", x, y, curves)


PLOTS = {"context": ("decode_by_context.svg", context_plot),
         "batch": ("throughput_by_batch.svg", batch_plot),
         "memory": ("memory_by_length.svg", memory_plot)}


def draw_all():
    """{file in plots/: SVG}"""
    data = json.loads((FOLDER / "curves.json").read_text())["series"]
    return {file_name: make([series for series in data if series["plot"] == plot])
            for plot, (file_name, make) in PLOTS.items()}


def write(svgs):
    for file_name, svg in svgs.items():
        (FOLDER / "plots" / file_name).write_text(svg)


def stale(svgs):
    """The files that are not what they should be."""
    paths = {file_name: FOLDER / "plots" / file_name for file_name in svgs}
    return [file_name for file_name, path in paths.items()
            if not path.exists() or path.read_text() != svgs[file_name]]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    if not parser.parse_args().check:
        write(draw_all())
        return 0
    if files := stale(draw_all()):
        print("not as curves.json has it: %s; run tests/bench/plots.py" % " ".join(files))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
