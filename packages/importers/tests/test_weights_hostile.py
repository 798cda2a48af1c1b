"""Files made to harm: an error within a second and 256 MB, and no code of theirs runs."""

import io
import json
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
from monograph.errors import FileFormatError, MonographError
from monograph_importers.testing import TARGETS, Guard
from monograph_importers.testing.__main__ import fuzz
from monograph_importers.weights import read

torch = pytest.importorskip("torch", reason="it writes files to begin from")


@pytest.fixture(scope="module")
def guard(tmp_path_factory):
    target = TARGETS["npz"]
    with Guard(target.reads, target.seeds(tmp_path_factory.mktemp("seed"))[0]) as made:
        yield made


def refused(guard, path, says=""):
    out = guard.read(path)
    assert (out.kind, out.finding) == ("FileFormatError", ""), out
    assert says in out.message
    assert str(path) in out.message


def archive(path, **files):
    """A ``torch.save`` file with other contents."""
    with zipfile.ZipFile(path, "w") as z:
        for name, data in files.items():
            z.writestr(f"archive/{name.replace('__', '/')}", data)
    return path


# ---- pickles with code


class Runs:
    """Writes a file when it is unpickled."""

    def __init__(self, fn, *args):
        self.fn, self.args = fn, args

    def __reduce__(self):
        return self.fn, self.args


def evil(mark):
    return {
        f"{os.system.__module__}.system": Runs(os.system, f"touch {mark}"),
        "builtins.eval": Runs(eval, f"open({str(mark)!r}, 'w')"),
        "builtins.exec": Runs(exec, f"open({str(mark)!r}, 'w')"),
        "builtins.getattr": Runs(getattr, "x", "upper"),
        "torch.serialization.load": Runs(torch.load, str(mark)),
        "torch.storage._load_from_bytes": Runs(torch.storage._load_from_bytes, b"x"),
        "torch.hub.load": Runs(torch.hub.load, "x", "y"),
    }


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("name", evil(""))
def test_no_code_is_run_and_its_name_is_said(name, protocol, tmp_path):
    mark = tmp_path / "run"
    raw = pickle.dumps({"state_dict": {"w": evil(mark)[name]}}, protocol)
    legacy = tmp_path / "x.pt"
    head = b"".join(pickle.dumps(x, 2) for x in (0x1950A86A20F9469CFC6C, 1001, {}))
    legacy.write_bytes(head + raw)
    for path in (archive(tmp_path / "zip.pt", **{"data.pkl": raw}), legacy):
        with pytest.raises(FileFormatError, match="nothing of it was run") as e:
            read(path)
        assert name in str(e.value).replace("__builtin__", "builtins")
        assert not mark.exists()


def test_all_names_are_listed_at_once(tmp_path):
    raw = pickle.dumps([Runs(os.system, "true"), Runs(eval, "1")], 4)
    with pytest.raises(FileFormatError, match=r"builtins\.eval, posix\.system"):
        read(archive(tmp_path / "x.pt", **{"data.pkl": raw}))


@pytest.mark.parametrize("protocol", range(6))
def test_a_bare_pickle_is_not_run(protocol, tmp_path):
    mark = tmp_path / "run"
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(Runs(os.system, f"touch {mark}"), protocol))
    with pytest.raises(FileFormatError):
        read(tmp_path / "x.pkl")
    np.save(tmp_path / "x.npy", np.array([Runs(os.system, f"touch {mark}")]), allow_pickle=True)
    with pytest.raises(FileFormatError, match="Python objects"):
        read(tmp_path / "x.npy")
    assert not mark.exists()


def test_hooks_of_tensors_are_not_run(tmp_path):
    mark = tmp_path / "run"

    class Hooked:
        def __reduce__(self):
            storage = torch.ones(1).untyped_storage()
            hooks = {0: Runs(os.system, f"touch {mark}")}
            return torch._utils._rebuild_tensor_v2, (storage, 0, (1,), (1,), False, hooks)

    path = tmp_path / "x.pt"
    buffer = io.BytesIO()
    torch.save({"w": Hooked()}, buffer)
    path.write_bytes(buffer.getvalue())
    with pytest.raises(FileFormatError, match=r"posix\.system|no sound pickle"):
        read(path)
    assert not mark.exists()


# ---- pickles that take memory or time

STORAGE = (
    b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"
)


