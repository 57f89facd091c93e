#!/usr/bin/env python3
"""Which of the behaviours in ids.txt are tested?

Reads ids.txt beside this file and the names of the tests in `tests/`. As a program it complains
about a test that names an id that is not in the list, and about an id that lacks a test without
saying why. The book makes a page of the same data.
"""
import collections
import dataclasses
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "support"))

import listing  # noqa: E402

OF_MANAGER = ", and a manager's"
NOT_OF_MANAGER = "  not of a manager's: "
ROW = re.compile(r"([\w.]+)\s+(yes|adapted|no)\b\s*(.*)")


@dataclasses.dataclass
class Behaviour:
    id: str
    answer: str
    remark: str
    tests: list = dataclasses.field(default_factory=list)
    of_manager: bool = False
    tested_of_manager: bool = False
    not_of_manager: str = ""

    @property
    def excused(self):
        return self.answer == "no" or self.remark.startswith("untested:")


def add(rows, line):
    if line.startswith(NOT_OF_MANAGER):
        rows[-1].not_of_manager = line.removeprefix(NOT_OF_MANAGER).strip()
        return True
    if row := ROW.fullmatch(line):
        rows.append(Behaviour(*row.groups()))
    return row


def read_all():
    """The sections with their tests filled in, and what is wrong."""
    sections = listing.read_sections(HERE / "ids.txt", add)
    wrong = []
    behaviours = collections.OrderedDict()
    for section in sections:
        for behaviour in section.rows:
            name = behaviour.id.replace(".", "__")
            behaviour.of_manager = section.title.endswith(OF_MANAGER)
            if name in behaviours:
                wrong.append(f"{behaviour.id} is in the list twice")
            behaviours[name] = behaviour
            if behaviour.answer != "yes" and not behaviour.remark:
                wrong.append(f"{behaviour.id}: {behaviour.answer} needs a remark")
    for _, name, path in listing.all_tests():
        if "__" not in name:
            continue
        # More than one test of a behaviour: area__what__which.
        base = "__".join(name.split("__")[:2])
        behaviour = behaviours.get(name) or behaviours.get(base)
        if behaviour is None:
            wrong.append(f"{path}: {name} names a behaviour that is not in the list")
        else:
            behaviour.tests.append(path)
            behaviour.tested_of_manager |= "manager" in name.split("__")[2:]
    for section in sections:
        for behaviour in section.rows:
            if not behaviour.tests and not behaviour.excused:
                wrong.append(f"{behaviour.id} has no test, and no remark says why")
            if not behaviour.of_manager or behaviour.answer == "no":
                continue
            if behaviour.tested_of_manager == bool(behaviour.not_of_manager):
                wrong.append(f"{behaviour.id}: of a manager's, either a test or a reason why not")
    return sections, wrong


def main():
    sections, wrong = read_all()
    print("\n".join(wrong))
    tested = sum(bool(b.tests) for section in sections for b in section.rows)
    print(f"{tested} of {sum(len(section.rows) for section in sections)} are tested")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
