"""Writes the tables of the page on faults, from the list of ways."""
import tables


def python(way):
    if way.unseen:
        return way.unseen
    return f"`{way.python}` ({{download}}`program <../tests/faults/python/{way.name}.py>`)"


def count(ways):
    return [len(ways), sum(bool(w.python) for w in ways), sum(bool(w.tests) for w in ways)]


def cells(way):
    return [f"`{way.name}`", python(way), way.libmp, "<br>".join(f"`{test}`" for test in way.tests)]


def make(env):
    ways = tables.load("tests/faults/ways.py")
    env.note_dependency(str(ways.HERE / "ways.txt"))
    sections = ways.read_all()
    yield from tables.summary(["ways", "shown by a program", "tested in libmp"], sections, count)
    yield from tables.table(["way", "Python", "libmp", "tests"], sections, cells)


def setup(app):
    return tables.setup_page(app, "faults", "tests/faults/ways.txt", make)
