"""Is an item there when put() has returned?"""
import multiprocessing as mp
import queue

misses = 0
for _ in range(200):
    q = mp.Queue()
    q.put(1)
    try:
        q.get_nowait()
    except queue.Empty:
        misses += 1
        q.get()
print("get_nowait() straight after put():", "raises Empty" if misses else "returns the item")
