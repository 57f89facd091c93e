#!/usr/bin/env python3
"""The ways in which CPython hangs, corrupts or loses data: does ways.txt tell the truth?

    ways.py list      each way has a program and a test that is there
    ways.py run       runs the programs in python/: does each print what the list says?

The book makes a page of the same list.
"""
import concurrent.futures
import contextlib
import dataclasses
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "support"))

import listing  # noqa: E402

PROGRAMS = HERE / "python"
FIELD = re.compile(r"(python|note|libmp|test): +(.+)")
SECONDS = 120
TRIES = 3


@dataclasses.dataclass
class Way:
    name: str
    python: str = ""  # The last line that its program prints.
    note: str = ""  # More about Python's.
    libmp: str = ""
    test: str = ""

    @property
    def tests(self):
        return self.test.split()


def add(rows, line):
    if name := re.fullmatch(r"\w+", line):
        rows.append(Way(line))
        return name
    if field := FIELD.fullmatch(line.strip()):
        setattr(rows[-1], field[1], field[2])
    return field


def read_all():
    return listing.read_sections(HERE / "ways.txt", add)


def complaints():
    tests = {f"{suite}.{name}" for suite, name, _ in listing.all_tests()}
    names = []
    for section in read_all():
        for way in section.rows:
            names.append(way.name)
            if not way.python or not (PROGRAMS / f"{way.name}.py").is_file():
                yield f"{way.name}: python/{way.name}.py and what it prints go together"
            if not way.libmp:
                yield f"{way.name}: what does libmp do?"
            if not way.tests:
                yield f"{way.name} has no test"
            for test in way.tests:
                if test not in tests:
                    yield f"{way.name}: there is no test {test}"
    for path in sorted(PROGRAMS.glob("*.py")):
        if path.stem not in names:
            yield f"python/{path.name} belongs to no way"
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{name} is in the list twice"


def members(session):
    """The processes of a session that have not ended, and whether each is a resource tracker."""
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes()
            if command and os.getsid(int(entry.name)) == session:
                yield int(entry.name), b"resource_tracker import main" in command
        except (FileNotFoundError, ProcessLookupError):
            pass


def end_session(session):
    """Kills all that a program has started, for the ways leave much behind. The trackers go by
    themselves once nobody else is there, and take away the names that are left."""
    end = time.monotonic() + 5
    while left := dict(members(session)):
        for pid, is_tracker in left.items():
            if not is_tracker or time.monotonic() > end:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def last_line(name):
    """What the program prints last."""
    with (tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err,
          tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder):
        program = subprocess.Popen([sys.executable, "-W", "ignore", PROGRAMS / f"{name}.py"],
                                   stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                   env={**os.environ, "TMPDIR": folder}, start_new_session=True)
        try:
            program.wait(SECONDS)
        except subprocess.TimeoutExpired:
            return f"(nothing within {SECONDS} s)"
        finally:
            program.kill()
            program.wait()
            end_session(program.pid)
        out.seek(0)
        err.seek(0)
        return (out.read() or "(nothing)\n" + err.read()).splitlines()[-1]


def is_shown(way, others=()):
    """A race need not show each time, so a program is run again; to show it once is proof."""
    lines = list(others)
    while way.python not in lines and len(lines) < TRIES:
        lines.append(last_line(way.name))
    print(f"{way.name}: " + "; before that: ".join(reversed(lines)), flush=True)
    return way.python in lines


def run(wanted):
    ways = [way for section in read_all() for way in section.rows
            if not wanted or way.name in wanted]
    # Most of them sleep most of the time. What a program does not show in company, it may alone.
    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        first = list(executor.map(last_line, [way.name for way in ways]))
    for way, line in zip(ways, first):
        if not is_shown(way, [line]):
            yield f"{way.name} does not print  {way.python}"


def main():
    found = list(complaints() if sys.argv[1] == "list" else run(sys.argv[2:]))
    print("\n".join(found) if found else "the list is right")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
