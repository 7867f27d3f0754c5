"""UCI sets fetched from a server on this machine by real pooch, and checked by their numbers."""

import os
import sys
import threading
import warnings
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from bayesnn.datasets import UCI, uci, uci_download


@pytest.fixture
def source(tmp_path, monkeypatch):
    """The published layout, served: 20 splits of 22 rows, target in the middle; and its digest taken for power's."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *words):
            pass

    with warnings.catch_warnings():  # what it imports adds filters
        warnings.simplefilter("ignore")
        pooch = pytest.importorskip("pooch")
        monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)
        data = tmp_path / "power-plant" / "data"
        data.mkdir(parents=True)
        rows = np.arange(66.0).reshape(22, 3) / 7
        np.savetxt(data / "data.txt", rows, fmt="%.17g")
        np.savetxt(data / "index_features.txt", [0, 2])
        np.savetxt(data / "index_target.txt", [1])
        for split in range(20):
            np.savetxt(data / f"index_train_{split}.txt", [row for row in range(22) if row not in (split, 21)])
            np.savetxt(data / f"index_test_{split}.txt", [split, 21])
        monkeypatch.delenv("BAYESNN_DATA", raising=False)
        with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path)) as running:
            thread = threading.Thread(target=partial(running.serve_forever, poll_interval=0.01))
            thread.start()
            monkeypatch.setattr(uci_download, "_URL", f"http://127.0.0.1:{running.server_port}")
            arrays = {
                "X": rows[:, [0, 2]],
                "y": rows[:, 1],
                "train_idx": np.array([[row for row in range(22) if row not in (split, 21)] for split in range(20)]),
                "test_idx": np.array([[split, 21] for split in range(20)]),
            }
            monkeypatch.setitem(uci_download._DIGESTS, "power", uci_download.digest(arrays))
            yield data
            running.shutdown()
            thread.join()


def test_a_set_is_downloaded_once_kept_and_mended(source, tmp_path, capfd):
    split = uci("power", seed=19)
    assert torch.equal(split.y_test, torch.tensor([58.0, 64.0], dtype=torch.float64) / 7)
    assert split.x_train.shape == (20, 2)
    kept = tmp_path / "cache" / "bayesnn" / "uci" / "power.npz"
    assert [path.name for path in kept.parent.iterdir()] == ["power.npz"]
    (source / "data.txt").rename(source / "away.txt")
    assert torch.equal(uci("power", seed=19).y_test, split.y_test)
    for spoilt in (kept.read_bytes()[:300], kept.read_bytes()[:-40], b"spoilt"):
        kept.write_bytes(spoilt)
        assert not uci_download._whole("power", kept)
    with pytest.raises(FileNotFoundError, match=r"must come from a folder or http.*; got .*Pass --data FOLDER"):
        uci("power")
    (source / "away.txt").rename(source / "data.txt")
    assert torch.equal(uci("power", seed=19).y_test, split.y_test)
    assert "SHA256" not in capfd.readouterr().err


def test_other_numbers_are_not_kept(source, tmp_path):
    rows = np.loadtxt(source / "data.txt")
    rows[3, 0] = np.nextafter(rows[3, 0], 10)
    np.savetxt(source / "data.txt", rows, fmt="%.17g")
    with pytest.raises(ValueError, match="must hold power as it was published; got other numbers, which were not kept"):
        uci("power")
    assert not (tmp_path / "cache" / "bayesnn" / "uci" / "power.npz").exists()


def test_a_source_that_holds_no_numbers_is_told(source):
    (source / "index_test_3.txt").write_text("<html>moved</html>")
    with pytest.raises(ValueError, match="must hold power as it was published; got other numbers"):
        uci("power")


def test_without_folder_and_pooch_it_names_every_way(monkeypatch):
    monkeypatch.delenv("BAYESNN_DATA", raising=False)
    monkeypatch.setitem(sys.modules, "pooch", None)
    words = (
        r"pooch is not installed\. Pass --data FOLDER .*uci/yacht\.npz, or a clone of github.*or `pip install pooch`"
    )
    with pytest.raises(FileNotFoundError, match=words):
        uci("yacht")


@pytest.mark.skipif("BAYESNN_DATA" not in os.environ, reason="needs the real data: set BAYESNN_DATA")
@pytest.mark.parametrize("name", UCI)
def test_the_known_digests_are_those_of_the_real_sets(name):
    with np.load(Path(os.environ["BAYESNN_DATA"]) / "uci" / f"{name}.npz") as arrays:
        assert uci_download.digest(dict(arrays)) == uci_download._DIGESTS[name]
