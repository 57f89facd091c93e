"""How do programs on different machines share a queue?"""
from multiprocessing import AuthenticationError, Pipe, Process, set_start_method
from multiprocessing.managers import BaseManager
from queue import Queue

KEY = b"abracadabra"


class QueueServer(BaseManager):
    pass


class QueueClient(BaseManager):
    pass


QueueClient.register("get_queue")


def serve(report):
    queue = Queue()
    QueueServer.register("get_queue", callable=lambda: queue)
    manager = QueueServer(address=("127.0.0.1", 0), authkey=KEY)
    server = manager.get_server()
    report.send(server.address)
    server.serve_forever()


def get_queue(address):
    manager = QueueClient(address=address, authkey=KEY)
    manager.connect()
    return manager.get_queue()


def producer(address):
    queue = get_queue(address)
    for word in ("hello", "over", "the", "network"):
        queue.put(word)


def consumer(address):
    queue = get_queue(address)
    for _ in range(4):
        print("consumer:", queue.get(), flush=True)


def stranger(address):
    manager = QueueClient(address=address, authkey=b"open sesame")
    try:
        manager.connect()
    except AuthenticationError as error:
        print("stranger:", error, flush=True)


if __name__ == "__main__":
    set_start_method("spawn")

    here, there = Pipe(False)
    server = Process(target=serve, args=(there,), name="server", daemon=True)
    server.start()
    address = here.recv()

    clients = [Process(target=target, args=(address,))
               for target in (stranger, consumer, producer)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    print("server alive:", server.is_alive(), flush=True)
