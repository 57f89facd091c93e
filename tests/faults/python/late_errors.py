"""An item cannot be pickled. Who is told?"""
import multiprocessing as mp
import queue

q = mp.Queue()
try:
    q.put(lambda: 0)
    print("put() returns;", end=" ")
    q.get(timeout=1)
except queue.Empty:
    print("the item never comes")
except Exception as error:
    print("put() raises", type(error).__name__)
