"""Walks that work ahead in threads. Their state is that of what came out, not of what is ready."""

from __future__ import annotations

import queue
import threading
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import monograph as mg

from .walks import Walk, apply, counted, part


class MapWorkers(Walk):
    """A function of each sample, run ahead by threads; the order stays."""

    def __init__(self, inner: Walk, fn: Callable, seed: tuple | None, at: Any, workers: int):
        self.inner, self.fn, self.seed = inner, fn, seed
        self.place = counted("place", part(at, "place"))
        self.pool = ThreadPoolExecutor(workers, "monograph-map")
        self.pending: deque[tuple[Future, Any]] = deque()
        self.ahead, self.error = 2 * workers, None  # type: tuple[int, BaseException | None]
        self.last = {"inner": inner.state(), "place": self.place} if at is None else at

    def __next__(self) -> Any:
        while self.error is None and len(self.pending) < self.ahead:
            try:
                sample = next(self.inner)
            except BaseException as e:  # the end, or a failure: after the samples before it
                self.error = e
                break
            # a context of its own: the engine chosen here is the one of fn too
            job = self.pool.submit(
                copy_context().run, apply, self.fn, self.seed, sample, self.place
            )
            self.place += 1
            self.pending.append((job, {"inner": self.inner.state(), "place": self.place}))
        if not self.pending:
            self.close()
            raise self.error  # type: ignore[misc]
        job, state = self.pending.popleft()
        out = job.result()
        self.last = state
        return out

    def state(self) -> Any:
        """That of the last sample that came out."""
        return self.last

    def close(self) -> None:
        """End the threads and wait for them; what is not begun is dropped."""
        self.pool.shutdown(wait=True, cancel_futures=True)
        self.inner.close()


END = object()


class PrefetchThread(Walk):
    """Items made ready by a thread, as tensors on an engine where one is named."""

    def __init__(self, inner: Walk, count: int, engine: Any, at: Any):
        self.ready: queue.Queue = queue.Queue(count)
        self.stopped = threading.Event()
        self.last = inner.state() if at is None else at
        self.done = False
        thread = threading.Thread(
            target=copy_context().run, args=(fill, inner, self.ready, self.stopped, engine),
            name="monograph-prefetch", daemon=True,
        )  # fmt: skip
        # the thread knows nothing of this object, so that dropping it ends the thread
        self._finalizer = weakref.finalize(self, stop, self.ready, self.stopped, thread)
        thread.start()

    def __next__(self) -> Any:
        if self.done:
            raise StopIteration
        item, state, error = self.ready.get()
        if error is not None or item is END:
            self.done = True
            self.close()
            if error is not None:
                raise error
            raise StopIteration
        self.last = state
        return item

    def state(self) -> Any:
        """That of the last item that came out."""
        return self.last

    def close(self) -> None:
        """End the thread and wait for it."""
        self.done = True
        self._finalizer()


def fill(inner: Walk, ready: queue.Queue, stopped: threading.Event, engine: Any) -> None:
    """The thread: items with the state behind each, then the end or the error."""

    def offer(item: Any, state: Any, error: BaseException | None) -> None:
        while not stopped.is_set():
            try:
                return ready.put((item, state, error), timeout=0.1)
            except queue.Full:
                continue

    try:
        for item in inner:
            state = inner.state()
            if engine is not None:
                with mg.engine(engine):
                    item = mg.tree.map(mg.tensor, item)
            offer(item, state, None)
            if stopped.is_set():
                break
        offer(END, None, None)
    except BaseException as e:  # SystemExit too: whoever waits must hear of it
        offer(None, None, e)
    finally:
        inner.close()


def stop(ready: queue.Queue, stopped: threading.Event, thread: threading.Thread) -> None:
    """Tell the thread to end, make room for what it may be putting, and wait."""
    stopped.set()
    while not ready.empty():
        try:
            ready.get_nowait()
        except queue.Empty:
            break
    if thread is not threading.current_thread():
        thread.join(timeout=10)
