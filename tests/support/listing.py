"""What the lists of the tests share, conformance/ids.txt and faults/ways.txt: rows under headings.

A heading is a line that begins with `== `, a comment one that begins with `#`.
"""
import dataclasses
import pathlib
import re

TESTS = pathlib.Path(__file__).parents[1]
TEST = re.compile(r"\b(?:TYPED_)?TEST(?:_[FP])?\(\s*(\w+)\s*,\s*(\w+)\s*\)")


@dataclasses.dataclass
class Section:
    title: str
    rows: list = dataclasses.field(default_factory=list)


def read_sections(path, add):
    """The sections of a list. `add(rows, line)` is called for each line that is neither heading
    nor comment, and says whether it is one of the list's."""
    sections = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        if line.startswith("== "):
            sections.append(Section(line[3:]))
        elif not add(sections[-1].rows, line):
            raise ValueError(f"{path.name}, line {number}: neither heading nor row")
    return sections


def all_tests():
    """Suite, name and file of each test, as the sources have them."""
    for path in sorted(TESTS.rglob("*_test.cpp")):
        for suite, name in TEST.findall(path.read_text()):
            yield suite, name, path.relative_to(TESTS).as_posix()
