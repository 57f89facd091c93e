"""A pool made by a function that runs at the program's end is left to the collector. Does the
program end?"""
import atexit
import subprocess
import sys

pool = None


def at_the_end():
    global pool
    import multiprocessing as mp
    pool = mp.Pool(1)
    pool.apply(abs, (-1,))


if sys.argv[1:]:
    atexit.register(at_the_end)  # Before multiprocessing has its own: so it runs after that.
else:
    try:
        subprocess.run([sys.executable, __file__, "here"], timeout=5)
        print("the program ends", flush=True)
    except subprocess.TimeoutExpired:
        print("5 s later the program is still there", flush=True)
