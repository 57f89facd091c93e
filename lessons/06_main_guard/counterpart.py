"""Why must the main part of a module be guarded?

An exception that leaves main() aborts a C++ program (-6) and ends a Python
program with 1; and Python shows it with the lines that led there.
"""
import multiprocessing
import subprocess
import sys

print("outer: this will print when run and when imported", flush=True)

unguarded = sys.argv[1:] == ["unguarded"]


def func():
    print("func: this will print only when run", flush=True)


if __name__ == "__main__" or unguarded:
    print("main: this will print only when run", flush=True)
    p = multiprocessing.get_context("spawn").Process(target=func)
    p.start()
    p.join()
    print(f"main: the child ended with {p.exitcode}", flush=True)

    if not unguarded:
        print("---- the same without the guard ----", flush=True)
        again = subprocess.run([sys.executable, __file__, "unguarded"],
                               timeout=10)
        print(f"ended by itself: {again.returncode == 0}".lower(), flush=True)
