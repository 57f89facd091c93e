"""Writes the tables of the page on conformance, from the list of behaviours and the tests' names."""
import tables


def state(behaviour):
    if behaviour.tests:
        return "tested in " + ", ".join(f"`{path}`" for path in sorted(set(behaviour.tests)))
    return "does not apply" if behaviour.answer == "no" else "not tested"


def count(behaviours):
    tested = sum(bool(b.tests) for b in behaviours)
    void = sum(b.answer == "no" and not b.tests for b in behaviours)
    return [len(behaviours), tested, void, len(behaviours) - tested - void]


def cells(behaviour):
    remark = behaviour.remark.removeprefix("untested:").strip()
    if behaviour.not_of_manager:
        remark = f"{remark}; " if remark else ""
        remark += f"not of a manager's: {behaviour.not_of_manager}"
    return [f"`{behaviour.id}`", state(behaviour), remark]


def make(env):
    coverage = tables.load("tests/conformance/coverage.py")
    sections, _ = coverage.read_all()
    for path in [coverage.HERE / "ids.txt", *sorted(coverage.HERE.parent.rglob("*_test.cpp"))]:
        env.note_dependency(str(path))
    yield from tables.summary(["behaviours", "tested", "do not apply", "not tested"],
                              sections, count)
    yield from tables.table(["behaviour", "", "remark"], sections, cells)


def setup(app):
    return tables.setup_page(app, "conformance", "tests/conformance/ids.txt", make)