def tensor(shape, strides, offset=0):
    """A dict with a tensor over a storage of four floats."""
    # the function, then its arguments: the storage in front of the numbers
    items = b"".join(pickle.dumps(x, 2)[2:-1] for x in (offset, shape, strides, False, None))
    return (
        b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n("
        + STORAGE + items + b"tRs."
    )  # fmt: skip


LAUGHS = b"\x80\x02]q\x00" + b"".join(
    b"](h" + bytes([n]) + b"h" + bytes([n]) + b"eq" + bytes([n + 1]) for n in range(60)
)
PICKLES = {
    "a memo that is far": b"\x80\x02Nr\xff\xff\xff\x7f.",
    "a text of 4 GB": b"\x80\x04\x8d" + struct.pack("<Q", 2**32) + b"abc.",
    "bytes of 8 EB": b"\x80\x04\x8e" + struct.pack("<Q", 2**63 - 1) + b"abc.",
    "a number of 2 GB": b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"1.",
    "a decimal without end": b"I" + b"9" * 1_000_000 + b"\n.",
    "marks without end": b"\x80\x02" + b"(" * 3_000_000 + b".",
    "lists in lists": b"\x80\x02" + b"]" * 300_000 + b"a" * 299_999 + b".",
    "a list in itself": b"\x80\x02]q\x00h\x00a.",
    "a dict in itself": b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.",
    "a billion laughs": LAUGHS + b".",
    "a billion laughs as a key": LAUGHS + b"q\x63}h\x63Ns.",
    "a billion laughs as a name": LAUGHS + b"q\x63h\x63h\x63\x93.",
    "a billion laughs as a storage": LAUGHS + b"Q.",
    "wide lists in lists": b"\x80\x02]("
    + b"N" * 99_000
    + b"eq\x00"
    + b"]("
    + b"h\x00" * 99_000
    + b"e.",
    "an array of NumPy without end": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n)R(K\x01(\x8a\x06\0\0\0\0\0\1K\x00tNI00\nU\x00tb.",
    "a text as arguments": b"\x80\x02cbuiltins\nint\nX" + struct.pack("<I", 9) + b"x" * 9 + b"R.",
    "a frame without end": b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N.",
    "an extension": b"\x80\x02\x82\x01.",
    "nothing": b"",
    "no value": b"\x80\x02.",
    "a view too large": tensor((5,), (1,)),
    "a view too far": tensor((4,), (1,), 1),
    "a view of strides too far": tensor((2, 2), (3, 1)),
    "a negative length": tensor((-4,), (1,)),
    "a negative stride": tensor((4,), (-1,)),
    "an absurd shape": tensor((2**31, 2**31, 4), (0, 0, 1)),
    "an absurd empty shape": tensor((2**62, 2**62, 0), (0, 0, 1)),
    "a length that is a float": tensor((4.0,), (1,)),
    "too many axes": tensor((1,) * 99, (1,) * 99),
    "a storage that is not there": tensor((4,), (1,)),
}


@pytest.mark.parametrize("what", PICKLES)
def test_pickles_that_take_memory_or_time(what, guard, tmp_path):
    files = {"data.pkl": PICKLES[what]}
    if what != "a storage that is not there":
        files["data__0"] = bytes(16)
    refused(guard, archive(tmp_path / "x.pt", **files))


def test_a_view_that_fits_is_read(tmp_path):
    data = np.arange(4, dtype="float32").tobytes()
    files = {"data.pkl": tensor((2, 2), (1, 2)), "data__0": data}
    assert read(archive(tmp_path / "x.pt", **files))["w"].tolist() == [[0, 2], [1, 3]]


# ---- zip files


def packed(path, name, data, level=9):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as z:
        z.writestr(name, data)
    return path


def test_zip_bombs(guard, tmp_path):
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        head, {"descr": "<f4", "fortran_order": False, "shape": (20_000_000,)}
    )
    zeros = head.getvalue() + bytes(80_000_000)
    refused(guard, packed(tmp_path / "x.npz", "w.npy", zeros, 1), "would unpack to")
    refused(guard, packed(tmp_path / "y.pt", "archive/data.pkl", zeros, 1), "would unpack to")


def test_a_zip_that_lies_about_sizes(guard, tmp_path):
    path = packed(tmp_path / "x.npz", "w.npy", bytes(100_000))
    raw = bytearray(path.read_bytes())
    at = raw.rfind(b"PK\1\2")
    raw[at + 24 : at + 28] = struct.pack("<I", 1000)  # unpacked, in the table of contents
    path.write_bytes(raw)
    refused(guard, path)


def test_members_that_lie_over_one_another(guard, tmp_path):
    """As in Fifield's bomb: one member's bytes many times."""
    path = tmp_path / "x.npz"
    np.savez(path, a=np.ones(3), b=np.ones(3))
    raw = path.read_bytes()
    one, two = (i for i in range(len(raw)) if raw[i : i + 4] == b"PK\1\2")
    raw = raw[:two] + raw[one:two].replace(b"a.npy", b"b.npy") + raw[two + (two - one) :]
    path.write_bytes(raw)
    refused(guard, path)


def test_a_table_of_contents_without_end(guard, tmp_path):
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as z:
        for n in range(1000):
            z.writestr(f"{n:05000}.npy", b"")
    refused(guard, path, "table of contents")


def test_names_twice_and_paths_out(guard, tmp_path):
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as z, pytest.warns(UserWarning, match="Duplicate"):
        z.writestr("a.npy", b"1")
        z.writestr("a.npy", b"2")
    refused(guard, path, "twice")
    refused(guard, archive(tmp_path / "y.pt", **{"..__data.pkl": b"N."}))


# ---- the other formats


def gguf_file(path, pairs=(), tensors=(), counts=None):
    """A header by hand: values as raw bytes, tensors as name, lengths, kind and offset."""
    text = lambda s: struct.pack("<Q", len(s)) + s
    n = counts or (len(tensors), len(pairs))
    raw = b"GGUF" + struct.pack("<IQQ", 3, *n) + b"".join(text(k) + v for k, v in pairs)
    for name, lengths, kind, at in tensors:
        raw += text(name) + struct.pack(f"<I{len(lengths)}QIQ", len(lengths), *lengths, kind, at)
    path.write_bytes(raw + bytes(-len(raw) % 32) + bytes(64))
    return path


GGUFS = {
    "many tensors": dict(counts=(2**63, 0)),
    "many values": dict(counts=(0, 2**40)),
    "a long text": dict(pairs=[(b"a", struct.pack("<IQ", 8, 2**60))]),
    "a long list of texts": dict(pairs=[(b"a", struct.pack("<IIQ", 9, 8, 2**60))]),
    "a long list of numbers": dict(pairs=[(b"a", struct.pack("<IIQ", 9, 4, 2**62))]),
    "lists in lists": dict(pairs=[(b"a", struct.pack("<IIQ", 9, 9, 1) * 50)]),
    "an unknown value": dict(pairs=[(b"a", struct.pack("<I", 99))]),
    "no alignment": dict(pairs=[(b"general.alignment", struct.pack("<II", 4, 0))]),
    "an absurd shape": dict(tensors=[(b"w", (2**40, 2**40), 0, 0)]),
    "an absurd empty shape": dict(tensors=[(b"w", (2**62, 2**62, 0), 0, 0)]),
    "a far offset": dict(tensors=[(b"w", (4,), 0, 2**63)]),
    "a ragged row": dict(tensors=[(b"w", (33,), 2, 0)]),
    "an unknown type": dict(tensors=[(b"w", (4,), 77, 0)]),
    "many axes": dict(tensors=[(b"w", (1,) * 70, 0, 0)]),
    "a name twice": dict(tensors=[(b"w", (4,), 0, 0)] * 2),
}


@pytest.mark.parametrize("what", GGUFS)
def test_gguf(what, guard, tmp_path):
    refused(guard, gguf_file(tmp_path / "x.gguf", **GGUFS[what]))


HEADERS = {
    "an absurd shape": {"descr": "<f4", "fortran_order": False, "shape": (2**40, 2**40)},
    "an absurd empty shape": {"descr": "<f4", "fortran_order": False, "shape": (2**62, 2**62, 0)},
    "a negative length": {"descr": "<f4", "fortran_order": False, "shape": (-1,)},
    "a true length": {"descr": "<f4", "fortran_order": False, "shape": (True,)},
    "objects": {"descr": "|O", "fortran_order": False, "shape": (1,)},
    "records": {"descr": [("a", "<f4"), ("b", "|O")], "fortran_order": False, "shape": (1,)},
    "dates": {"descr": "<M8[ns]", "fortran_order": False, "shape": (1,)},
    "texts": {"descr": "<U1", "fortran_order": False, "shape": (1,)},
}


@pytest.mark.parametrize("what", HEADERS)
def test_npy_headers(what, guard, tmp_path):
    text = repr(HEADERS[what]).encode().ljust(117) + b"\n"
    path = tmp_path / "x.npy"
    path.write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + bytes(4))
    refused(guard, path)


