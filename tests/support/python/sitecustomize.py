"""Run by every Python that has this folder on its PYTHONPATH, before anything else.

On a pipe Python either keeps lines until its end, so that processes seem to speak one after the
other, or, unbuffered, writes a line in pieces that others come between. On a terminal a line is one
write; so it is here.
"""
import sys

sys.stdout.reconfigure(line_buffering=True, write_through=False)
