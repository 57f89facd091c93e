"""How does a consumer know that nothing more will come?"""
from multiprocessing import Process, Queue

SENTINEL = -1


def creator(data, q):
    print("Creating data and putting it on the queue", flush=True)
    for item in data:
        q.put(item)


def my_consumer(q):
    while True:
        data = q.get()
        print(f"data found to be processed: {data}", flush=True)
        processed = data * 2
        print(processed, flush=True)

        if data == SENTINEL:
            break


if __name__ == "__main__":
    q = Queue()
    data = [5, 10, 13, SENTINEL]
    process_one = Process(target=creator, args=(data, q))
    process_two = Process(target=my_consumer, args=(q,))
    process_one.start()
    process_two.start()

    q.close()
    q.join_thread()

    process_one.join()
    process_two.join()
