"""Peak host memory of training steps: the Torch engine against eager PyTorch.

Each side runs in a fresh process: a step on a tiny batch brings the libraries in, then the resident
memory is read, three steps on the full batch are taken, and the process's peak (``ru_maxrss``) less
that reading is what the steps needed: parameters' gradients, activations, workspaces.

    python benchmarks/bench_torch_memory.py
"""

from __future__ import annotations

import functools
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

BATCH = {"cnn": 64, "block": 16}
PAIRS = 9


def images(n: int) -> tuple[np.ndarray, np.ndarray]:
    """A batch ``[n, 56, 56, 3]`` and labels."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 56, 56, 3)).astype("float32"), rng.integers(0, 10, n)


def tokens(n: int) -> tuple[np.ndarray, np.ndarray]:
    """A batch ``[n, 256, 256]`` and labels."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 256, 256)).astype("float32"), rng.integers(0, 10, n)


def ours(name: str) -> Callable:
    """``step(x, y)`` of the Torch engine."""
    import monograph as mg
    import monograph_layers as nn
    from monograph_train import Trainer, adam, sparse_categorical_crossentropy

    def cnn(scope: Any, x: Any, training: bool = False) -> Any:
        for i, channels in enumerate((32, 64, 64)):
            x = nn.conv2d(scope / f"conv{i}", x, channels, 3, padding="same")
            x = mg.relu(nn.batch_norm(scope / f"norm{i}", x, training=training))
            x = mg.max_pool(x, 2) if i < 2 else x
        return nn.dense(scope / "logits", mg.mean(x, axis=(1, 2)), 10)

    def block(scope: Any, x: Any, training: bool = False) -> Any:
        for i in range(2):
            s = scope / f"layer{i}"
            h = nn.layer_norm(s / "norm0", x)
            q, k, v = (
                mg.reshape(nn.dense(s / n, h, 256), (*x.shape[:2], 4, 64))
                for n in ("query", "key", "value")
            )
            h = mg.reshape(mg.attention(q, k, v), x.shape)
            x = x + nn.dense(s / "out", h, 256)
            h = mg.gelu(nn.dense(s / "up", nn.layer_norm(s / "norm1", x), 1024))
            x = x + nn.dense(s / "down", h, 256)
        return nn.dense(scope / "logits", mg.mean(x, axis=1), 10)

    model = {"cnn": cnn, "block": block}[name]
    loss = functools.partial(sparse_categorical_crossentropy, from_logits=True)
    trainer = Trainer(model, loss, adam(1e-3), engine="torch")
    return lambda x, y: trainer.step(x, y)["loss"].item()


def eager(name: str) -> Callable:
    """``step(x, y)`` of PyTorch."""
    import torch
    import torch.nn.functional as F

    class Cnn(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            sizes = ((3, 32), (32, 64), (64, 64))
            self.convs = torch.nn.ModuleList(
                [torch.nn.Conv2d(a, b, 3, padding=1) for a, b in sizes]
            )
            self.norms = torch.nn.ModuleList([torch.nn.BatchNorm2d(b) for _, b in sizes])
            self.logits = torch.nn.Linear(64, 10)

        def forward(self, x: Any) -> Any:
            x = x.permute(0, 3, 1, 2)
            for i in range(3):
                x = F.relu(self.norms[i](self.convs[i](x)))
                x = F.max_pool2d(x, 2) if i < 2 else x
            return self.logits(x.mean((2, 3)))

    class Layer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm0, self.norm1 = torch.nn.LayerNorm(256), torch.nn.LayerNorm(256)
            linear = torch.nn.Linear
            self.query, self.key, self.value = (linear(256, 256) for _ in range(3))
            self.out, self.up, self.down = linear(256, 256), linear(256, 1024), linear(1024, 256)

        def forward(self, x: Any) -> Any:
            h = self.norm0(x)
            q, k, v = (
                f(h).unflatten(-1, (4, 64)).transpose(1, 2)
                for f in (self.query, self.key, self.value)
            )
            h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
            x = x + self.out(h)
            return x + self.down(F.gelu(self.up(self.norm1(x))))

    class Block(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.Sequential(Layer(), Layer())
            self.logits = torch.nn.Linear(256, 10)

        def forward(self, x: Any) -> Any:
            return self.logits(self.layers(x).mean(1))

    module = {"cnn": Cnn, "block": Block}[name]().to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3, fused=True)

    def step(x: np.ndarray, y: np.ndarray) -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(module(torch.from_numpy(x)), torch.from_numpy(y))
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def resident() -> float:
    """The process's memory now, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def child(side: str, name: str) -> None:
    """Print what the steps of one side need, in MiB."""
    step = {"ours": ours, "eager": eager}[side](name)
    data = {"cnn": images, "block": tokens}[name]
    step(*data(1))
    x, y = data(BATCH[name])
    before = resident()
    for _ in range(3):
        step(x, y)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(max(peak - before, 0.0))


def main() -> None:
    """Run the table: pairs in turn, as allocators and threads make one run part from the next."""
    print(f"{'model':<10}{'ours MiB':>10}{'eager MiB':>11}{'ratio':>8}{'  of each pair'}")
    for name in BATCH:
        pairs = [
            [
                float(subprocess.check_output([sys.executable, __file__, side, name]))
                for side in ("ours", "eager")
            ]
            for _ in range(PAIRS)
        ]
        ours, eager = (statistics.median(column) for column in zip(*pairs))
        ratios = sorted(a / b for a, b in pairs)
        each = " ".join(f"{r:.2f}" for r in ratios)
        print(f"{name:<10}{ours:>10.0f}{eager:>11.0f}{statistics.median(ratios):>8.2f}  {each}")


if __name__ == "__main__":
    child(*sys.argv[1:]) if sys.argv[1:] else main()
