"""Is every lesson whole, and in the table, the book and the README?

    lessons_complete.py SOURCE TABLE

SOURCE is the project's root, TABLE the table of lessons as the build writes it.
"""
import pathlib
import re
import sys

PARTS = ["main.cpp", "expected.txt", "counterpart.py"]
OPTIONAL = ["check.cpp"]


def read_table(path):
    rows = (line.split(maxsplit=1) for line in path.read_text().splitlines())
    return {slug: title for slug, title in rows}


def complaints(source, table):
    lessons = {path.name for path in (source / "lessons").iterdir() if path.is_dir()}
    pages = {path.stem for path in (source / "docs/lessons").glob("*.md")}
    for slug in sorted(lessons - table.keys()):
        yield f"lessons/{slug} is not in the table in lessons/meson.build"
    for slug in sorted(pages - table.keys()):
        yield f"docs/lessons/{slug}.md belongs to no lesson of the table"
    for slug in sorted(table.keys() - pages):
        yield f"docs/lessons/{slug}.md is missing"
    for slug in table:
        if not re.fullmatch(r"\d\d_[a-z0-9_]+", slug):
            yield f"{slug} is not of the form NN_slug"
        for name in PARTS:
            if not (source / "lessons" / slug / name).is_file():
                yield f"lessons/{slug}/{name} is missing"
    for slug in sorted(lessons & table.keys()):
        folder = source / "lessons" / slug
        program = (folder / "main.cpp").read_text() if (folder / "main.cpp").is_file() else ""
        helpers = re.findall(r'^#include "(\w+\.hpp)"$', program, re.MULTILINE)
        for path in sorted(folder.iterdir()):
            if path.name not in PARTS + OPTIONAL + helpers:
                yield f"lessons/{slug}/{path.name} is no part of a lesson"
    if list(table) != sorted(table):
        yield "the table is not in the order of the numbers"
    numbers = [slug[:2] for slug in table]
    for number in sorted({number for number in numbers if numbers.count(number) > 1}):
        yield f"number {number} is given twice"
    yield from readme_complaints(source, table)


def readme_complaints(source, table):
    wanted = [f"| [{slug}](docs/lessons/{slug}.md) | {title} |" for slug, title in table.items()]
    there = [line for line in (source / "README.md").read_text().splitlines()
             if re.match(r"\| \[\d\d_", line)]
    for row in wanted:
        if row not in there:
            yield f"README.md lacks the row  {row}"
    for row in there:
        if row not in wanted:
            yield f"README.md has a row too many  {row}"


def main():
    source, table = map(pathlib.Path, sys.argv[1:])
    found = list(complaints(source, read_table(table)))
    print("\n".join(found) if found else "every lesson is whole")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
