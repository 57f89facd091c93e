"""Runs `compare` on one row, and looks at the form of what it writes."""
import json
import math
import pathlib
import subprocess
import sys
import tempfile

compare, row = sys.argv[1:]
with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "figures.json"
    arguments = ["--quick", "--rounds", "1", "--rows", f"^{row}$"]
    table = subprocess.run([compare, *arguments, "--json", path], check=True,
                           stdout=subprocess.PIPE, text=True).stdout
    figures = json.loads(path.read_text())

assert any(line.startswith(row) for line in table.splitlines()), table
assert [entry["row"] for entry in figures] == [row], figures
for contender in ("libmp", "floor", "cpython"):
    ns = figures[0]["ns"][contender]
    assert isinstance(ns, float) and math.isfinite(ns) and ns > 0, figures

unknown = subprocess.run([compare, "--rows", "no such row"],
                         stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
assert unknown.returncode == 2, unknown
