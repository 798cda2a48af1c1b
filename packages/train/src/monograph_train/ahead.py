"""`ahead`: an iterator whose elements a thread makes before they are asked for."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable, Generator
from contextlib import closing
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any

_END = object()
_running: set[_Producer] = set()


class _Producer:
    """A thread that puts ``n`` elements at most into `ready` before one is taken."""

    def __init__(self, make: Callable[[], Generator], n: int):
        self.make = make
        self.ready: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        self.free = threading.Semaphore(n)
        self.stopped = False
        # a daemon: an iterator that a module still holds must not keep the program from ending
        self.thread = threading.Thread(
            target=copy_context().run, args=(self.work,), name="dataset-prefetch", daemon=True
        )
        _running.add(self)
        self.thread.start()

    def work(self) -> None:
        try:
            with closing(self.make()) as elements:
                while self.free.acquire() and not self.stopped:
                    x = next(elements, _END)
                    self.ready.put((x, None))
                    if x is _END:
                        return
        except BaseException as e:  # all of them belong to whoever iterates
            self.ready.put((None, e))

    def stop(self, timeout: float | None = None) -> None:
        self.stopped = True
        self.free.release()
        if self.thread is not threading.current_thread():  # the collector runs on any thread
            self.thread.join(timeout)
        _running.discard(self)


@atexit.register
def _stop_all() -> None:
    for producer in list(_running):
        producer.stop(timeout=5)


def ahead(make: Callable[[], Generator], n: int) -> Generator:
    """The elements of ``make()``, which runs on a thread that keeps ``n`` ready.

    The thread ends with this iterator; exceptions come through in their turn.
    """
    producer = _Producer(make, n)
    try:
        while True:
            x, error = producer.ready.get()
            if error is not None:
                raise error
            if x is _END:
                return
            producer.free.release()
            yield x
    finally:
        producer.stop()
