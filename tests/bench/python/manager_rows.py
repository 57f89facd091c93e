import multiprocessing as mp
import time
from multiprocessing.connection import Client, Listener

from pairs import time_pair

CLIENTS = 8


def with_manager(make, call):
    """call(object, i), timed, on an object of a manager."""

    def run(count):
        with mp.Manager() as manager:
            thing = make(manager)
            call(thing, 0)
            start = time.perf_counter_ns()
            for i in range(count):
                call(thing, i)
            return (time.perf_counter_ns() - start) / count

    return run


def dict_set(thing, i):
    thing[i % 1000] = 1


def bulk(count):
    items = {i: 1 for i in range(count)}
    with mp.Manager() as manager:
        thing = manager.dict()
        start = time.perf_counter_ns()
        thing.update(items)
        return (time.perf_counter_ns() - start) / count


def _client(line, thing, each, latencies):
    thing[0]
    line.wait()
    taken = []
    for _ in range(each):
        start = time.perf_counter_ns()
        thing[0]
        taken.append(time.perf_counter_ns() - start)
    latencies.put(taken)


def clients8(count):
    each = count // CLIENTS + 1
    line = mp.Barrier(CLIENTS + 1)
    latencies = mp.Queue()
    with mp.Manager() as manager:
        thing = manager.dict({0: 0})
        processes = [mp.Process(target=_client, args=(line, thing, each, latencies),
                                daemon=True) for _ in range(CLIENTS)]
        for process in processes:
            process.start()
        line.wait()
        start = time.perf_counter_ns()
        taken = sorted(ns for _ in processes for ns in latencies.get())
        ns = (time.perf_counter_ns() - start) / (each * CLIENTS)
        for process in processes:
            process.join()
    return ns, taken[len(taken) * 99 // 100]


def remote(count):
    with Listener(("127.0.0.1", 0)) as listener:
        client = Client(listener.address)
        served = listener.accept()

    def theirs():
        for _ in range(count):
            served.send(served.recv())

    def ours():
        for i in range(count):
            client.send(i)
            client.recv()

    return time_pair(count, theirs, ours)


ROWS = {
    "manager.list_append": with_manager(lambda m: m.list(), lambda x, i: x.append(i)),
    "manager.dict_set": with_manager(lambda m: m.dict(), dict_set),
    "manager.dict_get": with_manager(lambda m: m.dict({0: 0}), lambda x, i: x[0]),
    "manager.bulk": bulk,
    "manager.clients8": clients8,
    "remote.roundtrip": remote,
}
