"""Jumping knowledge against PyG's: results and all gradients."""

import monograph as mg
import monograph_gnn as gnn
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the reference")


@pytest.mark.parametrize("mode", ["cat", "max", "lstm"])
def test_jumping_knowledge(pyg, agrees, shaken, engine, rng, mode):
    module = shaken(pyg.JumpingKnowledge(mode, 4, 3))
    weights = {}
    if mode == "lstm":
        for way, suffix in (("forward", ""), ("backward", "_reverse")):
            given = {n: getattr(module.lstm, f"{n}_l0{suffix}") for n in NAMES}
            with torch.no_grad():  # ours is the sum of both
                given["bias_hh"].zero_()
            weights |= {
                f"lstm/{way}/kernel": (given["weight_ih"], np.transpose),
                f"lstm/{way}/recurrent_kernel": (given["weight_hh"], np.transpose),
                f"lstm/{way}/bias": given["bias_ih"],
            }
        weights["attention"] = module.att
    agrees(
        engine,
        lambda scope, *xs: gnn.jumping_knowledge(scope, xs, mode),
        [rng.normal(size=(20, 4)).astype("float32") for _ in range(3)],
        weights,
        lambda *xs: module(list(xs)),
    )


NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def test_what_cannot_be_joined_is_named():
    x = np.ones((3, 2), "float32")
    call = lambda mode, *xs: mg.Store().bind(
        lambda scope, *xs: gnn.jumping_knowledge(scope, xs, mode), "numpy"
    )(*xs)
    with pytest.raises(mg.errors.ArgumentError, match="cat, max, lstm; got 1, 'sum'"):
        call("sum", x)
    with pytest.raises(mg.errors.ShapeError, match=r"one shape, got \[\(3, 2\), \(3, 1\)\]"):
        call("max", x, x[:, :1])
    with pytest.raises(mg.errors.ArgumentError, match="needs results"):
        call("cat")
