"""A disk that can lose power: a file system in memory which forgets, tears and reorders what was not synced.

Run as a program by `test_power.py`: it speaks the kernel's FUSE protocol on /dev/fuse (include/uapi/linux/fuse.h), so
it needs root and no library. It holds one folder without subfolders, and starts from the files of IMAGE. On the line
`stall` on its standard input it stands still at the next sync, which nothing can interrupt, until the line `flow`.

On any other line it cuts the power: from then on every request fails with EIO, and what has survived is written back
to IMAGE. What survives, by the weakest promise of POSIX:

- of a file, what was written before its last fsync; of what came after, each write is lost (one in two), torn at a
  sector (one in ten) or kept, and those kept arrive in any order;
- of the folder, what was done before its last fsync, and of what came after, the beginning.
"""

import ctypes
import errno
import os
import random
import stat
import struct
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

_ROOT, _SECTOR = 1, 512
_HEADER = struct.Struct("<IIQQIIIHH")
_BUFFER = 2**20
_SIZE_CHANGES = 1 << 3
_SILENT = {2, 36, 42}  # FORGET, INTERRUPT, BATCH_FORGET want no answer


@dataclass
class File:
    """A file as programs see it, what of it is on the platter, and what lies between."""

    number: int
    data: bytearray = field(default_factory=bytearray)
    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    """(offset, bytes), or (size, None) for a truncation."""

    def write(self, offset: int, part: bytes) -> None:
        _apply(self.data, offset, part)
        self.pending.append((offset, part))

    def truncate(self, size: int) -> None:
        _apply(self.data, size, None)
        self.pending.append((size, None))

    def sync(self) -> None:
        self.durable = bytearray(self.data)
        self.pending.clear()

    def after_power_cut(self, chance: random.Random) -> bytes:
        kept: list[tuple[int, bytes | None]] = []
        for offset, part in self.pending:
            fate = chance.random()
            if fate < 0.5:
                continue
            if part is not None and fate < 0.6 and len(part) > _SECTOR:
                kept.append((offset, part[: _SECTOR * chance.randrange(1, len(part) // _SECTOR + 1)]))
            else:
                kept.append((offset, part))
        chance.shuffle(kept)
        survived = bytearray(self.durable)
        for offset, part in kept:
            _apply(survived, offset, part)
        return bytes(survived)


def _apply(data: bytearray, offset: int, part: bytes | None) -> None:
    if len(data) < offset:
        data.extend(bytes(offset - len(data)))
    if part is None:
        del data[offset:]
    else:
        data[offset : offset + len(part)] = part


class Disk:
    """The folder; each method answers one kind of request."""

    def __init__(self, image: Path, seed: int) -> None:
        self._image, self._chance = image, random.Random(seed)  # noqa: S311 - a test
        self._files: dict[int, File] = {}
        self._names: dict[str, int] = {}
        self._durable_names: dict[str, int] = {}
        self._pending: list[dict[str, int]] = []
        self._lock = threading.Lock()
        self.flows = threading.Event()
        self.flows.set()
        self.dead = False
        for path in sorted(image.iterdir()):
            file = self._new_file()
            file.data[:] = path.read_bytes()
            file.sync()
            self._durable_names[path.name] = self._names[path.name] = file.number
        self._answers: dict[int, Callable[[int, bytes], bytes]] = {
            1: self._lookup, 3: self._getattr, 4: self._setattr, 10: self._unlink, 14: self._open, 15: self._read,
            16: self._write, 17: self._statfs, 18: self._nothing, 20: self._fsync, 25: self._nothing, 26: self._init,
            27: self._open, 28: self._readdir, 29: self._nothing, 30: self._fsyncdir, 34: self._nothing,
            35: self._create, 38: self._nothing, 45: self._rename2,
        }  # fmt: skip

    def answer(self, request: bytes) -> bytes | None:
        """The answer to a request of the kernel; None where it wants none."""
        _, opcode, unique, node, *_ = _HEADER.unpack_from(request)
        if opcode in _SILENT:
            return None
        with self._lock:
            try:
                body, error = self._answers_to(opcode)(node, request[_HEADER.size :]), 0
            except OSError as cause:
                body, error = b"", cause.errno or errno.EIO
        return struct.pack("<IiQ", 16 + len(body), -error, unique) + body

    def cut_power(self) -> None:
        """Fail from here on, and write what has survived into the image."""
        with self._lock:
            self.dead = True
            names = self._durable_names
            if self._pending:
                names = [names, *self._pending][self._chance.randrange(len(self._pending) + 1)]
            for path in self._image.iterdir():
                path.unlink()
            for name, number in names.items():
                (self._image / name).write_bytes(self._files[number].after_power_cut(self._chance))

    def _answers_to(self, opcode: int) -> Callable[[int, bytes], bytes]:
        if self.dead:
            raise OSError(errno.EIO, "no power")
        if opcode not in self._answers:
            raise OSError(errno.ENOSYS, "not known here")
        return self._answers[opcode]

    def _new_file(self) -> File:
        file = File(len(self._files) + _ROOT + 1)
        self._files[file.number] = file
        return file

    def _rename_in(self, names: dict[str, int]) -> None:
        self._names = names
        self._pending.append(names)

    def _attributes(self, node: int) -> bytes:
        is_root = node == _ROOT
        size = 0 if is_root else len(self._files[node].data)
        mode = stat.S_IFDIR | 0o755 if is_root else stat.S_IFREG | 0o644
        return struct.pack("<6Q10I", node, size, -(-size // 512), 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

    def _entry(self, node: int) -> bytes:
        return struct.pack("<4Q2I", node, 0, 0, 0, 0, 0) + self._attributes(node)

    def _init(self, _node: int, _body: bytes) -> bytes:
        big_writes = 1 << 5
        return struct.pack("<4I2H2I2H8I", 7, 31, 65536, big_writes, 16, 12, 65536, 1, 0, 0, *[0] * 8)

    def _lookup(self, _node: int, body: bytes) -> bytes:
        return self._entry(self._number(body))

    def _number(self, body: bytes) -> int:
        name = _text(body)
        if name not in self._names:
            raise FileNotFoundError(errno.ENOENT, name)
        return self._names[name]

    def _getattr(self, node: int, _body: bytes) -> bytes:
        return struct.pack("<Q2I", 0, 0, 0) + self._attributes(node)

    def _setattr(self, node: int, body: bytes) -> bytes:
        valid, _, _, size = struct.unpack_from("<2I2Q", body)
        if valid & _SIZE_CHANGES:
            self._files[node].truncate(size)
        return self._getattr(node, body)

    def _open(self, _node: int, _body: bytes) -> bytes:
        return struct.pack("<Q2I", 0, 0, 0)

    def _create(self, node: int, body: bytes) -> bytes:
        name = _text(body[16:])
        if name not in self._names:
            self._rename_in({**self._names, name: self._new_file().number})
        return self._entry(self._names[name]) + self._open(node, body)

    def _read(self, node: int, body: bytes) -> bytes:
        _, offset, size = struct.unpack_from("<2QI", body)
        return bytes(self._files[node].data[offset : offset + size])

    def _write(self, node: int, body: bytes) -> bytes:
        _, offset, size = struct.unpack_from("<2QI", body)
        self._files[node].write(offset, body[40 : 40 + size])
        return struct.pack("<2I", size, 0)

    def _fsync(self, node: int, _body: bytes) -> bytes:
        self.flows.wait()
        self._files[node].sync()
        return b""

    def _fsyncdir(self, _node: int, _body: bytes) -> bytes:
        self._durable_names = self._names
        self._pending.clear()
        return b""

    def _unlink(self, _node: int, body: bytes) -> bytes:
        gone = _text(body)
        self._number(body)
        self._rename_in({name: number for name, number in self._names.items() if name != gone})
        return b""

    def _rename2(self, _node: int, body: bytes) -> bytes:
        before, after = (part.decode() for part in body[16:].split(b"\0")[:2])
        number = self._number(before.encode())
        left = {name: found for name, found in self._names.items() if name not in {before, after}}
        self._rename_in({**left, after: number})
        return b""

    def _readdir(self, _node: int, body: bytes) -> bytes:
        _, offset, _ = struct.unpack_from("<2QI", body)
        entries = b""
        for place, (name, number) in enumerate(self._names.items(), start=1):
            if place > offset:
                word = name.encode()
                entries += struct.pack("<2Q2I", number, place, len(word), 8) + word + bytes(-len(word) % 8)
        return entries

    def _statfs(self, _node: int, _body: bytes) -> bytes:
        return struct.pack("<5Q10I", 2**20, 2**19, 2**19, 1000, 1000, 4096, 255, 4096, 0, *[0] * 6)

    def _nothing(self, _node: int, _body: bytes) -> bytes:
        return b""


def _text(body: bytes) -> str:
    return body.partition(b"\0")[0].decode()


def main() -> None:
    """Mount at MOUNT; say so; serve until the power has been cut and the folder is unmounted."""
    mount, image, seed = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    libc = ctypes.CDLL(None, use_errno=True)
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    if libc.mount(b"powerfs", mount.encode(), b"fuse", 0, options):
        sys.exit(f"mount: {os.strerror(ctypes.get_errno())}")
    disk = Disk(image, seed)

    def obey() -> None:
        while (word := sys.stdin.readline()) in {"stall\n", "flow\n"}:
            (disk.flows.clear if word == "stall\n" else disk.flows.set)()
        disk.flows.set()
        disk.cut_power()
        print("cut", flush=True)  # noqa: T201 - to the test
        sys.stdin.readline()
        libc.umount2(mount.encode(), 2)
        os._exit(0)

    threading.Thread(target=obey, daemon=True).start()
    print("mounted", flush=True)  # noqa: T201
    while True:
        try:
            answer = disk.answer(os.read(device, _BUFFER))
            if answer is not None:
                os.write(device, answer)
        except OSError as cause:
            if cause.errno == errno.ENODEV:
                return
            if cause.errno not in {errno.ENOENT, errno.EINTR, errno.EAGAIN}:  # the asker has gone
                raise


if __name__ == "__main__":
    main()
