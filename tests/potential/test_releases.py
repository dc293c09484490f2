"""Downloads against a server on this machine: whole, in pieces, changed, broken and absent."""

import hashlib
import http.server
import threading
from urllib.parse import urlparse

import pytest

from mlffjax.errors import InputError
from mlffjax.potential import releases
from mlffjax.potential.releases import ASL, RELEASES, Release, cache_folder, download, fetch, find

CONTENT = b"PK" + bytes(range(256)) * 4000  # a megabyte: several blocks


class Server(http.server.ThreadingHTTPServer):
    """Serves ``content``; the other attributes say how badly."""

    content: bytes | None = CONTENT
    limit: int | None = None
    ranges = tags = sizes = True
    address = ""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[dict[str, str]] = []


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers for a ``Server``."""

    def do_GET(self):
        server = self.server
        assert isinstance(server, Server)
        server.requests.append(dict(self.headers))
        if server.content is None:
            self.send_error(404, "Not Found")
            return
        content, start = server.content, 0
        tag = f'"{hashlib.sha256(content).hexdigest()[:8]}"'
        asked = self.headers.get("Range")
        if asked and server.ranges and self.headers.get("If-Range", tag) == tag:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        if server.tags:
            self.send_header("ETag", tag)
        if server.sizes:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:][: server.limit])

    def log_message(self, format, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    """A server on a free port of the loopback device."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    found = Server()
    found.address = f"http://127.0.0.1:{found.server_port}/some/tiny.model"
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    yield found
    found.shutdown()
    found.server_close()
    thread.join()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "models" / "tiny.model"


def names(target):
    return sorted(path.name for path in target.parent.iterdir())


@pytest.mark.parametrize("sizes", [True, False])
def test_a_whole_download(server, target, sizes):
    seen = []
    server.sizes = sizes
    download(server.address, target, lambda done, total: seen.append((done, total)))
    assert target.read_bytes() == CONTENT
    assert names(target) == ["tiny.model"]
    assert seen[-1] == (len(CONTENT), len(CONTENT) if sizes else None)
    assert len(seen) > 2
    assert "Range" not in server.requests[0]


def interrupted(server, target, at):
    server.limit = at
    with pytest.raises(InputError, match=rf"only {at} of {len(server.content)} bytes.*run again"):
        download(server.address, target)
    server.limit = None
    assert not target.exists()
    assert (target.parent / "tiny.model.part").stat().st_size == at


def test_an_interrupted_download_goes_on(server, target):
    interrupted(server, target, 300_000)
    seen = []
    download(server.address, target, lambda done, total: seen.append((done, total)))
    assert server.requests[-1]["Range"] == "bytes=300000-"
    assert target.read_bytes() == CONTENT
    assert names(target) == ["tiny.model"]
    assert seen[0][0] > 300_000
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_halves_of_two_versions_are_never_joined(server, target):
    interrupted(server, target, 300_000)
    server.content = b"PK" + CONTENT[:1:-1]
    download(server.address, target)
    assert target.read_bytes() == server.content


@pytest.mark.parametrize("lack", ["ranges", "tags"])
def test_a_server_that_cannot_go_on_begins_again(server, target, lack):
    setattr(server, lack, False)
    interrupted(server, target, 300_000)
    download(server.address, target)
    assert target.read_bytes() == CONTENT
    assert ("Range" in server.requests[-1]) == (lack == "ranges")


def test_a_part_that_is_longer_than_the_file_is_forgotten(server, target):
    interrupted(server, target, 300_000)
    with open(target.parent / "tiny.model.part", "ab") as file:
        file.write(CONTENT)
    download(server.address, target)
    assert target.read_bytes() == CONTENT


def test_pages_and_errors_are_no_models(server, target):
    server.content = b"<html>please log in</html>"
    with pytest.raises(InputError, match=r"does not give a model file.*put it at .*tiny\.model"):
        download(server.address, target)
    server.content = None
    with pytest.raises(InputError, match=r"127\.0\.0\.1.*answers 404 Not Found.*put it at"):
        download(server.address, target)
    assert not any(name.endswith((".part", ".model")) for name in names(target))


def test_offline_is_one_message_with_the_address_and_the_place(server, target):
    server.shutdown()
    server.server_close()
    with pytest.raises(InputError) as error:
        download(server.address, target)
    assert server.address in str(error.value)
    assert str(target) in str(error.value)
    assert not list(target.parent.iterdir())


def test_one_process_at_a_time(server, target, monkeypatch):
    target.parent.mkdir()
    with open(target.parent / "tiny.model.part", "ab") as held:
        releases.fcntl.flock(held, releases.fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another process"):
            download(server.address, target)
    download(server.address, target)


@pytest.fixture
def published(server, monkeypatch):
    """Two models on the server, one with terms."""
    for name, licence in (("free", "MIT"), ("bound", ASL)):
        monkeypatch.setitem(RELEASES, name, Release(server.address, licence, None))
    return server


def test_the_first_use_decides_what_a_file_is(published, tmp_path):
    path = fetch("free", folder=tmp_path)
    record = tmp_path / "tiny.model.sha256"
    assert record.read_text() == f"{hashlib.sha256(CONTENT).hexdigest()}  tiny.model\n"
    assert fetch("free", folder=tmp_path) == path
    assert len(published.requests) == 1  # the second time it was there
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(InputError, match=r"not the file it was when first used.*remove both"):
        fetch("free", folder=tmp_path)
    path.unlink()
    record.unlink()
    path.write_bytes(b"PK by hand")  # as the message of a failed download says
    assert fetch("free", folder=tmp_path).read_bytes() == b"PK by hand"


def test_terms_must_be_accepted(published, tmp_path):
    with pytest.raises(InputError, match=r"no commercial use.*--accept-licence"):
        fetch("bound", folder=tmp_path)
    assert not published.requests
    assert fetch("bound", folder=tmp_path, accept_licence=True).exists()


def test_names_are_suggested():
    with pytest.raises(InputError, match=r"did you mean 'medium-0b3'\?.*names: small, medium"):
        find("medum-0b3")


def test_the_table_is_sound():
    files = []
    for release in RELEASES.values():
        parts = urlparse(release.address)
        assert parts.scheme == "https"
        assert parts.netloc in ("github.com", "raw.githubusercontent.com")
        assert release.licence in releases.TERMS
        files.append(parts.path.rpartition("/")[2])
    assert all(name.endswith(".model") for name in files)
    assert len(set(files)) == len(files)  # they share a folder


def test_the_cache_is_where_the_user_wants_it(monkeypatch, tmp_path):
    monkeypatch.delenv("MLFFJAX_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "mlffjax" / "models"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "mlffjax" / "models"
    monkeypatch.setenv("MLFFJAX_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own" / "models"


@pytest.mark.torch
def test_addresses_are_those_of_mace_torch():
    mace = pytest.importorskip("mace.calculators.foundations_models")
    theirs = {*mace.mace_mp_urls.values(), *mace.mace_off_urls.values()}
    ours = {release.address for release in RELEASES.values()}
    assert theirs <= ours
    assert ours - theirs == {RELEASES["off24-medium"].address}  # given by address there
