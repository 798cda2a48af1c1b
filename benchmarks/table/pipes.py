"""The parent's end of a worker's pipes."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ALL = {  # what every process gets
    "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore", "TOKENIZERS_PARALLELISM": "false",
    # PyTorch's OpenMP threads spin long while others compute: 160 ms for a step of 0.3 ms
    "GOMP_SPINCOUNT": "20000",
}  # fmt: skip


class WorkerError(Exception):
    """What a worker could not do: its traceback, or that it ended."""


def environment(more: dict[str, str]) -> dict[str, str]:
    """This process's, without what would favour an engine."""
    env = {k: v for k, v in os.environ.items() if k not in ("MONOGRAPH_ENGINE", "MONOGRAPH_VERIFY")}
    return env | ALL | more


class Worker:
    """A process of `benchmarks.table.worker`; a context, after which it is gone."""

    def __init__(self, env: dict[str, str], log: Path):
        self.log = log
        with open(log, "ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.table.worker"], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=errors, env=environment(env), cwd=ROOT, text=True,
                bufsize=1,
            )  # fmt: skip

    def ask(self, do: str, **order: Any) -> dict[str, Any]:
        """An order obeyed.

        Raises:
            WorkerError: it failed.
        """
        assert self.process.stdin and self.process.stdout
        with contextlib.suppress(BrokenPipeError):  # the empty answer tells
            print(json.dumps({"do": do, **order}), file=self.process.stdin)
        line = self.process.stdout.readline()
        if not line:
            tail = self.log.read_text(errors="replace")[-2000:]
            raise WorkerError(f"the worker ended with {self.process.wait()}\n{tail}")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
