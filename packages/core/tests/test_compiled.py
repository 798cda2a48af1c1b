"""What a compiled graph says when the engine fails, and of a tensor that was donated."""

import monograph as mg
import numpy as np
import pytest
from monograph.errors import ArgumentError, EngineError, ShapeError
from monograph.numpy_engine import NumpyEngine


class Failing(NumpyEngine):
    """NumPy, but what it compiles raises ``self.error`` (if any) when it runs."""

    name = "failing"

    def __init__(self, error=None, compile_error=None):
        self.error, self.compile_error = error, compile_error

    def compile(self, graph, options):
        if self.compile_error:
            raise self.compile_error
        run = super().compile(graph, options)

        def maybe(*buffers):
            if self.error:
                raise self.error
            return run(*buffers)

        return maybe

    def get(self, buffer):
        if self.error:
            raise self.error
        return super().get(buffer)


def step(x):
    return x * 2.0


def test_what_an_engine_raises_at_run_time_names_graph_engine_and_the_users_line():
    cause = RuntimeError("out of memory")
    engine = Failing()
    f, x = mg.jit(step, engine=engine), mg.tensor([1.0], device=engine)
    assert f(x).tolist() == [2]
    engine.error = cause
    for call in (lambda: f(x), lambda: f(np.ones(1, "float32"))):
        with pytest.raises(EngineError) as e:
            call()
        text = str(e.value)
        assert text.startswith(f"{__file__}:{call.__code__.co_firstlineno}: ")
        assert "engine 'failing' failed while it ran graph 'step' on failing:cpu:0" in text
        assert "RuntimeError: out of memory" in text and e.value.__cause__ is cause


def test_eager_operations_and_reading_say_the_same():
    engine = Failing()
    x = mg.tensor([1.0, 2.0], device=engine)
    x + x
    engine.error = MemoryError("too big")
    with pytest.raises(EngineError, match=r"test_compiled.py:\d+: .*compute add of float32\[2\]"):
        x + x
    with pytest.raises(EngineError, match=r"test_compiled.py:\d+: .*hand out a float32\[2\]"):
        x.numpy()


def test_what_an_engine_raises_while_it_compiles_is_its_own_defect():
    engine = Failing(compile_error=KeyError("no such lowering"))
    with pytest.raises(EngineError, match=r"test_compiled.py:\d+: .*to compile graph 'step'") as e:
        mg.jit(step, engine=engine)(np.ones(2, "float32"))
    assert "defect of the engine" in e.value.__notes__[0]
    assert isinstance(e.value.__cause__, KeyError)


def test_a_monograph_error_passes_through_an_engine_unchanged():
    engine = Failing(error=ShapeError("mine"))
    with pytest.raises(ShapeError, match="^mine$"):
        mg.jit(step, engine=engine)(np.ones(1, "float32"))


def test_a_donated_tensor_says_so_when_it_is_used_again():
    update = mg.jit(lambda state, x: {"w": state["w"] + x}, engine="numpy", donate_argnums=0)
    w, x = mg.tensor([1.0, 2.0], device="numpy"), mg.tensor([1.0, 1.0], device="numpy")
    state = update({"w": w}, x)
    assert state["w"].tolist() == [2, 3] and x.tolist() == [1, 1]
    uses = [
        lambda: update({"w": w}, x),
        lambda: mg.jit(step)(w),
        lambda: w + x,
        lambda: x * w,
        lambda: mg.tanh(w),
        lambda: w.numpy(),
        lambda: np.asarray(w),
        lambda: w.on("numpy"),
        lambda: mg.trace(step, mg.Spec((2,))).compile("numpy")(w),
        lambda: mg.trace(lambda: mg.zeros(2) + w),
    ]
    for use in uses:
        with pytest.raises(ArgumentError) as e:
            use()
        text = str(e.value)
        assert text.startswith(f"{__file__}:{use.__code__.co_firstlineno}: this tensor was donated")
        assert "arg[0]['w']" in text and "donate_argnums" in text
    assert repr(w) == "tensor(<donated>, float32[2])" and w.shape == (2,)


def test_donating_an_array_of_the_users_leaves_it_alone():
    f = mg.jit(lambda x: x + 1.0, engine="numpy", donate_argnums=0)
    x = np.ones(3, "float32")
    assert f(x).tolist() == f(x).tolist() == [2, 2, 2] and x.tolist() == [1, 1, 1]


def test_one_tensor_cannot_be_donated_and_given_twice():
    f = mg.jit(lambda a, b: a + b, engine="numpy", donate_argnums=0)
    x = mg.tensor([1.0], device="numpy")
    with pytest.raises(ArgumentError, match=r"arg\[0\] and arg\[1\], but arg\[0\] is donated"):
        f(x, x)
    assert f(x, mg.tensor([2.0], device="numpy")).tolist() == [3], "the refused call took nothing"


def test_a_call_that_fails_donates_nothing():
    engine = Failing()
    f = mg.jit(step, engine=engine, donate_argnums=0)
    x = mg.tensor([1.0], device=engine)
    f(mg.tensor([1.0], device=engine))
    engine.error = RuntimeError("no")
    with pytest.raises(EngineError):
        f(x)
    engine.error = None
    assert x.tolist() == [1]


def test_a_bound_model_whose_engine_fails_keeps_its_variables():
    engine = Failing()

    def counting(scope, x):
        count = scope.variable("count", (), 0.0)
        count.assign(count.value + 1.0)
        return x + count.value

    store = mg.Store()
    call = store.bind(counting, engine)
    call(np.float32(1))
    engine.error = RuntimeError("out of memory")
    with pytest.raises(EngineError, match=r"test_compiled.py:\d+: engine 'failing' failed"):
        call(np.float32(1))
    engine.error = None
    assert store["count"].item() == 1
    assert call(np.float32(1)).item() == 3
