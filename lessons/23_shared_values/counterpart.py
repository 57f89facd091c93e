"""Which values can processes share, and who guards them?

Differs from main.cpp where size_counter is changed: with a Lock of one's own
that is not recursive, `.value` would take it a second time and wait for ever.
get_obj() is the number without its guard.
"""
import ctypes
import os
import tempfile
from multiprocessing import Array, Lock, Process, Value

CODES = {
    "c": "char", "u": "wchar_t",
    "b": "signed char", "B": "unsigned char",
    "h": "short", "H": "unsigned short",
    "i": "int", "I": "unsigned int",
    "l": "long", "L": "unsigned long",
    "q": "long long", "Q": "unsigned long long",
    "f": "float", "d": "double",
}


def show_type(code, typecode_or_type, name):
    size = ctypes.sizeof(Value(typecode_or_type).get_obj())
    print(f"{code}  {name:<19}{size}", flush=True)


def work(counter, is_running, my_lock, size_counter, squares):
    counter.value += 1
    with my_lock:
        size_counter.get_obj().value += 1000
    for i in range(len(squares)):
        squares[i] = i * i
    is_running.value = False


def resize(folder, name, resized_size):
    out_filepath = os.path.join(folder, name)
    for length in range(1, 101):
        with open(out_filepath, "wb") as out:
            out.write(b"." * length)
        with resized_size.get_lock():
            before = resized_size.value
            os.sched_yield()
            resized_size.value = before + os.path.getsize(out_filepath)


if __name__ == "__main__":
    for code, name in CODES.items():
        show_type(code, code, name)
    show_type("-", ctypes.c_bool, "bool")

    counter = Value("i")
    is_running = Value(ctypes.c_bool, True, lock=False)
    my_lock = Lock()
    size_counter = Value("l", 0, lock=my_lock)
    squares = Array("i", 5)
    p = Process(target=work,
                args=(counter, is_running, my_lock, size_counter, squares))
    p.start()
    p.join()
    print(f"counter {counter.value}", flush=True)
    print(f"is_running {int(is_running.value)}", flush=True)
    print(f"size_counter {size_counter.value}", flush=True)
    print(f"squares {squares[:]}", flush=True)

    resized_size = Value("l", 0)
    with tempfile.TemporaryDirectory() as folder:
        processes = [
            Process(target=resize, args=(folder, name, resized_size))
            for name in ("one", "two", "three", "four")
        ]
        for p in processes:
            p.start()
        for p in processes:
            p.join()
    print(f"resized_size {resized_size.value}", flush=True)
