"""A proxy is sent, and its sender forgets it. What does the receiver get?"""
import multiprocessing as mp
import os

manager = mp.Manager()
here, there = mp.Pipe()
there.send(manager.list([1]))
try:
    print("the receiver has", here.recv()[0], flush=True)
except mp.managers.RemoteError:
    print("the object is gone: RemoteError", flush=True)
os._exit(0)
