"""Downloads and archives: whole and right, or not at all, from a server on this machine."""

import hashlib
import importlib.util
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from monograph.errors import ArgumentError, FileFormatError, StorageError
from monograph_gnn import datasets
from monograph_gnn.datasets import files, knowledge
from monograph_gnn.datasets.files import Source

TEXT = b"a\tlikes\tb\n"


class Handler(BaseHTTPRequestHandler):
    """Answers by path; counts what it was asked for."""

    asked: list

    def do_GET(self):
        self.asked.append(self.path)
        if self.path == "/missing":
            return self.send_error(404)
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            return self.end_headers()
        self.send_response(200)
        self.send_header("Content-Length", str(len(TEXT) + (5 if self.path == "/short" else 0)))
        self.end_headers()
        self.wfile.write(TEXT)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    """Its address; http is allowed for it alone."""
    monkeypatch.delenv("MONOGRAPH_DATA", raising=False)
    monkeypatch.setattr(files, "SCHEMES", ("https", "http"))
    Handler.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as s:
        thread = threading.Thread(target=s.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{s.server_address[1]}"
        s.shutdown()
        thread.join()


def sources(address, path="/file", digest=None, size=99):
    digest = digest or hashlib.sha256(TEXT).hexdigest()
    return {
        f"{part}.txt": Source(address + path, digest, size) for part in ("train", "valid", "test")
    }


def test_what_is_missing_is_taken_and_only_when_asked(server, tmp_path, monkeypatch):
    monkeypatch.setitem(knowledge.SOURCES, "nations", sources(server))
    folder = tmp_path / "new"
    with pytest.raises(ArgumentError, match="Pass download=True"):
        datasets.knowledge_graph("nations", folder)
    assert Handler.asked == [] and not folder.exists()
    kg = datasets.knowledge_graph("nations", folder, download=True)
    assert kg.entities == ["a", "b"] and len(Handler.asked) == 3
    assert {p.name for p in (folder / "nations").iterdir()} == {
        "train.txt",
        "valid.txt",
        "test.txt",
    }
    datasets.knowledge_graph("nations", folder, download=True)  # it is there
    assert len(Handler.asked) == 3
    (folder / "nations" / "test.txt").unlink()
    datasets.knowledge_graph("nations", folder, download=True)
    assert len(Handler.asked) == 4


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        (dict(digest="0" * 64), FileFormatError, "its SHA-256 is .*, not 0000"),
        (dict(size=5), FileFormatError, "more than the 5 bytes that train.txt may have"),
        (dict(path="/short"), StorageError, "ended 5 bytes early|IncompleteRead"),
        (dict(path="/missing"), StorageError, "cannot download .*Not Found.* by hand: .*train.txt"),
        (dict(path="/to/ftp://127.0.0.1/x"), ArgumentError, "by https or http only, not by 'ftp'"),
        (dict(path="/to/file:///etc/passwd"), StorageError, "is not allowed"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_not_kept(server, tmp_path, monkeypatch, options, kind, said):
    monkeypatch.setitem(knowledge.SOURCES, "nations", sources(server, **options))
    with pytest.raises(kind, match=said) as e:
        datasets.knowledge_graph("nations", tmp_path, download=True)
    assert str(e.value).startswith(__file__)
    assert list((tmp_path / "nations").iterdir()) == []


def test_a_server_may_send_on(server, tmp_path):
    (source,) = {*sources(server, f"/to/{server}/file").values()}
    files.fetch(source, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == TEXT


def test_nothing_but_https_is_allowed(server, tmp_path, monkeypatch):
    monkeypatch.undo()
    (source,) = {*sources(server).values()}
    with pytest.raises(ArgumentError, match="by https only, not by 'http'"):
        files.fetch(source, tmp_path / "x")
    assert Handler.asked == [] and list(tmp_path.iterdir()) == []
    known = [s for table in knowledge.SOURCES.values() for s in table.values()]
    assert len(known) == 9 and all(
        s.url.startswith("https://") and len(s.sha256) == 64 for s in known
    )


def test_a_server_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "SCHEMES", ("http",))
    with pytest.raises(StorageError, match="cannot download .*refused"):
        files.fetch(Source("http://127.0.0.1:9/x", "", 9), tmp_path / "x")


def test_tu_needs_a_checksum_to_download(server, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["monograph_gnn.datasets.tu"], "_ADDRESS", server)
    with pytest.raises(ArgumentError, match="No address with a checksum .*sha256="):
        datasets.tu("TOY", tmp_path, download=True)
    with pytest.raises(FileFormatError, match="no zip file"):
        datasets.tu("TOY", tmp_path, download=True, sha256=hashlib.sha256(TEXT).hexdigest().upper())
    assert Handler.asked == ["/TOY.zip"]


def test_known_checksums_are_those_of_the_installed_files():
    if importlib.util.find_spec("pykeen") is None:
        pytest.skip("needs the files in the package pykeen")
    for name, table in knowledge.SOURCES.items():
        for file, source in table.items():
            data = (knowledge._pykeen() / name / file).read_bytes()
            assert hashlib.sha256(data).hexdigest() == source.sha256 and len(data) <= source.size


# ---- archives


def zipped(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        for name, data in members:
            z.writestr(name, data)
    return path


def link(name):
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o120777 << 16
    return info


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([("../D_A.txt", "")], "'../D_A.txt' lies outside of its folder"),
        ([("D/../../D_A.txt", "")], "lies outside"),
        ([("/etc/D_A.txt", "")], "lies outside"),
        ([("C:\\D_A.txt", "")], "lies outside"),
        ([(link("D/D_A.txt"), "/etc/passwd")], "is a link"),
        ([("D/D_A.txt", "1"), ("E/D_A.txt", "2")], "D_A.txt is in it more than once"),
        ([("D/D_A.txt", bytes(160_000_000))], "'D/D_A.txt' grows from .* to 160,000,000 bytes"),
        ([("D/D_A.txt", b"12" * 100)], "200 bytes are more than the 150 that are read"),
    ],
)  # fmt: skip
def test_archives_that_are_not_to_be_trusted_are_refused(tmp_path, members, said):
    with pytest.raises(FileFormatError, match=said):
        files.read_zip(zipped(tmp_path / "x.zip", members), ["D_A.txt"], limit=10**9 if len(members[0][1]) > 200 else 150)  # fmt: skip
    assert [p.name for p in tmp_path.iterdir()] == ["x.zip"]


def test_archives_that_lie_of_sizes_or_are_damaged_are_refused(tmp_path):
    path = zipped(tmp_path / "x.zip", [("D/D_A.txt", b"1, 2\n" * 400)])
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02") + 24  # the size in the central directory
    data[at : at + 4] = (10).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(FileFormatError, match="no zip file that can be read"):
        files.read_zip(path, ["D_A.txt"])
    path.write_bytes(data[:30])
    with pytest.raises(FileFormatError, match="no zip file"):
        files.read_zip(path, ["D_A.txt"])
    with pytest.raises(StorageError, match="cannot read"):
        files.read_zip(tmp_path / "none.zip", ["D_A.txt"])
    good = zipped(
        tmp_path / "good.zip", [("D/", ""), ("D/D_A.txt", b"1, 2\n"), ("D/more.txt", b"x")]
    )
    assert files.read_zip(good, ["D_A.txt", "D_B.txt"]) == {"D_A.txt": b"1, 2\n"}
