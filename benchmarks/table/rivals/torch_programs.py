"""PyTorch's programs: a module in eager mode, compiled by inductor, or exported to onnxruntime."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from .. import cases
from ..cases import Program
from .pytorch import MODELS, PUBLISHED
from .torch_weights import load

Run = Callable[[torch.nn.Module], Callable]


def tensors(x: Any) -> Any:
    """A case's data: images channels first, in memory as they were; edges as PyG's pairs."""
    if isinstance(x, dict):
        edges = torch.tensor(np.stack([x["senders"], x["receivers"]])).long()
        return {"x": torch.tensor(x["x"]), "edges": edges}
    x = torch.tensor(x)
    if x.ndim == 4:
        return x.permute(0, 3, 1, 2)
    return x.long() if x.dtype == torch.int32 else x


def made(name: str, weights: dict[str, np.ndarray]) -> torch.nn.Module:
    """The module with our weights, images' kernels laid out channels last."""
    module = MODELS[name]()
    load(module, weights, PUBLISHED.get(name))
    return module.to(memory_format=torch.channels_last)


def logits(y: Any) -> torch.Tensor:
    """Of a module, or of transformers' output."""
    return getattr(y, "logits", y)


def build(
    name: str, mode: str, weights: dict[str, np.ndarray], run: Run = lambda module: module
) -> Program:
    """``run`` is what makes of a module what is called."""
    case, module = cases.CASES[name], made(name, weights)
    x, labels = case.batch(mode)
    x, labels = tensors(x), torch.tensor(labels).long()
    if name == "gpt":
        return generation(module.eval(), run, x)
    if mode == "inference":
        call = run(module.eval())

        def infer() -> torch.Tensor:
            with torch.inference_mode():
                return logits(call(x))

        return Program(infer, lambda y: y.numpy())
    call = run(module.train())
    learned = [p for p in module.parameters() if p.requires_grad]
    if case.optimizer == "sgd":
        update = torch.optim.SGD(
            learned, cases.SGD["rate"], cases.SGD["momentum"], fused=True
        )  # fmt: skip
    else:
        a = cases.ADAM
        update = torch.optim.Adam(learned, a["rate"], (a["b1"], a["b2"]), a["epsilon"], fused=True)

    def train() -> torch.Tensor:
        update.zero_grad(set_to_none=True)
        loss = F.cross_entropy(logits(call(x)), labels)
        loss.backward()
        update.step()
        return loss.detach()

    return Program(train, lambda y: y.numpy())


def compiled(name: str, mode: str, weights: dict[str, np.ndarray]) -> Program:
    """``torch.compile`` with its defaults: inductor."""
    return build(name, mode, weights, torch.compile)


def generation(module: Any, run: Run, ids: torch.Tensor) -> Program:
    """transformers' decoder: eager with the cache that grows, compiled with the static one."""
    from transformers import DynamicCache, StaticCache

    call, static = run(module), run is torch.compile
    cache = StaticCache(module.config, max_cache_len=cases.PROMPT + cases.NEW) if static else None

    def step() -> torch.Tensor:
        with torch.inference_mode():
            held = cache or DynamicCache()
            held.reset()
            token = ids
            for i in range(cases.NEW):
                out = (call if i else module)(token, cache=held, use_cache=True, logits_to_keep=1)
                y = out.logits[:, -1]
                token = y.argmax(-1, keepdim=True)
        return y

    return Program(step, lambda y: y.numpy())


def onnx(name: str, mode: str, weights: dict[str, np.ndarray]) -> Program:
    """The module as an ONNX file in onnxruntime."""
    import onnxruntime

    module = made(name, weights).eval().to(memory_format=torch.contiguous_format)
    x = tensors(cases.CASES[name].batch(mode)[0]).contiguous()
    file = io.BytesIO()
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the exporter without onnxscript is called legacy
        torch.onnx.export(module, (x,), file, input_names=["x"], dynamo=False, opset_version=18)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = os.cpu_count() or 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        file.getvalue(), options, providers=["CPUExecutionProvider"]
    )
    fed = {"x": x.numpy()}
    return Program(lambda: session.run(None, fed)[0], np.asarray)
