"""Writes the tables of the page on faults, from the list of ways."""
import tables


def python(way):
    shown = f"`{way.python}` ({{download}}`program <../tests/faults/python/{way.name}.py>`)"
    return f"{shown}; {way.note}" if way.note else shown


def count(ways):
    return [len(ways), sum(len(way.tests) for way in ways)]


def cells(way):
    return [f"`{way.name}`", python(way), way.libmp, "<br>".join(f"`{test}`" for test in way.tests)]


def make(env):
    ways = tables.load("tests/faults/ways.py")
    env.note_dependency(str(ways.HERE / "ways.txt"))
    sections = ways.read_all()
    yield from tables.summary(["ways, each with a program", "tests of libmp"], sections, count)
    yield from tables.table(["way", "Python", "libmp", "tests"], sections, cells)


def setup(app):
    return tables.setup_page(app, "faults", "tests/faults/ways.txt", make)
