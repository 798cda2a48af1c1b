"""Run as a program: list an HDF5 file with h5py, within limits. Arguments: path, start, size.

Writes a line of JSON, then the bytes of arrays that do not lie in the file as they are. A size of -1:
the file comes on standard input.
"""

import io
import json
import math
import os
import signal
import sys

try:
    import resource
except ImportError:  # Windows: without limits, but still in a process of its own
    resource = None  # type: ignore[assignment]

MEGABYTES, SECONDS, PER_SECOND = 256, 0.5, 2_000_000
"""Memory; and processor time: a sound file takes a third of that for its bytes."""
DEEPEST, MOST = 32, 100_000
LONGEST = 64_000_000
"""The longest text, in bytes; and the most that an array may have if it is not that of its file."""

ATTRIBUTES = ("backend", "keras_version", "layer_names", "model_config", "name", "weight_names")


class Part(io.RawIOBase):
    """Some bytes of a file as a file."""

    def __init__(self, path, start, size):
        self.file, self.start, self.size, self.at = open(path, "rb"), start, size, 0  # noqa: SIM115

    def readable(self):
        return True

    def seekable(self):
        return True

    def seek(self, offset, whence=0):
        self.at = max(offset + (0, self.at, self.size)[whence], 0)
        return self.at

    def readinto(self, buffer):
        n = max(min(len(buffer), self.size - self.at), 0)
        self.file.seek(self.start + self.at)
        data = self.file.read(n)
        buffer[: len(data)] = data
        self.at += len(data)
        return len(data)


def limit(size):
    """From here on little memory and time for a file of ``size`` bytes."""
    if resource is None:
        return
    if os.path.exists("/proc/self/statm"):
        with open("/proc/self/statm") as f:
            most = int(f.read().split()[0]) * resource.getpagesize() + MEGABYTES * 2**20
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # its signal ends the process
    signal.setitimer(signal.ITIMER_PROF, SECONDS + size / PER_SECOND)


def walk(h5py, root):
    """Arrays and attributes of everything below ``root``, and bytes of what must be copied."""
    arrays, attributes, blocks, at = {}, {}, [], 0
    todo, seen = [("", root, 0)], 0
    while todo:
        path, group, depth = todo.pop()
        attributes[path] = texts(h5py, path, group)
        for key in group:
            name, seen = f"{path}/{key}" if path else key, seen + 1
            if depth > DEEPEST or seen > MOST or len(name) > 4096:
                raise ValueError("its groups hold one another without end")
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise ValueError(f"{name} is a link, which is not followed")
            item = group[key]
            if isinstance(item, h5py.Group):
                todo.append((name, item, depth + 1))
            elif isinstance(item, h5py.Dataset):
                row, block = dataset(name, item)
                if block is not None:
                    row["at"], at = at, at + len(block)
                    blocks.append(block)
                arrays[name] = row
    return {"arrays": arrays, "attributes": attributes}, blocks


def texts(h5py, path, group):
    """The attributes that Keras reads; its long lists are cut into several, numbered from 0."""
    found = {}
    for key in group.attrs:
        if key.rstrip("0123456789") not in ATTRIBUTES:
            continue
        held = h5py.h5a.open(group.id, key.encode())
        if math.prod(held.shape) * held.get_type().get_size() > LONGEST:
            raise ValueError(f"the attribute {key} of {path or 'the file'} is absurdly long")
        value = group.attrs[key]
        flat = value.tolist() if hasattr(value, "tolist") else value
        as_text = lambda v: v.decode() if isinstance(v, bytes) else v  # noqa: E731
        flat = [as_text(v) for v in flat] if isinstance(flat, list) else as_text(flat)
        if not isinstance(flat, str) and not all(isinstance(v, str) for v in flat):
            raise ValueError(f"the attribute {key} of {path or 'the file'} is no text")
        found[key] = flat
    return found


def dataset(name, item):
    """Where an array lies; its bytes where it is not whole in the file."""
    if item.dtype.kind not in "biufcV" or item.dtype.hasobject or item.dtype.names:
        raise ValueError(f"{name} holds {item.dtype}, which are no numbers")
    if item.shape is None or item.external or item.is_virtual:
        raise ValueError(f"{name} has its numbers elsewhere")
    row = {"shape": item.shape, "dtype": item.dtype.str, "at": 0, "copied": False}
    offset, nbytes = item.id.get_offset(), item.size * item.dtype.itemsize
    if item.chunks is None and offset is not None:
        row["at"] = offset
        return row, None
    if nbytes > max(LONGEST, 100 * item.id.get_storage_size()):
        raise ValueError(f"{name} has {nbytes:,} bytes, and none of them in the file")
    row["copied"] = True
    return row, item[()].tobytes()


def main(path, start, size):
    """Answer on standard output."""
    os.environ["HDF5_PLUGIN_PRELOAD"] = "::"  # no filters from anywhere
    try:
        import h5py
    except ImportError:
        return {"missing": True}, []
    data = io.BytesIO(sys.stdin.buffer.read()) if size < 0 else Part(path, start, size)
    limit(data.seek(0, 2) if size < 0 else size)
    try:
        with h5py.File(data, "r") as f:
            return walk(h5py, f)
    except Exception as e:
        return {"error": f"{type(e).__name__}: {e}"[:300]}, []


if __name__ == "__main__":
    head, body = main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    sys.stdout.buffer.write(json.dumps(head).encode() + b"\n")
    for part in body:
        sys.stdout.buffer.write(part)
