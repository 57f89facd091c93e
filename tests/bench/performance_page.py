"""Makes docs/performance.md: the text of performance.md.in, the figures of
docs/performance.json, which are those that `compare --json` wrote: under "rows" of
all the machine's cores, under "one_core" of one.

performance_page.py TEMPLATE FIGURES PAGE [--measure COMPARE | --check]

In the template {{setup}} stands for what the figures were taken on,
{{table PREFIX}} for the rows whose names begin so, {{one_core}} for those of one
core, {{missed}} for the list of reaches that were missed, and {{ROW}} for a row's
reaches in words. A row that the figures have and no table shows is an error.
"""
import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile

SHOWN_FIRST = ("libmp", "floor", "cpython")
# What waiting is on one core is of interest, and how much else costs.
ON_ONE_CORE = r"^(queue|pipe|lock)\.|^process\.fork$|\.wake$"


def duration(ns):
    for unit in ("ns", "µs", "ms"):
        if ns < 999.5:
            break
        ns /= 1000
    else:
        unit = "s"
    digits = 2 if ns < 9.995 else 1 if ns < 99.95 else 0
    return f"{ns:.{digits}f} {unit}"


def times(ratio):
    digits = 2 if ratio < 9.995 else 1 if ratio < 99.95 else 0
    return f"{ratio:.{digits}f}"


def cell(figures, name):
    if name not in figures:
        return ""
    text = duration(figures[name])
    if name == "libmp" or "libmp" not in figures:
        return text
    return f"{text} ({times(figures[name] / figures['libmp'])} ×)"


def line(label, figures, rivals, reach, worst=""):
    others = ", ".join(f"{name} {cell(figures, name)}" for name in rivals
                       if name in figures)
    own, *known = (cell(figures, name) for name in SHOWN_FIRST)
    return "| " + " | ".join([label, own + worst, *known, others, reach]) + " |"


def measured(reach):
    """With as many digits as it takes to see on which side of the reach it is."""
    ratio = reach["ratio"]
    sign, factor = re.search(r"([≤≥]) (\S+) ×", reach["reach"]).groups()
    text = times(ratio)
    for digits in range(1, 6):
        seen = float(text) <= float(factor) if sign == "≤" else float(text) >= float(factor)
        if seen == reach["reached"]:
            break
        text = f"{ratio:.{digits}f}"
    return text


def reaches(row):
    return "; ".join(
        f"{reach['reach']}: {measured(reach)}"
        + ("" if reach["reached"] else ", **missed**")
        for reach in row["reaches"] if reach["ratio"] is not None)


def worst(row):
    if "libmp" not in row.get("worst_ns", {}):
        return ""
    return f"<br>of {row['samples']}, at worst {duration(row['worst_ns']['libmp'])}"


def table(rows):
    if not rows:
        return "*Not among the rows of this run.*"
    lines = ["| row | libmp | floor | CPython | others | reach: measured |",
             "|---|---|---|---|---|---|"]
    for row in rows:
        rivals = [name for name in row["ns"] if name not in SHOWN_FIRST]
        label = f"`{row['row']}`<br>{row['operation']}"
        lines.append(line(label, row["ns"], rivals, reaches(row), worst(row)))
        if row["shows_cpu"]:
            lines.append(line("processors' time", row["cpu_ns"], rivals, ""))
        if row["p99_ns"]:
            lines.append(line("99 in 100 within", row["p99_ns"], rivals, ""))
    return "\n".join(lines)


def setup(figures):
    own = figures["rows"][0]["setup"]
    alike = own.keys() - {"cores", "wake_up", "effort"}
    if any(row["setup"] != own for row in figures["rows"]) or any(
            row["setup"][key] != own[key] for row in figures["one_core"] for key in alike):
        raise ValueError("the rows were taken on different machines")
    labels = {"processor": "Processor", "cores": "Cores", "kernel": "Kernel",
              "compiler": "Compiler and flags", "python": "CPython",
              "wake_up": "Wake-up", "effort": "Figures"}
    return "\n".join(f"- {label}: {own[key]}" for key, label in labels.items())


def missed(figures):
    lines = [f"- `{row['row']}`{where}: {reach['reach']}, measured {measured(reach)}"
             for run, where in (("rows", ""), ("one_core", ", on one core"))
             for row in figures[run] for reach in row["reaches"]
             if reach["ratio"] is not None and not reach["reached"]]
    return "\n".join(lines) or "None in this run."


def render(template, figures):
    rows = figures["rows"]
    by_name = {row["row"]: row for row in rows}
    shown = set()

    def replace(match):
        what = match[1]
        if what == "setup":
            return setup(figures)
        if what == "missed":
            return missed(figures)
        if what == "one_core":
            return table(figures["one_core"])
        if what.startswith("table "):
            prefix = what.removeprefix("table ")
            chosen = [row for row in rows if row["row"].startswith(prefix)]
            shown.update(row["row"] for row in chosen)
            return table(chosen)
        return reaches(by_name[what])

    page = re.sub(r"\{\{(.+?)\}\}", replace, template)
    if hidden := by_name.keys() - shown:
        raise ValueError(f"rows that no table shows: {sorted(hidden)}")
    return page


def measure(compare):
    """The figures of both runs."""
    runs = {"rows": [], "one_core": ["--one-core", "--rows", ON_ONE_CORE]}
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, options in runs.items():
            path = pathlib.Path(folder, name)
            subprocess.run([compare, *options, "--json", path], check=True)
            figures[name] = path.read_text()
    # Each row on lines of its own, as compare writes them.
    return "{" + ",\n".join(f'"{name}": {text}' for name, text in figures.items()) + "}\n"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("template", type=pathlib.Path)
    parser.add_argument("figures", type=pathlib.Path)
    parser.add_argument("page", type=pathlib.Path)
    parser.add_argument("--measure", metavar="COMPARE")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    if options.measure:
        options.figures.write_text(measure(options.measure))
    page = render(options.template.read_text(), json.loads(options.figures.read_text()))
    if not options.check:
        options.page.write_text(page)
    elif options.page.read_text() != page:
        sys.exit(f"{options.page.name} is not what its figures and text make: "
                 "ninja -C build performance_page")


if __name__ == "__main__":
    main()
