"""Workers: independent pieces of a long job in processes beside this one."""

from __future__ import annotations

import os
import signal
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from threading import RLock, Thread
from typing import Any, Generic, TypeVar

import torch
from tqdm.auto import tqdm

__all__ = ["Shared", "workers"]


@contextmanager
def workers(number: int) -> Iterator[Executor | None]:
    """Processes that take work while this one goes on; ``None`` where there are to be none.

    Each begins anew (no fork: torch's threads do not survive one), computes on one thread, says nothing of warnings,
    and leaves Ctrl-C to this process. When this block ends, work that was not begun is dropped; on an error or Ctrl-C
    what runs is ended too, and likewise if this process is killed.

    Args:
        number: How many.

    Example:
        >>> with workers(0) as pool:
        ...     print(pool)
        None
    """
    if number < 1:
        yield None
        return
    before = set(active_children())
    pool = ProcessPoolExecutor(number, mp_context=get_context("spawn"), initializer=_begin)
    try:
        with _ctrl_c_waits():  # one that is still beginning would answer with a traceback
            for _ in range(number):
                pool.submit(int)
        yield pool
    except BaseException:
        for process in set(active_children()) - before:
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


Piece = TypeVar("Piece")


class Shared(Generic[Piece]):
    """Pieces of work that processes beside this one take from the front, and this one from the back.

    A process is given a piece when it has finished the one before. A pool that is given all at once has always one more
    in hand than it has processes, which then waits while this one has nothing to do.

    Args:
        pieces: What is to be done, in order.
        begin: Hands a piece to the pool.
        number: Processes of the pool.

    Attributes:
        begun: What the pool has in hand or has done.
    """

    def __init__(self, pieces: Sequence[Piece], begin: Callable[[Piece], Future], number: int) -> None:
        self._waiting, self._begin, self._lock = deque(pieces), begin, RLock()
        self.begun: dict[Piece, Future] = {}
        for _ in range(number):
            self._give()

    def take(self) -> Piece | None:
        """A piece for this process; ``None`` if all are taken."""
        with self._lock:
            return self._waiting.pop() if self._waiting else None

    def _give(self, ended: Future | None = None) -> None:
        if ended is not None and (ended.cancelled() or isinstance(ended.exception(), BrokenExecutor)):
            return  # the pool ends, and may hold the very lock that another piece would ask for
        with self._lock:
            if not self._waiting:
                return
            piece = self._waiting[0]
            try:
                self.begun[piece] = future = self._begin(piece)
            except RuntimeError:  # the pool was shut: what waits is left for this one
                return
            self._waiting.popleft()
        future.add_done_callback(self._give)


@contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """Ctrl-C comes when the block has ended; processes that begin within it never see one."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tqdm.set_lock(RLock())  # its own is a semaphore, which a process that is ended would leave behind
    Thread(target=_end_with, args=(parent_process(),), daemon=True).start()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")


def _end_with(parent: Any) -> None:
    """A process that is killed cannot end its own; without it they would fit on for nobody."""
    parent.join()
    os._exit(1)
