"""Recurrent layers over ``[batch, time, features]``: one product for all inputs, then a scan.

The options of all of them, Keras's:

- ``kernel_initializer``, ``recurrent_initializer``, ``kernel_regularizer``, ``recurrent_regularizer``;
- ``dropout`` of the inputs and ``recurrent_dropout`` of the state, in training: one choice for all times
  (Gal and Ghahramani 2016), and, other than in Keras, for all gates;
- ``return_sequences``: the outputs of all times, ``[batch, time, units]``, not the last one's alone;
- ``return_state``: a tuple of the outputs and each array of the last state;
- ``go_backwards``: outputs are then in the order computed, the last time first;
- ``initial_state``: an array ``[batch, units]``, or a tuple of those that a state has; zeros by default;
- ``mask``: bools ``[batch, time]``; where false, output and state stay what they were, but with
  ``zero_output_for_mask`` the outputs of all times are 0 there.

A state or mask of another shape is a ShapeError.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import monograph as mg
from monograph import ops

from .activations import Activation, activate
from .authoring import layer, refuse
from .initializers import Init, glorot_uniform, ones, orthogonal, zeros
from .regularization import dropout as drop
from .regularizers import Regularizer

ORTHOGONAL = orthogonal()  # Keras's default for the recurrent kernel
Step = Callable[
    [Any, tuple], tuple
]  # (a step's inputs [batch, ...], state) -> state; [0] is the output


def _recur(
    scope: mg.Scope, name: str, x: Any, units: int, gates: int, states: int,
    step: Callable[[Any, Any], Step], *, kernel_initializer: Init = glorot_uniform,
    recurrent_initializer: Init = ORTHOGONAL, kernel_regularizer: Regularizer = None,
    recurrent_regularizer: Regularizer = None, dropout: float = 0.0,
    recurrent_dropout: float = 0.0, return_sequences: bool = False, return_state: bool = False,
    go_backwards: bool = False, initial_state: Any = None, mask: Any = None,
    zero_output_for_mask: bool = False, training: bool = False,
    bias: Callable[[Any], Any] = lambda y: y, whole: Callable[..., tuple] | None = None,
) -> Any:  # fmt: skip
    """What recurrent layers share; their options are its own.

    Args:
        gates: how many runs of ``units`` the kernels have.
        states: how many arrays ``[batch, units]`` a state has.
        step: given the recurrent kernel, and what drops parts of the state, makes a `Step`.
        bias: adds to the inputs' product.
        whole: does all steps at once where nothing is masked or dropped between them: ``(x [time, batch,
            features], kernel, recurrent kernel, state, whether backwards) -> outputs [time, ...], state``.
    """
    state = _begin(scope, name, x, units, states, initial_state, mask)
    shapes = (x.shape[2], gates * units), (units, gates * units)
    kernel = scope.parameter("kernel", shapes[0], kernel_initializer, x.dtype, kernel_regularizer)
    recurrent = scope.parameter(
        "recurrent_kernel", shapes[1], recurrent_initializer, x.dtype, recurrent_regularizer
    )
    inner = scope.with_policy(None)  # casts are the layer's
    x = drop(inner, x, dropout, noise_shape=(None, 1, None), training=training)
    if whole and mask is None and not recurrent_dropout and x.shape[1]:
        ys, state = whole(mg.swapaxes(x, 0, 1), kernel, recurrent, state, go_backwards)
        if return_sequences:
            y = mg.swapaxes(ys, 0, 1)
            y = mg.flip(y, axis=1) if go_backwards else y
        else:
            y = state[0]
        return (y, *state) if return_state else y
    kept = drop(inner, mg.ones_like(state[0]), recurrent_dropout, training=training)
    advance = step(recurrent, (lambda h: h * kept) if recurrent_dropout else (lambda h: h))

    def body(carry: Any, at: Any) -> Any:
        (_, before), (z, real) = carry, at
        new = advance(z, before)
        if real is None:
            return (None, new), new[0] if return_sequences else ()
        # elsewhere output and state stay what they were; the first output is 0
        held = mg.tree.map(lambda a, b: mg.where(real[:, None], a, b), (new[0], new), carry)
        return held, held[0] if return_sequences else ()

    inputs = bias(mg.swapaxes(x, 0, 1) @ kernel)  # [time, batch, gates * units]
    reals = None if mask is None else mg.swapaxes(mask, 0, 1)
    first = (None if mask is None else mg.zeros_like(state[0])), state
    (held, state), ys = mg.scan(body, first, (inputs, reals), reverse=go_backwards)
    y = state[0] if held is None else held
    if return_sequences:
        y = mg.swapaxes(ys, 0, 1)
        if zero_output_for_mask and mask is not None:
            y = mg.where(mask[..., None], y, 0.0)
        y = mg.flip(y, axis=1) if go_backwards else y  # as computed: the last time is first
    return (y, *state) if return_state else y


def _begin(
    scope: mg.Scope, name: str, x: Any, units: int, states: int, given: Any, mask: Any
) -> tuple:
    """The first state; shapes that do not fit are found here."""
    if x.ndim != 3:
        refuse(scope, name, f"needs [batch, time, features], got shape {x.shape}")
    if mask is not None and mask.shape != x.shape[:2]:
        refuse(scope, name, f"mask {mask.shape} needs the input's [batch, time], {x.shape[:2]}")
    shape = (x.shape[0], units)
    if given is None:
        return (mg.zeros(shape, dtype=x.dtype),) * states
    state = tuple(mg.astype(s, x.dtype) for s in _as_states(given))
    if [s.shape for s in state] != [shape] * states:
        got = ", ".join(str(s.shape) for s in state)
        refuse(scope, name, f"initial_state needs {states} arrays {shape}, got {got}")
    return state


def _as_states(state: Any) -> tuple:
    return tuple(state) if isinstance(state, (tuple, list)) else (state,)


@layer
def simple_rnn(
    scope: mg.Scope, x: Any, units: int, *, activation: Activation = "tanh", use_bias: bool = True,
    bias_initializer: Init = zeros, bias_regularizer: Regularizer = None, training: bool = False,
    **options: Any,
) -> Any:  # fmt: skip
    """``h = activation(x @ kernel + h @ recurrent_kernel + bias)`` (Elman 1990), as Keras's SimpleRNN.

    Args:
        scope: holds ``kernel [features, units]``, ``recurrent_kernel [units, units]``, ``bias [units]``.
        x: ``[batch, time, features]``.
        options: see the top of the module.

    Returns:
        ``[batch, units]``, or what the options ask for; the state is ``h``.

    >>> call = mg.Store(seed=0).bind(lambda s, x: simple_rnn(s, x, 8), engine="numpy")
    >>> call(mg.ones((2, 5, 3))).shape
    (2, 8)
    """

    def add_bias(y: Any) -> Any:
        if not use_bias:
            return y
        return y + scope.parameter("bias", (units,), bias_initializer, x.dtype, bias_regularizer)

    def step(recurrent: Any, dropped: Callable) -> Step:
        return lambda z, state: (activate(z + dropped(state[0]) @ recurrent, activation),)

    return _recur(
        scope, "simple_rnn", x, units, 1, 1, step, bias=add_bias, training=training, **options
    )


@layer
def lstm(
    scope: mg.Scope, x: Any, units: int, *, activation: Activation = "tanh",
    recurrent_activation: Activation = "sigmoid", use_bias: bool = True,
    unit_forget_bias: bool = True, bias_initializer: Init = zeros,
    bias_regularizer: Regularizer = None, training: bool = False, **options: Any,
) -> Any:  # fmt: skip
    """Long short-term memory (Hochreiter and Schmidhuber 1997; Gers et al. 2000), as Keras's LSTM.

    Args:
        scope: holds ``kernel [features, 4 * units]``, ``recurrent_kernel [units, 4 * units]`` and ``bias
            [4 * units]``, for the gates i, f, c, o in turn.
        x: ``[batch, time, features]``.
        unit_forget_bias: the forget gate's bias begins at 1 (Jozefowicz et al. 2015).
        options: see the top of the module.

    Returns:
        ``[batch, units]``, or what the options ask for; the state is ``h`` and ``c``.

    >>> def model(scope, x):
    ...     return lstm(scope, x, 8, return_sequences=True, return_state=True)
    >>> call = mg.Store(seed=0).bind(model, engine="numpy")
    >>> [y.shape for y in call(mg.ones((2, 5, 3)))]
    [(2, 5, 8), (2, 8), (2, 8)]
    """

    def first_bias(key: Any, shape: tuple, dtype: Any) -> Any:
        if not unit_forget_bias:
            return bias_initializer(key, shape, dtype)
        kinds = (bias_initializer, ones, bias_initializer, bias_initializer)
        keys = mg.unstack(mg.random.split(key, 4))
        return mg.concat([kind(k, (units,), dtype) for kind, k in zip(kinds, keys)])

    def bias() -> Any:
        shape = (4 * units,)
        if not use_bias:
            return mg.zeros(shape, dtype=x.dtype)
        return scope.parameter("bias", shape, first_bias, x.dtype, bias_regularizer)

    def step(recurrent: Any, dropped: Callable) -> Step:
        def advance(z: Any, state: tuple) -> tuple:
            h, c = state
            i, f, g, o = mg.split(z + dropped(h) @ recurrent, 4, axis=1)
            i, f, o = (activate(v, recurrent_activation) for v in (i, f, o))
            c = f * c + i * activate(g, activation)
            return o * activate(c, activation), c

        return advance

    def whole(x: Any, kernel: Any, recurrent: Any, state: tuple, backwards: bool) -> tuple:
        ys, cells, _ = ops.lstm(x, kernel, recurrent, bias(), *state, reverse=backwards)
        last = 0 if backwards else -1
        return ys, (ys[last], cells[last])

    plain = (activation, recurrent_activation) == ("tanh", "sigmoid")
    return _recur(
        scope, "lstm", x, units, 4, 2, step, bias=lambda y: y + bias() if use_bias else y,
        whole=whole if plain else None, training=training, **options,
    )  # fmt: skip


@layer
def gru(
    scope: mg.Scope, x: Any, units: int, *, activation: Activation = "tanh",
    recurrent_activation: Activation = "sigmoid", use_bias: bool = True, reset_after: bool = True,
    bias_initializer: Init = zeros, bias_regularizer: Regularizer = None, training: bool = False,
    **options: Any,
) -> Any:  # fmt: skip
    """Gated recurrent unit (Cho et al. 2014), as Keras's GRU.

    Args:
        scope: holds ``kernel [features, 3 * units]``, ``recurrent_kernel [units, 3 * units]`` and ``bias
            [2, 3 * units]``, for the gates z, r, h in turn.
        x: ``[batch, time, features]``.
        reset_after: the reset gate acts after the product with the state, as in cuDNN and PyTorch.
            Without it the state's product has no bias of its own: ``bias [3 * units]``.
        options: see the top of the module.

    Returns:
        ``[batch, units]``, or what the options ask for; the state is ``h``.

    >>> call = mg.Store(seed=0).bind(lambda s, x: gru(s, x, 8), engine="numpy")
    >>> call(mg.ones((2, 5, 3))).shape
    (2, 8)
    """
    biases = None
    if use_bias:
        shape = (2, 3 * units) if reset_after else (3 * units,)
        biases = scope.parameter("bias", shape, bias_initializer, x.dtype, bias_regularizer)

    def add_bias(y: Any) -> Any:
        return y if biases is None else y + (biases[0] if reset_after else biases)

    def step(recurrent: Any, dropped: Callable) -> Step:
        both, last = recurrent[:, : 2 * units], recurrent[:, 2 * units :]

        def advance(inputs: Any, state: tuple) -> tuple:
            h = state[0]
            low = dropped(h)
            x_z, x_r, x_h = mg.split(inputs, 3, axis=1)
            if reset_after:
                inner = low @ recurrent
                h_z, h_r, h_h = mg.split(inner if biases is None else inner + biases[1], 3, axis=1)
            else:
                h_z, h_r = mg.split(low @ both, 2, axis=1)
            z, r = (activate(v, recurrent_activation) for v in (x_z + h_z, x_r + h_r))
            new = activate(x_h + (r * h_h if reset_after else (r * low) @ last), activation)
            return (z * h + (1 - z) * new,)

        return advance

    return _recur(scope, "gru", x, units, 3, 1, step, bias=add_bias, training=training, **options)


_MERGES: dict[str | None, Callable[[Any, Any], Any]] = {
    "concat": lambda a, b: mg.concat([a, b], axis=-1), "sum": lambda a, b: a + b,
    "ave": lambda a, b: (a + b) / 2, "mul": lambda a, b: a * b, None: lambda a, b: (a, b),
}  # fmt: skip


@layer
def bidirectional(
    scope: mg.Scope, x: Any, fn: Callable, units: int, *, merge_mode: str | None = "concat",
    initial_state: Any = None, return_sequences: bool = False, return_state: bool = False,
    training: bool = False, **options: Any,
) -> Any:  # fmt: skip
    """A recurrent layer run both ways (Schuster and Paliwal 1997), as Keras's Bidirectional.

    With ``return_sequences``, outputs are 0 where a ``mask`` is false.

    Args:
        scope: holds both layers' variables, under ``forward`` and ``backward``.
        x: ``[batch, time, features]``.
        fn: `lstm`, `gru` or `simple_rnn`; ``options`` go to both.
        merge_mode: of the two outputs: ``"concat"``, ``"sum"``, ``"ave"``, ``"mul"``, or None for a pair.
        initial_state: the forward layer's states, then the backward one's.

    Returns:
        The merged outputs; with ``return_state`` a tuple of them, the forward layer's states and the
        backward one's.

    Raises:
        ArgumentError: an unknown ``merge_mode``.

    >>> def model(scope, x):
    ...     return bidirectional(scope, x, gru, 8, return_sequences=True)
    >>> store = mg.Store(seed=0)
    >>> store.bind(model, engine="numpy")(mg.ones((2, 5, 3))).shape, list(store)[0]
    ((2, 5, 16), 'backward/bias')
    """
    if merge_mode not in _MERGES:
        refuse(
            scope, "bidirectional", f"merge_mode={merge_mode!r} is none of "
            f"{', '.join(map(repr, _MERGES))}", mg.errors.ArgumentError,
        )  # fmt: skip
    given = None if initial_state is None else _as_states(initial_state)
    half = len(given or ()) // 2
    halves = (None, None) if given is None else (given[:half], given[half:])
    (there, *first), (back, *second) = (
        fn(
            scope / side, x, units, initial_state=begin, go_backwards=side == "backward",
            return_sequences=return_sequences, return_state=True, zero_output_for_mask=True,
            training=training, **options,
        )
        for side, begin in zip(("forward", "backward"), halves)
    )  # fmt: skip
    y = _MERGES[merge_mode](there, mg.flip(back, axis=1) if return_sequences else back)
    if not return_state:
        return y
    return (*y, *first, *second) if merge_mode is None else (y, *first, *second)
