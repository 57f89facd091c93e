"""A child is forked while its parent's feeder thread writes. Can the child put?"""
import multiprocessing as mp
import os


def child(q):
    q.put(1)


q = mp.Queue()
q.put(b"x" * 1000000)
q._reader.poll(None)
p = mp.get_context("fork").Process(target=child, args=(q,))
p.start()
p.join(timeout=2)
print("a child that puts one number", "cannot end" if p.is_alive() else "ends", flush=True)
p.kill()
os._exit(0)
