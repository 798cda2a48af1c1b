"""Policies: by name, and what layers make of them."""

import monograph as mg
import pytest
from monograph_dtypes import Policy, mixed_bfloat16, mixed_float16, policy


def test_policies_by_name_follow_keras():
    assert policy("mixed_bfloat16") == mixed_bfloat16 == Policy("float32", "bfloat16")
    assert policy("mixed_float16") == mixed_float16 == Policy("float32", "float16")
    assert policy("bfloat16") == Policy(mg.bfloat16, mg.bfloat16, None)
    assert policy("float32") == Policy()


def test_attributes_are_dtypes_and_policies_are_values():
    made = Policy("float32", "float16", "float32")
    assert (made.param, made.compute, made.output) == (mg.float32, mg.float16, mg.float32)
    with pytest.raises(AttributeError):
        made.param = mg.float16
    assert len({made, Policy(mg.float32, mg.float16, mg.float32)}) == 1


@pytest.mark.parametrize("name", ["int32", "mixed_bool"])
def test_what_cannot_compute_is_refused_at_the_users_line(name):
    with pytest.raises(mg.errors.DTypeError, match=r"test_policies.py:\d+.*float of 16 bits"):
        policy(name)


def test_a_scope_keeps_in_param_and_answers_in_compute():
    def model(scope, x):
        w = scope.with_policy(mixed_bfloat16).parameter("w", (3,), 1.0)
        return mg.sum(w * mg.astype(x, w.dtype))

    def step(scope, x):
        return scope.value_and_grad(lambda: model(scope, x))()

    store = mg.Store()
    loss, grads = store.bind(step, engine="numpy")(mg.tensor([1.0, 2.0, 3.0]))
    assert loss.dtype is mg.bfloat16 and store.spec("w").dtype is mg.float32
    assert grads["w"].dtype is mg.float32 and grads["w"].tolist() == [1.0, 2.0, 3.0]
