"""Processes beside this one: what they compute comes back, and none is left when the block ends."""

import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor, Future
from pathlib import Path

import pytest
import torch

from bayesnn.workers import Shared, workers


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


KILLED = """
import os, time
from bayesnn.workers import workers
if __name__ == "__main__":
    with workers(1) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(time.sleep, 600).result()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
def test_none_outlives_a_process_that_is_killed(tmp_path):
    (tmp_path / "killed.py").write_text(KILLED)
    with subprocess.Popen([sys.executable, tmp_path / "killed.py"], stdout=subprocess.PIPE, text=True) as beside:
        worker = int(beside.stdout.readline())
        os.kill(worker, 0)  # it runs
        beside.kill()
    for _ in range(300):
        if not runs(worker):
            return
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker went on for half a minute")


def runs(process):
    """Whether a process is there, and not only its name, which nobody may have asked for."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process}/stat")
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")


STOPPED = """
import signal, sys, time
from tqdm.auto import tqdm
from bayesnn.workers import workers
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    try:
        with workers(2) as pool:
            print("beginning", flush=True)
            if sys.argv[1] == "late":
                print(pool.submit(list, pool.submit(tqdm, range(3), disable=True).result()).result(), flush=True)
            time.sleep(600)
    except KeyboardInterrupt:
        print("stopped")
"""


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="no groups of processes here")
@pytest.mark.parametrize("when", ["early", "late"])
def test_ctrl_c_makes_no_noise(when, tmp_path):
    (tmp_path / "stopped.py").write_text(STOPPED)
    command, pipe = [sys.executable, tmp_path / "stopped.py", when], subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as beside:
        assert beside.stdout.readline() == "beginning\n"
        assert when == "early" or beside.stdout.readline() == "[0, 1, 2]\n"
        os.killpg(beside.pid, signal.SIGINT)
        assert beside.communicate() == ("stopped\n", "")


def test_none_are_none():
    with workers(0) as pool:
        assert pool is None


def test_pieces_are_given_one_at_a_time_and_taken_from_the_other_end():
    futures = {}

    def begin(piece):
        futures[piece] = Future()
        return futures[piece]

    shared = Shared("abcdef", begin, 2)
    assert list(shared.begun) == ["a", "b"]
    assert shared.take() == "f"
    futures["b"].set_result(None)
    assert list(shared.begun) == ["a", "b", "c"]
    futures["a"].set_exception(ValueError())  # one that failed keeps no other from being done
    assert shared.take() == "e"
    assert shared.take() is None
    futures["c"].set_result(None)
    assert list(shared.begun) == ["a", "b", "c", "d"]


def test_what_a_shut_pool_was_not_given_is_left_for_this_process():
    futures = [Future()]

    def begin(piece):
        if piece > 0:
            raise RuntimeError
        return futures[0]

    shared = Shared(range(3), begin, 1)
    futures[0].set_result(None)
    assert list(shared.begun) == [0]
    assert [shared.take() for _ in range(3)] == [2, 1, None]


def test_every_piece_is_done_once_by_processes_and_this_one():
    with workers(2) as pool:
        shared = Shared(range(40), lambda piece: pool.submit(math.sqrt, piece), 2)
        here = []
        while (piece := shared.take()) is not None:
            here.append(piece)
            time.sleep(0.005)
        done = {piece: future.result() for piece, future in shared.begun.items()}
    assert sorted([*here, *done]) == list(range(40))
    assert here
    assert done == {piece: math.sqrt(piece) for piece in done}


def die(seconds):
    time.sleep(seconds)
    os._exit(1)


def test_a_process_that_dies_leaves_the_rest_to_this_one():
    with workers(1) as pool:
        shared = Shared(range(4), lambda piece: pool.submit(die, 0.1), 1)
        with pytest.raises(BrokenExecutor):
            shared.begun[0].result(timeout=120)
        assert [shared.take() for _ in range(4)] == [3, 2, 1, None]
    assert multiprocessing.active_children() == []


def shared_and_ctrl_c():
    with workers(1) as pool:
        pool.submit(time.sleep, 0).result()
        Shared(range(1, 5), lambda piece: pool.submit(time.sleep, 600), 1)
        raise KeyboardInterrupt


def test_ctrl_c_does_not_wait_for_pieces_that_were_not_begun():
    started = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        shared_and_ctrl_c()
    assert time.perf_counter() - started < 120
    assert multiprocessing.active_children() == []
