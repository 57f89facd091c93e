"""A message is made by somebody with bad intentions. What can it do?"""
import multiprocessing as mp
import os
import pickle


class Hostile:
    def __reduce__(self):
        return os.putenv, ("HOSTILE", "1")


here, there = mp.Pipe()
there.send_bytes(pickle.dumps(Hostile()))
received = here.recv()
print(f"recv() of what a stranger wrote called os.putenv and returned {received}")
