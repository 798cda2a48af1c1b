"""Run as a program: list an HDF5 file with h5py, within limits. Arguments: path, start, size.

Writes the bytes of arrays that do not lie in the file as they are, one after another, then a line of JSON.
A size of -1: the file comes on standard input.
"""

import io
import json
import math
import mmap
import os
import signal
import sys
import time

try:
    import resource
except ImportError:  # Windows: without limits, but still in a process of its own
    resource = None  # type: ignore[assignment]

MEGABYTES = 256
SECONDS, PER_ITEM, PER_BYTE = 0.5, 7e-4, 3e-8
"""Processor time: at first, and more for every object found and every byte unpacked. A sound file takes
a third of it, so that one that takes long has much in it, and one with little in it is soon given up."""

DEEPEST, MOST = 32, 20_000
"""Groups in groups; and objects, of which a layer has some four."""
LONGEST, PACKED = 16_000_000, 20
"""What is unpacked in all may have so many bytes, or so many times those in the file; a text, the first."""
FILTERS = 4
"""Steps that a chunk goes through: more than shuffling, packing and a checksum."""

ATTRIBUTES = (
    b"backend", b"keras_version", b"layer_names", b"model_config", b"name", b"weight_names",
)  # fmt: skip


class Part(io.RawIOBase):
    """Some bytes of a file as a file."""

    def __init__(self, path, start, size):
        with open(path, "rb") as f:
            pages = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
        self.bytes, self.size, self.at = memoryview(pages)[start : start + size], size, 0

    def readable(self):
        return True

    def seekable(self):
        return True

    def seek(self, offset, whence=0):
        self.at = max(offset + (0, self.at, self.size)[whence], 0)
        return self.at

    def readinto(self, buffer):
        data = self.bytes[self.at : self.at + len(buffer)]
        buffer[: len(data)] = data
        self.at += len(data)
        return len(data)


def limit():
    """From here on little memory."""
    if resource is None:
        return
    if os.path.exists("/proc/self/statm"):
        with open("/proc/self/statm") as f:
            most = int(f.read().split()[0]) * resource.getpagesize() + MEGABYTES * 2**20
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class Clock:
    """Processor time, at whose end a signal ends the process."""

    def __init__(self):
        self.end = time.process_time()

    def allow(self, seconds):
        """Some more of it."""
        self.end += seconds
        left = self.end - time.process_time()
        if resource is not None:
            # the timer rounds up: set often enough, it would never end
            if left <= 0:
                signal.raise_signal(signal.SIGPROF)
            signal.setitimer(signal.ITIMER_PROF, left)


class Listing:
    """What has been found so far: rows of arrays and attributes of groups by path."""

    def __init__(self, h5py, clock, size):
        self.h5py, self.clock, self.size = h5py, clock, size
        self.arrays, self.attributes = {}, {}
        self.seen, self.copied, self.stored = set(), 0, 0

    def walk(self, path, group, depth):
        """Take down a group and all below it; nothing stays open, which takes memory."""
        h5py = self.h5py
        self.attributes[path] = texts(h5py, path, group)
        for key, kind, address in links(group, MOST - len(self.seen)):
            name = os.fsdecode(f"{path}/".encode() + key if path else key)
            if kind != h5py.h5l.TYPE_HARD:
                raise ValueError(f"{name} is a link, which is not followed")
            if depth > DEEPEST or len(name) > 4096:
                raise ValueError(f"its groups go {depth} deep")
            if new := address not in self.seen:
                self.seen.add(address)
                self.clock.allow(PER_ITEM)
            item = h5py.h5o.open(group, key)
            if isinstance(item, h5py.h5d.DatasetID):
                self.arrays[name] = row(h5py, name, item)
                if self.arrays[name]["copied"]:
                    self.copy(name, item)
            elif isinstance(item, h5py.h5g.GroupID):
                if not new:
                    raise ValueError(f"{name} is in another group too, or in itself")
                self.walk(name, item, depth + 1)

    def copy(self, name, item):
        """Write the bytes of an array that is not whole in the file."""
        import numpy as np  # as h5py has done already

        nbytes = math.prod(item.shape) * item.dtype.itemsize
        self.arrays[name]["at"] = self.copied
        self.copied += nbytes
        self.stored += item.get_storage_size()
        if self.stored > self.size:
            raise ValueError(f"{name} lies over other arrays")
        if self.copied > max(LONGEST, PACKED * self.stored):
            raise ValueError(f"{name} has {nbytes:,} bytes, and next to none of them in the file")
        self.clock.allow(PER_BYTE * nbytes)
        whole = np.asarray(self.h5py.Dataset(item)[()])
        sys.stdout.buffer.write(whole.reshape(-1).view(np.uint8).data)


