"""How do several processes share a heap of work, and how do they stop?"""
import multiprocessing
import time


class Consumer(multiprocessing.Process):
    def __init__(self, task_queue, result_queue):
        super().__init__()
        self.task_queue = task_queue
        self.result_queue = result_queue

    def run(self):
        while True:
            next_task = self.task_queue.get()
            if next_task is None:
                # Poison pill means shutdown
                print(f"{self.name}: Exiting", flush=True)
                self.task_queue.task_done()
                break
            print(f"{self.name}: {next_task}", flush=True)
            answer = next_task()
            self.result_queue.put(answer)
            self.task_queue.task_done()


class Task:
    def __init__(self, a, b):
        self.a = a
        self.b = b

    def __call__(self):
        time.sleep(0.1)  # pretend to take time to do the work
        return f"{self} = {self.a * self.b}"

    def __str__(self):
        return f"{self.a} * {self.b}"


if __name__ == "__main__":
    tasks = multiprocessing.JoinableQueue()
    results = multiprocessing.Queue()

    num_consumers = multiprocessing.cpu_count() * 2
    print(f"Creating {num_consumers} consumers", flush=True)
    consumers = [Consumer(tasks, results) for _ in range(num_consumers)]
    for w in consumers:
        w.start()

    num_jobs = 10
    for i in range(num_jobs):
        tasks.put(Task(i, i))
    for _ in range(num_consumers):
        tasks.put(None)

    tasks.join()

    for _ in range(num_jobs):
        print("Result:", results.get(), flush=True)
