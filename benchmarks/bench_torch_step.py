"""Training steps on the Torch engine against eager PyTorch: time of ours over time of theirs.

Pairs are interleaved in one process and the median of their ratios is taken; both sides start from
the same parameters, and the losses they arrive at are compared.

    python benchmarks/bench_torch_step.py [--threads 1] [--rounds 60]
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

import monograph as mg
import monograph_layers as nn
import numpy as np
import torch
import torch.nn.functional as F
from monograph_train import Trainer, adam, sparse_categorical_crossentropy

RATE = 1e-3
loss = functools.partial(sparse_categorical_crossentropy, from_logits=True)


def mlp(scope: Any, x: Any, training: bool = False) -> Any:
    """32-64-64-10 with relu."""
    for i in range(2):
        x = mg.relu(nn.dense(scope / f"hidden{i}", x, 64))
    return nn.dense(scope / "logits", x, 10)


class TorchMlp(torch.nn.Module):
    """`mlp` in PyTorch."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden0, self.hidden1 = torch.nn.Linear(32, 64), torch.nn.Linear(64, 64)
        self.logits = torch.nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits(F.relu(self.hidden1(F.relu(self.hidden0(x)))))


def cnn(scope: Any, x: Any, training: bool = False) -> Any:
    """Three 3x3 convolutions with batch_norm and relu, pooled twice, then a dense layer."""
    for i, channels in enumerate((16, 32, 32)):
        x = nn.conv2d(scope / f"conv{i}", x, channels, 3, padding="same")
        x = mg.relu(nn.batch_norm(scope / f"norm{i}", x, training=training))
        x = mg.max_pool(x, 2) if i < 2 else x
    return nn.dense(scope / "logits", mg.mean(x, axis=(1, 2)), 10)


class TorchCnn(torch.nn.Module):
    """`cnn` in PyTorch, channels first as it is usually written."""

    def __init__(self) -> None:
        super().__init__()
        for i, (a, b) in enumerate(((3, 16), (16, 32), (32, 32))):
            setattr(self, f"conv{i}", torch.nn.Conv2d(a, b, 3, padding=1))
            setattr(self, f"norm{i}", torch.nn.BatchNorm2d(b, eps=1e-3, momentum=0.01))
        self.logits = torch.nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for i in range(3):
            x = F.relu(getattr(self, f"norm{i}")(getattr(self, f"conv{i}")(x)))
            x = F.max_pool2d(x, 2) if i < 2 else x
        return self.logits(x.mean((2, 3)))


def copy_parameters(store: mg.Store, module: torch.nn.Module) -> None:
    """Give ``module`` the parameters of ``store``, in PyTorch's layouts."""
    names = {"kernel": "weight", "gamma": "weight", "bias": "bias", "beta": "bias"}
    with torch.no_grad():
        for path in store.trainable:
            layer, _, name = path.rpartition("/")
            value = torch.from_numpy(store[path].numpy().copy())
            if name == "kernel":
                value = value.permute(3, 2, 0, 1) if value.ndim == 4 else value.t()
            module.get_parameter(f"{layer}.{names[name]}").copy_(value)


