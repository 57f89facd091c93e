"""Which clock do the time-outs of locks run on?"""
import _multiprocessing
import pathlib
import sys

file = getattr(_multiprocessing, "__file__", sys.executable)
code = pathlib.Path(file).read_bytes()
print("acquire() calls", "sem_clockwait" if b"sem_clockwait\0" in code else
      "sem_timedwait, on the clock that can be set" if b"sem_timedwait\0" in code else "neither")