def links(group, most):
    """Name, kind and address of each link of a group."""
    found = []

    def add(name, link):
        found.append((name, link.type, link.u))
        return len(found) > most or None  # anything but None ends it; an error would be lost

    group.links.iterate(add, info=True)
    if len(found) > most:
        raise ValueError(f"it has more than {MOST:,} objects")
    return found


def texts(h5py, path, group):
    """The attributes that Keras reads; its long lists are cut into several, numbered from 0."""
    keys: list = []
    found = {}
    h5py.h5a.iterate(group, keys.append)
    for key in keys:
        if key.rstrip(b"0123456789") not in ATTRIBUTES:
            continue
        where = f"the attribute {key.decode()} of {path or 'the file'}"
        held = h5py.h5a.open(group, key)
        if math.prod(held.shape) * held.get_type().get_size() > LONGEST:
            raise ValueError(f"{where} is absurdly long")
        value = h5py.Group(group).attrs[key.decode()]
        flat = value.tolist() if hasattr(value, "tolist") else value
        as_text = lambda v: v.decode() if isinstance(v, bytes) else v  # noqa: E731
        flat = [as_text(v) for v in flat] if isinstance(flat, list) else as_text(flat)
        if not isinstance(flat, str) and not all(isinstance(v, str) for v in flat):
            raise ValueError(f"{where} is no text")
        found[key.decode()] = flat
    return found


def row(h5py, name, item):
    """Shape, type and place of an array; one without a place is not whole in the file."""
    dtype, made = item.dtype, item.get_create_plist()
    if dtype.kind not in "biufcV" or dtype.hasobject or dtype.names:
        raise ValueError(f"{name} holds {dtype}, which are no numbers")
    layout, shape = made.get_layout(), item.shape
    if shape is None or layout == h5py.h5d.VIRTUAL or made.get_external_count():
        raise ValueError(f"{name} has its numbers elsewhere")
    if made.get_nfilters() > FILTERS:
        raise ValueError(f"{name} is packed {made.get_nfilters()} times")
    at = item.get_offset() if layout == h5py.h5d.CONTIGUOUS else None
    return {"shape": shape, "dtype": dtype.str, "at": at or 0, "copied": at is None}


def main(path, start, size):
    """Write the bytes, return the rest of the answer."""
    os.environ["HDF5_PLUGIN_PRELOAD"] = "::"  # no filters from anywhere
    try:
        import h5py
    except ImportError:
        return {"missing": True}
    data = io.BytesIO(sys.stdin.buffer.read()) if size < 0 else Part(path, start, size)
    limit()
    clock = Clock()
    clock.allow(SECONDS)
    try:
        with h5py.File(data, "r") as f:
            found = Listing(h5py, clock, data.seek(0, 2))
            found.walk("", h5py.h5o.open(f.id, b"/"), 0)
            return {"arrays": found.arrays, "attributes": found.attributes}
    except Exception as e:
        return {"error": f"{type(e).__name__}: {e}"[:300]}


if __name__ == "__main__":
    answer = main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    sys.stdout.buffer.write(b"\n" + json.dumps(answer).encode())
    sys.stdout.flush()
    os._exit(0)  # without the last acts of a library that may be ill