def eager_step(module: torch.nn.Module) -> Callable:
    """One step of eager PyTorch with its fastest Adam."""
    optimizer = torch.optim.Adam(module.parameters(), lr=RATE, fused=True)

    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(module(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


def plain_step(params: dict[str, Any]) -> Callable:
    """The same step of `mlp` as a jitted function of its own state, which it is given for good."""

    def forward(p: dict[str, Any], x: Any, y: Any) -> Any:
        for i in range(2):
            x = mg.relu(x @ p[f"hidden{i}/kernel"] + p[f"hidden{i}/bias"])
        return mg.mean(loss(y, x @ p["logits/kernel"] + p["logits/bias"]))

    def step(state: dict[str, Any], x: Any, y: Any) -> Any:
        p, names = state["p"], sorted(state["p"])
        loss, grads = mg.value_and_grad(forward)(p, x, y)
        count = state["count"] + 1.0
        groups = [[g[n] for n in names] for g in (p, grads, state["m"], state["v"])]
        flat = [a for group in groups for a in group]
        out = mg.ops.adam_update(mg.asarray(RATE), count, *flat, count=len(names))
        k = len(names)
        new = [dict(zip(names, out[i * k : (i + 1) * k])) for i in range(3)]
        return loss, {"p": new[0], "m": new[1], "v": new[2], "count": count}

    jitted = mg.jit(step, engine="torch", donate_argnums=0)

    def tensors(f: Callable) -> dict[str, Any]:
        return {n: mg.tensor(f(a), device="torch") for n, a in params.items()}

    state = {
        "p": tensors(np.array), "m": tensors(np.zeros_like), "v": tensors(np.zeros_like),
        "count": mg.tensor(np.float32(0), device="torch"),
    }  # fmt: skip

    def run(x: Any, y: Any) -> Any:
        nonlocal state
        loss, state = jitted(state, x, y)
        return loss

    return run


def compare(name: str, ours: Callable, theirs: Callable, rounds: int, steps: int) -> None:
    """Print the median ratio, both times, and the last losses."""
    pairs, last = [], (0.0, 0.0)
    for _ in range(rounds):
        times = []
        for step in (ours, theirs):
            start = time.perf_counter()
            for _ in range(steps):
                loss = step()
            times.append((time.perf_counter() - start) / steps * 1e6)
            last = (*last[1:], float(loss.item()))
        pairs.append(times)
    ratio = statistics.median(a / b for a, b in pairs)
    us, them = (statistics.median(p[i] for p in pairs) for i in (0, 1))
    print(f"{name:<34}{us:>10.1f}{them:>10.1f}{ratio:>8.2f}   losses {last[0]:.5f} {last[1]:.5f}")
    if abs(last[0] - last[1]) > 1e-3 * max(1, abs(last[1])):
        raise SystemExit(f"{name}: the losses differ")


def main() -> None:
    """Run the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=60)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rng = np.random.default_rng(0)
    print(f"{'step':<34}{'ours us':>10}{'eager us':>10}{'ratio':>8}")

    x, y = rng.normal(size=(64, 32)).astype("float32"), rng.integers(0, 10, 64)
    tx, ty = torch.from_numpy(x), torch.from_numpy(y)
    dx, dy = mg.tensor(x, device="torch"), mg.tensor(y, device="torch")

    def trainer(model: Callable, x: Any) -> Trainer:
        made = Trainer(model, loss, adam(RATE), engine="torch")
        made.predict(x)  # makes the variables
        return made

    def eager(made: Trainer, module: torch.nn.Module) -> Callable:
        copy_parameters(made.store, module)
        return eager_step(module)

    made = trainer(mlp, dx)
    params = {p: made.store[p].numpy().copy() for p in made.store.trainable}
    theirs = eager(made, TorchMlp())
    compare(
        "MLP, Trainer.step",
        lambda: made.step(dx, dy)["loss"],
        lambda: theirs(tx, ty),
        args.rounds,
        50,
    )
    made = trainer(mlp, dx)
    theirs = eager(made, TorchMlp())
    compare(
        "MLP, Trainer.step, NumPy batches", lambda: made.step(x, y)["loss"],
        lambda: theirs(torch.from_numpy(x), torch.from_numpy(y)), args.rounds, 50,
    )  # fmt: skip
    ours, theirs2 = plain_step(params), eager(trainer(mlp, dx), TorchMlp())
    compare(
        "MLP, jit with donation", lambda: ours(dx, dy), lambda: theirs2(tx, ty), args.rounds, 50
    )

    x, y = rng.normal(size=(16, 28, 28, 3)).astype("float32"), rng.integers(0, 10, 16)
    dx, dy = mg.tensor(x, device="torch"), mg.tensor(y, device="torch")
    tx, ty = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(y)
    small = trainer(cnn, dx)
    theirs3 = eager(small, TorchCnn())
    compare(
        "CNN, Trainer.step",
        lambda: small.step(dx, dy)["loss"],
        lambda: theirs3(tx, ty),
        max(5, args.rounds // 6),
        3,
    )
    last = trainer(cnn, dx)
    module = TorchCnn().to(memory_format=torch.channels_last)
    theirs4 = eager(last, module)
    tl = tx.to(memory_format=torch.channels_last)
    compare(
        "CNN, against channels_last",
        lambda: last.step(dx, dy)["loss"],
        lambda: theirs4(tl, ty),
        max(5, args.rounds // 6),
        3,
    )


if __name__ == "__main__":
    main()
