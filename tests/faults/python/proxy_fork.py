"""A process with a proxy forks by itself. Do both get their own answers?"""
import multiprocessing as mp
import os
import signal


def is_answered(proxy, key):
    try:
        return all(proxy[key] == key for _ in range(10000))
    except Exception:
        return False


manager = mp.Manager()
proxy = manager.dict(parent="parent", child="child")
proxy["parent"]
pid = os.fork()
if pid == 0:
    signal.alarm(30)
    os._exit(0 if is_answered(proxy, "child") else 1)
signal.signal(signal.SIGALRM, lambda *_: 1 / 0)
signal.alarm(5)
fine = is_answered(proxy, "parent")
os.kill(pid, signal.SIGKILL)
print("after os.fork() the answers", "are each one's own" if fine else "are mixed up", flush=True)
os._exit(0)
