"""Makes the SavedModel beside this file; needs tensorflow and jax: ``python make.py``."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tensorflow as tf
from jax import export
from tensorflow.compiler.tf2xla.ops import gen_xla_ops

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "model"


def network(w, b, c, x):
    return jnp.tanh(x @ w + b) + c


class Model(tf.Module):
    """Three variables, two of one name, and a program of ``jax.export`` for several platforms and any batch."""

    def __init__(self):
        w = np.arange(12, dtype="float32").reshape(3, 4) / 10 - 0.5
        self.w = tf.Variable(w, name="dense/w")
        b = np.array([0, 1, -1, 0.5], "float32")
        self.offsets = [tf.Variable(b, name="offset"), tf.Variable(2 * b, name="offset")]
        (batch,) = export.symbolic_shape("batch")
        specs = [(3, 4), (4,), (4,), (batch, 3)]
        made = export.export(jax.jit(network), platforms=["cpu", "cuda"])(
            *[jax.ShapeDtypeStruct(s, "float32") for s in specs]
        )
        self.program = made.mlir_module_serialized

    @tf.function(input_signature=[tf.TensorSpec((None, 3), tf.float32, name="x")], autograph=False)
    def __call__(self, x):
        (y,) = gen_xla_ops.xla_call_module(
            [self.w, *self.offsets, x], version=9, module=self.program, Sout=[(None, 4)], Tout=[tf.float32],
            platforms=["CPU", "CUDA"], dim_args_spec=[], function_list=[], disabled_checks=[],
            has_token_input_output=False,
        )  # fmt: skip
        return {"y": y}


model = Model()
tf.saved_model.save(model, str(FOLDER), signatures=model.__call__)
