"""A broker of MQTT 5 that takes its own word seriously, or does what no broker should; mosquitto does neither."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class StrictBroker:
    """Takes every message; answers each after a while, or never.

    Attributes:
        at_once: its Receive Maximum; who sends more is thrown out.
        answer_after_s: until it answers a message; None: never.
        topics: on which it got messages, in order.
        most: messages that it had not answered at one time.
        connects: how many connections there were.
        thrown_out: of these, how many it has ended.
    """

    at_once: int = 65535
    answer_after_s: float | None = 0.05
    topics: list[str] = field(default_factory=list)
    most: int = 0
    connects: int = 0
    thrown_out: int = 0

    def serve(self, server: socket.socket) -> None:
        """Take one connection after the other, until the socket is shut."""
        while True:
            try:
                caller, _ = server.accept()
            except OSError:
                return
            self.connects += 1
            with closing(caller), suppress(OSError):
                self._converse(caller)

    def _converse(self, caller: socket.socket) -> None:
        due: list[tuple[float, bytes]] = []
        heard = b""
        caller.settimeout(0.01)
        while True:
            now = time.monotonic()
            while due and self.answer_after_s is not None and due[0][0] + self.answer_after_s <= now:
                caller.sendall(b"\x40\x02" + due.pop(0)[1])
            try:
                more = caller.recv(65536)
            except TimeoutError:
                continue
            if not more:
                return
            heard += more
            while packet := _packet(heard):
                kind, body, heard = packet
                caller.sendall(self._answer(kind, body))
                if kind >> 4 == 3:
                    length = struct.unpack(">H", body[:2])[0]
                    self.topics.append(body[2 : 2 + length].decode())
                    due.append((now, body[2 + length : 4 + length]))
                    self.most = max(self.most, len(due))
                if len(due) > self.at_once:
                    self.thrown_out += 1
                    caller.sendall(b"\xe0\x02\x93\x00")
                    return

    def _answer(self, kind: int, body: bytes) -> bytes:
        if kind >> 4 == 1:
            return b"\x20\x06\x00\x00\x03\x21" + struct.pack(">H", self.at_once)
        if kind >> 4 == 8:
            filters = _filters(body)
            return b"\x90" + bytes([3 + filters]) + body[:2] + b"\x00" + b"\x01" * filters
        return b"\xd0\x00" if kind >> 4 == 12 else b""


def _packet(heard: bytes) -> tuple[int, bytes, bytes] | None:
    """Kind and body of the first whole packet, and what follows it."""
    length = shift = 0
    for at, byte in enumerate(heard[1:5], start=1):
        length += (byte & 127) << shift
        shift += 7
        if not byte & 128:
            end = at + 1 + length
            return (heard[0], heard[at + 1 : end], heard[end:]) if len(heard) >= end else None
    return None


def _filters(body: bytes) -> int:
    at, count = 3 + body[2], 0
    while at < len(body):
        at += 2 + struct.unpack(">H", body[at : at + 2])[0] + 1
        count += 1
    return count


@contextmanager
def strict_broker(*, at_once: int = 65535, answer_after_s: float | None = 0.05) -> Iterator[tuple[StrictBroker, int]]:
    """The broker, and its port."""
    broker = StrictBroker(at_once, answer_after_s)
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=broker.serve, args=(server,), daemon=True)
        thread.start()
        yield broker, int(server.getsockname()[1])
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)
