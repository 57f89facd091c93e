"""An element of a managed list is a list. What does an append to it do?"""
import multiprocessing as mp
import os

manager = mp.Manager()
rows = manager.list([[]])
rows[0].append(1)
print("after rows[0].append(1), rows[0] is", rows[0], flush=True)
os._exit(0)
