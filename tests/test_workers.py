"""Processes beside this one: what they compute comes back, and none is left when the block ends."""

import math
import multiprocessing
import time

import pytest
import torch

from bayesnn.workers import workers


def test_work_is_done_on_one_thread_in_other_processes():
    with workers(2) as pool:
        assert [f.result() for f in [pool.submit(math.sqrt, n) for n in (4, 9)]] == [2, 3]
        assert pool.submit(torch.get_num_threads).result() == 1
    assert multiprocessing.active_children() == []


def press_ctrl_c_beside(seconds):
    with workers(1) as pool:
        pool.submit(time.sleep, 0).result()  # it has begun
        pool.submit(time.sleep, seconds)
        raise KeyboardInterrupt


def test_ctrl_c_does_not_wait_for_what_runs():
    started = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        press_ctrl_c_beside(600)
    assert time.perf_counter() - started < 120
    assert multiprocessing.active_children() == []


def test_none_are_none():
    with workers(0) as pool:
        assert pool is None
