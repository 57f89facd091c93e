"""Does each room of libmp include only rooms below it?

    structure.py SOURCE

SOURCE is the project's root. The table says which files make a room, and in which order the rooms
stand, from the ground up; on one floor, too, a room uses only those that are named before it. A file
that is in no room, and a room that docs/structure.md does not show on its floor, are complaints; so is
a class that two files define under one name, of which the linker would take either for both.
"""
import fnmatch
import pathlib
import re
import sys

# Floor, room, the names of its files without folder and ending.
ROOMS = [
    (0, "os", "os timeout lockable print spin probe owned_lock private_fd symbols precompiled"),
    (0, "errors", "errors executor_errors"),
    (1, "pickle", "pickle pickle_impl flat"),
    (1, "callable", "callable partial"),
    (1, "heap", "heap"),
    (1, "ring", "ring ring_*"),
    (1, "remote_error", "remote_error"),
    (2, "connection", "connection channel listener address authentication handshake"),
    (2, "synchronize", "synchronize synchronize_state locks semaphore condition event barrier"),
    (3, "process", "process process_state family service_thread context logging child control exit_work forkserver launch "
                   "lifeline server popen_* cpu_count"),
    (4, "queues", "queues"),
    (4, "sharedctypes", "sharedctypes value_ref"),
    (4, "shared_memory", "shared_memory shareable_list segment_guardian"),
    (5, "workers", "progress task_progress future_state completion item_run jobs "
                   "make_jobs stream stream_rules window input input_lock results on_worker_death lane worker worker_* workers "
                   "workers_impl process_engine process_results process_engines process_burial "
                   "process_service interrupt thread_engine"),
    (5, "pool", "pool pool_options"),
    (5, "futures", "futures"),
    (5, "managers", "managers manager_* managed server_limits remote text base_proxy "
                    "managed_element indexed_proxy list_proxy dict_proxy set_proxy "
                    "namespace_proxy proxies sync_proxies pool_proxies result_proxies "
                    "remote_stream result_callbacks named_task shared_memory_manager"),
]
EVERYTHING = "mp"  # The header that is all of libmp.
FORWARD = re.compile(r"^namespace [\w:]+ \{\n(?:(?:class|struct|template|enum).*\n)+\}\n", re.MULTILINE)
NAMESPACE = re.compile(r"namespace(?: ([\w:]+))? \{")
DEFINITION = re.compile(
    r"(?:class|struct|union|enum class) (?:alignas\(\d+\) )?(\w+)(?: final)?(?: :| \{)")
INCLUDE = re.compile(r'^#include ["<]((?:mp/)?[\w/]+\.hpp)[">]', re.MULTILINE)


def room_of(stem):
    """Where a file's room stands in the table, or None."""
    for index, (_, _, files) in enumerate(ROOMS):
        if any(fnmatch.fnmatchcase(stem, name) for name in files.split()):
            return index
    return None


def sources(source):
    for folder in ("libmp/include/mp", "libmp/src"):
        for path in sorted((source / folder).rglob("*.?pp")):
            if path.stem != EVERYTHING:
                yield path


def include_complaints(source):
    for path in sources(source):
        name = path.relative_to(source)
        room = room_of(path.stem)
        if room is None:
            yield f"{name} is in no room: tests/support/structure.py has the table"
            continue
        for header in INCLUDE.findall(path.read_text()):
            used = room_of(pathlib.PurePath(header).stem)
            if pathlib.PurePath(header).stem == EVERYTHING:
                yield f"{name} includes all of libmp"
            elif used is not None and used > room:
                yield (f"{name}, of {ROOMS[room][1]} on floor {ROOMS[room][0]}, includes {header}, "
                       f"of {ROOMS[used][1]} on floor {ROOMS[used][0]}")


def definitions(text):
    """The classes that the whole program knows by these names."""
    namespaces = []
    for line in FORWARD.sub("", text).splitlines():
        if opened := NAMESPACE.fullmatch(line):
            namespaces.append(opened[1])
        elif line.startswith("}  // namespace"):
            namespaces.pop()
        elif None not in namespaces and (found := DEFINITION.match(line)):
            yield "::".join([*namespaces, found[1]])


def name_complaints(source):
    first = {}
    for path in sources(source):
        for name in definitions(path.read_text()):
            if name in first:
                yield f"{path.relative_to(source)} and {first[name]} both define {name}"
            first[name] = path.relative_to(source)


def lesson_complaints(source):
    for path in sorted((source / "lessons").rglob("*.cpp")):
        for header in INCLUDE.findall(path.read_text()):
            if header.startswith("mp/detail/"):
                yield f"{path.relative_to(source)} includes {header}, which is not for programs"


def page_complaints(source):
    page = (source / "docs/structure.md").read_text()
    rows = dict(re.findall(r"^\| (\d) \| (.*) \|$", page, re.MULTILINE))
    for floor, room, _ in ROOMS:
        if f"`{room}`" not in rows.get(str(floor), ""):
            yield f"docs/structure.md does not show {room} on floor {floor}"


def main():
    source = pathlib.Path(sys.argv[1])
    found = [*include_complaints(source), *name_complaints(source), *lesson_complaints(source),
             *page_complaints(source)]
    print("\n".join(found) if found else f"{len(list(sources(source)))} files, each in its room")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
