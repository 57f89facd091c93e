"""Can an object of my own class go to another process?"""
import multiprocessing


class MyFancyClass:
    def __init__(self, name):
        self.name = name

    def do_something(self):
        proc_name = multiprocessing.current_process().name
        print(f"Doing something fancy in {proc_name} for {self.name}!",
              flush=True)


def worker(q):
    obj = q.get()
    obj.do_something()


if __name__ == "__main__":
    queue = multiprocessing.Queue()

    p = multiprocessing.Process(target=worker, args=(queue,))
    p.start()

    queue.put(MyFancyClass("Fancy Dan"))

    # When put returns a thread may still be writing the object into a pipe:
    # nothing more comes, and it is waited for.
    queue.close()
    queue.join_thread()
    p.join()
