"""A cable between a client and a broker that can be pulled out."""

import socket
import threading

from typing_extensions import Self


class Cable:
    """A connection that can be pulled out: forwards a port of its own to another one."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._target: int | None = None
        self._ends: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self.pull_out()
        self._server.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        self._server.close()

    def plug_into(self, port: int) -> None:
        self._target = port

    def pull_out(self) -> None:
        """Cut every connection; what was on its way is lost."""
        self._target = None
        with self._lock:
            for end in self._ends:
                cut(end)
            self._ends.clear()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            with self._lock:
                target = self._target
                if target is None:
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", target))
                self._ends += [near, far]
                pairs = ((near, far), (far, near))
                pumps = [threading.Thread(target=pump, args=pair, daemon=True) for pair in pairs]
                self._threads += pumps
            for thread in pumps:
                thread.start()


def pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    finally:
        cut(sink)
        source.close()


def cut(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
