"""What the tests of graph networks share."""

import warnings

import monograph as mg
import numpy as np
import pytest

ENGINES = [e.name for e in mg.engines() if e.ok and e.name in ("numpy", "xla", "torch")]


@pytest.fixture(params=ENGINES)
def engine(request):
    """The name of every engine that works here."""
    return request.param


@pytest.fixture(scope="session")
def pyg():
    """PyG's layers, ``torch_geometric.nn``; importing it warns of torch's own deprecations."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("torch_geometric.nn", reason="the reference")


@pytest.fixture
def rng():
    """Random numbers, the same in every run."""
    return np.random.default_rng(0)


@pytest.fixture
def edges(rng):
    """Senders and receivers of 50 edges: loops, an edge that is there twice, nodes without any of 20."""
    senders, receivers = rng.integers(0, 17, 50), rng.integers(0, 17, 50)
    senders[:3], receivers[:3] = [4, 9, 11], [4, 9, 11]
    senders[3], receivers[3] = senders[5], receivers[5]
    return senders, receivers


@pytest.fixture
def shaken():
    """A function: a torch module with other numbers than it begins with, which are zeros too often."""

    def shake(module):
        import torch

        draws = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for p in module.parameters():
                p += 0.2 * torch.randn(p.shape, generator=draws)
        return module

    return shake


@pytest.fixture
def agrees():
    """`agreement`, for tests."""
    return agreement


def agreement(engine, layer, inputs, weights, reference, tolerance=1e-5):
    """A layer's result and all gradients of ``sum(sin(result))`` are those of a torch function.

    Args:
        layer: ``(scope, *inputs) -> result``.
        inputs: float arrays.
        weights: path below the layer's scope -> ``(torch parameter, how to lay it out)``, the second a
            function of arrays such as ``np.transpose``, which its gradient goes through, too; a list of
            parameters is one array of all. A parameter alone stays as it is; of a torch linear or norm
            come both parameters by our names; None is nothing.
        reference: ``(*tensors) -> tensor``, of the inputs.
        tolerance: of the largest magnitude.
    """
    import torch

    weights = dict(laid_out(weights))
    store = mg.Store(seed=0)
    names = [f"input/{i}" for i in range(len(inputs))]

    def result(scope):
        xs = [scope.parameter(n, x.shape, 0.0, x.dtype) for n, x in zip(names, inputs)]
        return layer(scope / "layer", *xs)

    def both(scope):
        out, grads = scope.value_and_grad(
            lambda: (lambda y: (mg.sum(mg.sin(y)), y))(result(scope)), has_aux=True
        )()
        return out[1], grads

    store.bind(result, engine).trace()
    made = {p.removeprefix("layer/") for p in store.trainable if p.startswith("layer/")}
    assert made == set(weights), f"its parameters are {sorted(made)}"
    for name, x in zip(names, inputs):
        store[name] = x
    for path, (parameter, lay_out) in weights.items():
        value = lay_out(joined(parameter, lambda p: p.detach()))
        spec = store.spec(f"layer/{path}")
        assert value.shape == spec.shape, path
        store[f"layer/{path}"] = np.ascontiguousarray(value, spec.dtype.numpy)
    got, grads = store.bind(both, engine)()

    tensors = [torch.tensor(x, requires_grad=True) for x in inputs]
    want = reference(*tensors)
    torch.sin(want).sum().backward()
    close(got.numpy(), want.detach().numpy(), tolerance, "result")
    for name, tensor in zip(names, tensors):
        close(grads[name].numpy(), tensor.grad.numpy(), tolerance, f"gradient by {name}")
    for path, (parameter, lay_out) in weights.items():
        wanted = lay_out(joined(parameter, lambda p: p.grad))
        close(grads[f"layer/{path}"].numpy(), wanted, tolerance, f"gradient by {path}")


def laid_out(weights):
    import torch

    for path, value in weights.items():
        if isinstance(value, torch.nn.Module):
            kernel = value.weight.ndim > 1
            names = ("kernel", "bias") if kernel else ("gamma", "beta")
            yield f"{path}/{names[0]}".lstrip("/"), (value.weight, np.transpose if kernel else same)
            if value.bias is not None:
                yield f"{path}/{names[1]}".lstrip("/"), (value.bias, same)
        elif value is not None:
            yield path, (value, same) if isinstance(value, torch.nn.Parameter) else value


def same(a):
    return a


def joined(parameter, read):
    """The array of a parameter, or those of several in one."""
    if isinstance(parameter, list):
        return np.stack([read(p).numpy() for p in parameter])
    return read(parameter).numpy()


def close(got, want, tolerance, what):
    assert got.shape == want.shape, what
    scale = max(1.0, np.abs(want).max(initial=0))
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * scale, err_msg=what)
