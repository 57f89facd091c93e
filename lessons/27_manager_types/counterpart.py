"""What else can live in a manager?

Where C++ differs: a Value's text shows a typecode here, and an Array's its own
notation, so both are printed by value.
"""
from multiprocessing import Manager, Process
from multiprocessing.managers import BaseManager


def change(value, array, lst, dct, space, queue):
    value.value += 1
    array[0] = 2.5
    lst.append("child")
    dct["child"] = 2
    space.name = "child"
    queue.put("from the child")


def synchronize(lines, lock, rlock, semaphore, event, condition, barrier):
    event.wait()
    with lock, rlock:
        semaphore.acquire()
        with condition:
            lines.append("the child is ready")
            condition.notify()
        barrier.wait()
        semaphore.release()


class Counter:
    def __init__(self):
        self.total = 0

    def add(self, n):
        self.total += n
        return self.total


class CounterManager(BaseManager):
    pass


CounterManager.register("Counter", Counter)


def add_forty(counter):
    counter.add(40)


if __name__ == "__main__":
    mgr = Manager()
    value = mgr.Value("i", 1)
    array = mgr.Array("d", [0.5, 1.5])
    lst = mgr.list(["parent"])
    dct = mgr.dict(parent=1)
    space = mgr.Namespace(x=10)
    queue = mgr.Queue()
    p = Process(target=change, args=(value, array, lst, dct, space, queue))
    p.start()
    p.join()
    print(f"Value({value.value})")
    print(array[:].tolist())
    print(lst)
    print(dct)
    print(space)
    print(queue.get(), flush=True)

    event, condition, barrier = mgr.Event(), mgr.Condition(), mgr.Barrier(2)
    # Kept in names: nothing here keeps an object for a child on its way.
    lock, rlock, semaphore = mgr.Lock(), mgr.RLock(), mgr.BoundedSemaphore(1)
    other = Process(target=synchronize, args=(
        lst, lock, rlock, semaphore, event, condition, barrier))
    other.start()
    with condition:
        event.set()
        condition.wait()
        print(lst[-1], flush=True)
    barrier.wait()
    other.join()
    print("all passed:", other.exitcode == 0, flush=True)

    with CounterManager() as own:
        counter = own.Counter()
        adder = Process(target=add_forty, args=(counter,))
        adder.start()
        adder.join()
        print("Counter:", counter.add(2))
