"""Why do fork and threads not go together?

The warning on stderr: here from Python 3.12 on, in C++ always.
"""
import multiprocessing as mp
import threading

mutex = threading.Lock()


def worker(report):
    print("child: I take the mutex", flush=True)
    report.send("asking")
    with mutex:
        print("child: I have it", flush=True)


def attempt(method):
    print(f"{method}:", flush=True)
    ctx = mp.get_context(method)
    here, there = ctx.Pipe()
    child = ctx.Process(target=worker, args=(there,), daemon=True)
    child.start()
    here.recv()
    child.join(2)

    if child.is_alive():
        print("main: it waits, and nobody is there to let go", flush=True)
        child.kill()
        child.join()
    print(f"main: the child ended with {child.exitcode}", flush=True)


def hold(held, finished):
    with mutex:
        held.set()
        finished.wait()


if __name__ == "__main__":
    held = threading.Event()
    finished = threading.Event()
    holder = threading.Thread(target=hold, args=(held, finished))
    holder.start()
    held.wait()
    print("main: a thread has the mutex", flush=True)

    attempt("fork")
    attempt("spawn")

    finished.set()
    holder.join()
