"""Denormal numbers inside a fit."""

import os
import subprocess
import sys

import pytest
import torch

from bayesnn import BayesianNeuralNetwork, fit_map, likelihoods, networks
from bayesnn.denormals import flushed_denormals


def are_flushed():
    return not bool(torch.full((64,), 1e-40, dtype=torch.float32).mul(1.0).any())


@pytest.fixture(params=[False, True])
def outside(request):
    before = are_flushed()
    torch.set_flush_denormal(request.param)
    yield request.param
    torch.set_flush_denormal(before)


def test_tiny_numbers_are_zero_inside_and_what_they_were_outside(outside):
    with flushed_denormals():
        with flushed_denormals():
            assert are_flushed()
        assert are_flushed()
    assert are_flushed() == outside
    with pytest.raises(KeyError), flushed_denormals():
        raise KeyError
    assert are_flushed() == outside


def test_a_fit_flushes_them_and_leaves_no_trace(outside):
    seen = []
    model = BayesianNeuralNetwork(networks.mlp(2, 1, hidden=3), likelihood=likelihoods.gaussian)
    x = torch.randn(20, 2)
    fit_map(model, x, x.sum(1), num_epochs=2, progress=False, callback=lambda *_: seen.append(are_flushed()))
    assert seen == [True, True]
    assert are_flushed() == outside


def test_helping_threads_made_during_a_fit_do_not_keep_the_setting():
    code = (
        "import torch; from bayesnn.denormals import flushed_denormals\n"
        "torch.set_num_threads(2)\n"
        "with flushed_denormals(): torch.ones(4_000_000).add_(1.0)\n"
        "assert torch.full((4_000_000,), 1e-40).mul(1.0).view(torch.int32).count_nonzero() == 4_000_000"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "OMP_NUM_THREADS": "2"})
