"""Where files come from: folder, environment, download; the download from a server on this machine, by real pooch."""

import hashlib
import sys
import threading
import warnings
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from bayesnn.datasets import mnist
from bayesnn.datasets.sources import Remote, data_file, data_folder

CONTENT = b"the whole file"
RIGHT = hashlib.sha256(CONTENT).hexdigest()
NOWHERE = Remote("http://127.0.0.1:9/f.gz", RIGHT)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    monkeypatch.delenv("BAYESNN_DATA", raising=False)


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """A pooch whose ``retrieve`` does what the test says, and keeps what it was asked."""
    pooch = SimpleNamespace(os_cache=lambda name: tmp_path / name, asked=[])

    def does(answer):
        def retrieve(url, **options):
            pooch.asked.append((url, options))
            if isinstance(answer, Exception):
                raise answer
            return answer

        pooch.retrieve = retrieve
        return pooch

    monkeypatch.setitem(sys.modules, "pooch", pooch)
    return does


@pytest.fixture
def real(monkeypatch, tmp_path):
    """Real pooch with a cache of its own."""
    with warnings.catch_warnings():  # what it imports adds filters
        warnings.simplefilter("ignore")
        pooch = pytest.importorskip("pooch")
        monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)
        yield pooch


@pytest.fixture
def server(tmp_path):
    """A folder, and the address on this machine under which it is served."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *words):
            pass

    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as running:
        thread = threading.Thread(target=partial(running.serve_forever, poll_interval=0.01))
        thread.start()
        yield folder, f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_the_folder_asked_for_goes_before_the_environment(tmp_path, monkeypatch):
    assert data_folder() is None
    monkeypatch.setenv("BAYESNN_DATA", "")
    assert data_folder() is None
    monkeypatch.setenv("BAYESNN_DATA", str(tmp_path / "a"))
    assert data_folder() == tmp_path / "a"
    assert data_folder(tmp_path / "b") == tmp_path / "b"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data_folder("~/c") == tmp_path / "c"


def test_a_file_in_a_folder_is_taken_as_it_is(tmp_path, monkeypatch, fake):
    pooch = fake(AssertionError("nothing may be downloaded"))
    (tmp_path / "f.gz").write_bytes(b"other content")
    assert data_file("f.gz", NOWHERE, folder=tmp_path) == tmp_path / "f.gz"
    monkeypatch.setenv("BAYESNN_DATA", str(tmp_path))
    assert data_file("f.gz", NOWHERE) == tmp_path / "f.gz"
    with pytest.raises(FileNotFoundError, match=r"must hold g\.gz; there is no .*g\.gz\. .*unset BAYESNN_DATA"):
        data_file("g.gz", NOWHERE)
    assert pooch.asked == []


def test_without_folder_and_pooch_it_names_all_three_ways(monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    words = "pooch is not installed. Pass folder=FOLDER, .*f.gz; or set BAYESNN_DATA .*; or `pip install pooch`"
    with pytest.raises(FileNotFoundError, match=words):
        data_file("f.gz", NOWHERE)


def test_without_a_network_it_names_all_three_ways(fake):
    fake(ConnectionError("no route"))
    words = (
        r"from a folder or http://127\.0\.0\.1:9/f\.gz; got no route\. Pass folder=FOLDER, .*; or set BAYESNN_DATA .*; "
        "or `pip install pooch` and go online"
    )
    with pytest.raises(FileNotFoundError, match=words):
        data_file("f.gz", NOWHERE)


def test_pooch_is_asked_for_the_published_file_and_its_sum(fake, tmp_path):
    pooch = fake(FileNotFoundError("stop here"))
    with pytest.raises(FileNotFoundError, match="stop here"):
        mnist()
    (url, options), *_ = pooch.asked
    assert url == "https://ossci-datasets.s3.amazonaws.com/mnist/train-images-idx3-ubyte.gz"
    assert options["known_hash"] == "sha256:440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
    assert options["path"] / options["fname"] == tmp_path / "bayesnn" / "mnist" / "train-images-idx3-ubyte.gz"


def test_another_checksum_gets_a_sentence(fake):
    fake(ValueError("SHA256 hash of downloaded file does not match"))
    with pytest.raises(ValueError, match=f"must have the sha256 sum {RIGHT}; got another file, which was not kept"):
        data_file("f.gz", NOWHERE)


def test_a_file_is_downloaded_once_and_kept(real, server, tmp_path):
    folder, address = server
    (folder / "f.gz").write_bytes(CONTENT)
    remote = Remote(f"{address}/f.gz", RIGHT)
    path = data_file("set/f.gz", remote)
    assert path == tmp_path / "cache" / "bayesnn" / "set" / "f.gz"
    assert path.read_bytes() == CONTENT
    (folder / "f.gz").unlink()
    assert data_file("set/f.gz", remote) == path


def test_a_changed_download_is_not_kept(real, server, tmp_path):
    folder, address = server
    (folder / "f.gz").write_bytes(CONTENT + b"!")
    with pytest.raises(ValueError, match=f"must have the sha256 sum {RIGHT}; got another"):
        data_file("set/f.gz", Remote(f"{address}/f.gz", RIGHT))
    assert not (tmp_path / "cache" / "bayesnn" / "set" / "f.gz").exists()


def test_a_spoilt_cache_is_mended(real, server):
    folder, address = server
    (folder / "f.gz").write_bytes(CONTENT)
    path = data_file("f.gz", Remote(f"{address}/f.gz", RIGHT))
    path.write_bytes(b"spoilt")
    assert data_file("f.gz", Remote(f"{address}/f.gz", RIGHT)).read_bytes() == CONTENT


def test_a_server_that_is_not_there_or_has_no_such_file(real, server):
    for remote in (NOWHERE, Remote(f"{server[1]}/missing.gz", RIGHT)):
        with pytest.raises(FileNotFoundError, match=r"must come from a folder or http://127.*Pass folder=FOLDER"):
            data_file("f.gz", remote)
