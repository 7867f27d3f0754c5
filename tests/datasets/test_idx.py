"""IDX files, written here by their description and read back; and files that are something else."""

import gzip
import struct

import pytest
import torch

from bayesnn.datasets.idx import read_idx


def packed(path, magic, lengths, content):
    path.write_bytes(gzip.compress(struct.pack(f">{1 + len(lengths)}I", magic, *lengths) + bytes(content)))
    return path


def test_values_come_in_the_order_of_the_file(tmp_path):
    values = read_idx(packed(tmp_path / "f.gz", 2051, (2, 3, 4), range(200, 224)), 3)
    assert values.dtype == torch.uint8
    assert values.equal(torch.arange(200, 224).reshape(2, 3, 4).to(torch.uint8))
    labels = read_idx(packed(tmp_path / "g.gz", 2049, (3,), [7, 0, 255]), 1)
    assert labels.tolist() == [7, 0, 255]
    labels[0] = 1  # memory of its own


def test_a_file_that_is_something_else_gets_a_sentence(tmp_path):
    plain = tmp_path / "plain.gz"
    plain.write_bytes(b"<html>not found</html>")
    with pytest.raises(ValueError, match=r"plain\.gz must be a whole gzipped file; got .*\. Get it anew"):
        read_idx(plain, 1)
    whole = packed(tmp_path / "whole.gz", 2049, (3,), [1, 2, 3])
    cut = tmp_path / "cut.gz"
    cut.write_bytes(whole.read_bytes()[:-12])
    with pytest.raises(ValueError, match="must be a whole gzipped file"):
        read_idx(cut, 1)
    bent = bytearray(whole.read_bytes())
    bent[12] ^= 255
    cut.write_bytes(bent)
    with pytest.raises(ValueError, match="must be a whole gzipped file"):
        read_idx(cut, 1)


def test_a_header_that_does_not_fit_gets_a_sentence(tmp_path):
    labels = packed(tmp_path / "labels.gz", 2049, (20,), range(20))
    with pytest.raises(ValueError, match=r"magic number 2051, unsigned bytes along 3 axes; got 2049\. Are .* swapped"):
        read_idx(labels, 3)
    floats = packed(tmp_path / "floats.gz", 0x0D01, (1,), [0, 0, 0, 0])
    with pytest.raises(ValueError, match="magic number 2049"):
        read_idx(floats, 1)
    short = packed(tmp_path / "short.gz", 2049, (), [])
    with pytest.raises(ValueError, match="must begin with 8 bytes of IDX header; got 4 bytes"):
        read_idx(short, 1)


@pytest.mark.parametrize("held", [23, 25])
def test_a_length_that_does_not_fit_gets_a_sentence(tmp_path, held):
    with pytest.raises(ValueError, match=f"must hold 2 x 3 x 4 = 24 bytes after its header; got {held}"):
        read_idx(packed(tmp_path / "f.gz", 2051, (2, 3, 4), [0] * held), 3)
