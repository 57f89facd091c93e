"""How does a class put a pool to work for itself?"""
import http.client
import http.server
import multiprocessing as mp
import os
import tempfile


def text_of(n):
    return f"{n}\n" * (1000 * n)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path.startswith("/page"):
            body = text_of(int(self.path[len("/page"):])).encode()
            self.send_response(200)
        else:
            body = b""
            self.send_response(404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def serve(port):
    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    port.send(server.server_port)
    server.serve_forever()


class Spider:
    def __init__(self, port):
        """Create a pool with 8 workers."""
        self._port = port
        self._pool = mp.Pool(processes=8)

    def download(self, target, filename):
        """Add a task that downloads the page and saves it under the name."""
        self._pool.apply_async(self._do_download,
                               args=(self._port, target, filename),
                               error_callback=self._complain)

    def close(self):
        """Wait for all the tasks to be done."""
        self._pool.close()
        self._pool.join()

    # Static: a bound method would take the Spider along, and with it the
    # pool, which cannot be pickled.
    @staticmethod
    def _do_download(port, target, filename):
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("GET", target)
        page = connection.getresponse()
        body = page.read()
        connection.close()
        if page.status != 200:
            raise RuntimeError(f"{target}: {page.status}")
        with open(filename, "wb") as file:
            file.write(body)

    @staticmethod
    def _complain(error):
        print("not saved:", error, flush=True)


def main(folder):
    here, there = mp.Pipe()
    server = mp.Process(target=serve, args=(there,), daemon=True)
    server.start()

    spider = Spider(here.recv())
    for n in range(1, 13):
        spider.download(f"/page{n}", os.path.join(folder, str(n)))
    spider.download("/nowhere", os.path.join(folder, "nowhere"))
    spider.close()

    for n in range(1, 13):
        with open(os.path.join(folder, str(n))) as file:
            saved = file.read()
        print(f"page {n}: {len(saved)} characters,",
              "complete" if saved == text_of(n) else "broken", flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(folder)
