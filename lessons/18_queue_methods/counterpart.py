"""What can I ask a queue, and why does a conversation need two?

CPython's put() returns before the item is in the queue's pipe, so empty() and
get_nowait() may lie for a moment. Hence the waiting after the first put, of
which main.cpp has no need.
"""
from multiprocessing import Process, Queue
from queue import Empty, Full


def yes(answer):
    return "yes" if answer else "no"


def show(queue):
    print(f"qsize {queue.qsize()}, empty {yes(queue.empty())}, "
          f"full {yes(queue.full())}", flush=True)


def make_tuple(questions, answers):
    questions.put(("Hi ", 3))
    print(f"make_tuple got {answers.get()!r}", flush=True)


def make_string(questions, answers):
    substr, num = questions.get()
    result = ""
    for _ in range(num):
        result += substr
    answers.put(result)


if __name__ == "__main__":
    queue = Queue(2)
    show(queue)
    queue.put("first")
    while queue.empty():
        pass
    queue.put("second")
    show(queue)
    try:
        queue.put("third", timeout=0.1)
    except Full:
        print("Full: no room within 0.1 s", flush=True)
    try:
        queue.put_nowait("third")
    except Full:
        print("Full: no room now", flush=True)

    print(queue.get(), flush=True)
    print(queue.get(timeout=0.1), flush=True)
    try:
        queue.get(timeout=0.1)
    except Empty:
        print("Empty: nothing came within 0.1 s", flush=True)
    try:
        queue.get_nowait()
    except Empty:
        print("Empty: nothing there now", flush=True)

    print("one queue:", flush=True)
    both = Queue()
    alone = Process(target=make_tuple, args=(both, both))
    alone.start()
    alone.join()
    print(f"left for make_string: {both.qsize()} messages", flush=True)

    print("two queues:", flush=True)
    questions, answers = Queue(), Queue()
    p1 = Process(target=make_tuple, args=(questions, answers))
    p2 = Process(target=make_string, args=(questions, answers))
    p1.start()
    p2.start()
    p1.join()
    p2.join()
