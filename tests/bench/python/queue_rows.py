import multiprocessing as mp
import time

from pairs import time_pair

KIB = 1024
MIB = 1024 * KIB


def queue_of(item):
    def run(count):
        queue = mp.Queue()

        def produce():
            for _ in range(count):
                queue.put(item)

        def consume():
            for _ in range(count):
                queue.get()

        return time_pair(count, produce, consume)

    return run


def two_of_each(count):
    queue = mp.Queue()
    line = mp.Barrier(4)
    each = (count + 1) // 2
    item = bytes(64)

    def produce():
        line.wait()
        for _ in range(each):
            queue.put(item)

    def consume():
        for _ in range(each):
            queue.get()

    def other_consumer():
        line.wait()
        consume()

    processes = [mp.Process(target=target, daemon=True)
                 for target in (other_consumer, produce, produce)]
    for process in processes:
        process.start()
    line.wait()
    start = time.perf_counter_ns()
    consume()
    processes[0].join()
    ns = (time.perf_counter_ns() - start) / (2 * each)
    for process in processes[1:]:
        process.join()
    return ns


def backlog(count):
    queue = mp.Queue()
    item = b"\1" * MIB
    start = time.perf_counter_ns()
    for _ in range(count):
        queue.put(item)
    for _ in range(count):
        queue.get()
    return (time.perf_counter_ns() - start) / count


def roundtrip(count):
    there = mp.Queue()
    back = mp.Queue()

    def theirs():
        for _ in range(count):
            back.put(there.get())

    def ours():
        for i in range(count):
            there.put(i)
            back.get()

    return time_pair(count, theirs, ours)


def pipe_roundtrip(count):
    here, there = mp.Pipe()

    def theirs():
        for _ in range(count):
            there.send(there.recv())

    def ours():
        for i in range(count):
            here.send(i)
            here.recv()

    return time_pair(count, theirs, ours)


def pipe_1mib(count):
    reader, writer = mp.Pipe(duplex=False)

    def theirs():
        message = bytes(MIB)
        for _ in range(count):
            writer.send_bytes(message)

    def ours():
        message = bytearray(MIB)
        for _ in range(count):
            reader.recv_bytes_into(message)

    return time_pair(count, theirs, ours)


ROWS = {
    "queue.int": queue_of(1),
    "queue.4KiB": queue_of(bytes(4 * KIB)),
    "queue.1MiB": queue_of(bytes(MIB)),
    "queue.2p2c": two_of_each,
    "queue.backlog": backlog,
    "queue.roundtrip": roundtrip,
    "pipe.roundtrip": pipe_roundtrip,
    "pipe.1MiB": pipe_1mib,
}
