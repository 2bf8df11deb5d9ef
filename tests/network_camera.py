"""A camera in the network: motion JPEG over HTTP, on loopback, which can fall silent and be unplugged."""

import http.server
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType

from typing_extensions import Self

from tests.waiting import until


class _Server(http.server.ThreadingHTTPServer):
    """Serves the pictures of one camera; it can cut every connection."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int, camera: "NetworkCamera") -> None:
        super().__init__(("127.0.0.1", port), _Viewer)
        self.camera, self.over = camera, threading.Event()
        self.connections: list[socket.socket] = []

    def cut(self) -> None:
        """Close the port and every connection."""
        self.over.set()
        self.shutdown()
        self.server_close()
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Viewer(http.server.BaseHTTPRequestHandler):
    """One connection: the pictures by turns, from the first on."""

    server: _Server

    def do_GET(self) -> None:
        self.server.connections.append(self.connection)
        camera, over = self.server.camera, self.server.over
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=cut")
        self.end_headers()
        sent = 0
        with suppress(OSError):
            while until(lambda: not camera.silent.is_set() or over.is_set(), 300) and not over.is_set():
                jpeg = camera.jpegs[sent % len(camera.jpegs)]
                head = f"--cut\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
                self.wfile.write(head + jpeg + b"\r\n")
                sent += 1
                time.sleep(camera.pause_s)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


class NetworkCamera:
    """A camera that sends these pictures by turns to whoever connects, each from the first on.

    Args:
        jpegs: the pictures.
        pause_s: seconds between two.
    """

    def __init__(self, jpegs: Sequence[bytes], *, pause_s: float = 0.02) -> None:
        self.jpegs, self.pause_s = jpegs, pause_s
        self.silent = threading.Event()
        """While it is set, connections stay open and nothing is sent."""
        self._server: _Server | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """Where it is, also while it is unplugged."""
        return f"http://127.0.0.1:{self._port}/stream.mjpeg"

    def plug(self) -> None:
        """Serve, at the same port as before."""
        self._server = _Server(self._port, self)
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def unplug(self) -> None:
        """Cut every connection and refuse new ones."""
        if self._server:
            self._server.cut()
        self._server = None

    def __enter__(self) -> Self:
        self.plug()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unplug()