@pytest.mark.parametrize(
    "text", [b"(" * 9000, b"[" * 9000 + b"]" * 9000, b"9" * 9000, b"{'descr': __import__('os')}", b"1" + b"**9" * 50]
)  # fmt: skip
def test_npy_headers_are_not_evaluated(text, guard, tmp_path):
    path = tmp_path / "x.npy"
    path.write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text)
    refused(guard, path)


@pytest.mark.parametrize(
    "row",
    [
        {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [2**62, 2**62, 0], "data_offsets": [0, 0]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [2**63, 2**63 + 4]},
        {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]},
        {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]},
        [[]],
    ],
)
def test_safetensors_headers(row, guard, tmp_path):
    text = json.dumps({"w": row}).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(4))
    refused(guard, path)


# ---- all of them


@pytest.mark.parametrize("name", ["safetensors", "state_dict", "gguf", "npz"])
def test_every_truncation_is_refused(name, tmp_path):
    pytest.importorskip("gguf", reason="it writes the files")
    for seed in TARGETS[name].seeds(tmp_path):
        raw = seed.read_bytes()
        path = tmp_path / f"cut{seed.suffix}"
        for n in np.linspace(0, len(raw) - 1, 40, dtype=int):
            path.write_bytes(raw[:n])
            with pytest.raises(MonographError):
                [a.sum() for a in read(path).values()]


@pytest.mark.parametrize("name", ["safetensors", "state_dict", "gguf", "npz"])
def test_mutated_files_are_read_or_refused(name):
    pytest.importorskip("gguf", reason="it writes the files")
    assert fuzz(name, seconds=1, seed=7) == []
