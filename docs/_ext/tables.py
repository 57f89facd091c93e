"""What the pages share whose tables are made from a list of the tests."""
import importlib.util
import pathlib

ROOT = pathlib.Path(__file__).parents[2]


def load(script):
    """A script of the tests, by its path in the project, as a module."""
    path = ROOT / script
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def summary(columns, sections, count):
    """A table of numbers: a row for each section, as `count` counts its rows, and their sum."""
    yield f"| | {' | '.join(columns)} |"
    yield "|---" + "|--:" * len(columns) + "|"
    numbers = [count(section.rows) for section in sections]
    for section, row in zip(sections, numbers):
        yield f"| {section.title} | " + " | ".join(map(str, row)) + " |"
    yield "| **all** | " + " | ".join(f"**{sum(column)}**" for column in zip(*numbers)) + " |"


def table(columns, sections, cells):
    """A table for each section, under its title: a line for each of its rows."""
    for section in sections:
        yield f"\n## {section.title}\n"
        yield f"| {' | '.join(columns)} |"
        yield "|---" * len(columns) + "|"
        for row in section.rows:
            yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells(row)) + " |"


def setup_page(app, page, name, make):
    """In `page` the line "% the tables are made from NAME" gives way to the lines that
    `make(app.env)` gives."""
    def fill(app, docname, source):
        if docname == page:
            here = f"% the tables are made from {name}"
            source[0] = source[0].replace(here, "\n".join(make(app.env)))

    app.connect("source-read", fill)
    return {"version": "1", "parallel_read_safe": True}
