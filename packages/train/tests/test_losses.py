"""Losses against Keras's and PyTorch's, on every engine; their gradients, edges and errors."""

import functools
import os
import warnings

import monograph as mg
import numpy as np
import pytest
from monograph.errors import ArgumentError, DTypeError, ShapeError
from monograph_train import losses

os.environ.setdefault("KERAS_BACKEND", "torch")
torch = pytest.importorskip("torch", reason="the reference")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    keras = pytest.importorskip("keras", reason="the reference")

ENGINES = ("numpy", "xla", "torch")
rng = np.random.default_rng(0)


def share(*shape):
    return rng.uniform(0.02, 0.98, shape).astype("float32")


def normal(*shape):
    return rng.normal(size=shape).astype("float32")


def bits(*shape):
    return rng.integers(0, 2, shape).astype("float32")


def distribution(*shape):
    x = share(*shape)
    return x / x.sum(-1, keepdims=True)


def hot(*shape):
    return np.eye(shape[-1], dtype="float32")[rng.integers(0, shape[-1], shape[:-1])]


def ids(classes, *shape):
    return rng.integers(0, classes, shape)


# (name, options, y_true, y_pred)
CASES = [
    ("binary_crossentropy", {}, bits(7, 3), share(7, 3)),
    ("binary_crossentropy", {"from_logits": True}, bits(7, 3), 5 * normal(7, 3)),
    ("binary_crossentropy", {"label_smoothing": 0.2}, bits(7, 3, 2), share(7, 3, 2)),
    ("binary_crossentropy", {"axis": 1}, bits(7, 3, 2), share(7, 3, 2)),
    ("binary_focal_crossentropy", {}, bits(7, 3), share(7, 3)),
    ("binary_focal_crossentropy", {"apply_class_balancing": True, "alpha": 0.4, "gamma": 1.5},
     bits(7, 3), share(7, 3)),
    ("binary_focal_crossentropy", {"from_logits": True, "label_smoothing": 0.1}, bits(7, 3),
     normal(7, 3)),
    ("categorical_crossentropy", {}, hot(7, 4), distribution(7, 4)),
    ("categorical_crossentropy", {}, hot(7, 4), share(7, 4)),
    ("categorical_crossentropy", {"from_logits": True, "label_smoothing": 0.1}, hot(7, 2, 4),
     normal(7, 2, 4)),
    ("categorical_focal_crossentropy", {}, hot(7, 4), distribution(7, 4)),
    ("categorical_focal_crossentropy", {"from_logits": True, "gamma": 3.0, "label_smoothing": 0.1},
     hot(7, 4), normal(7, 4)),
    ("sparse_categorical_crossentropy", {}, ids(4, 7), share(7, 4)),
    ("sparse_categorical_crossentropy", {}, ids(4, 7, 1), share(7, 4)),
    ("sparse_categorical_crossentropy", {"from_logits": True}, ids(4, 7, 3), normal(7, 3, 4)),
    ("sparse_categorical_crossentropy", {"from_logits": True, "axis": 1}, ids(4, 7, 3),
     normal(7, 4, 3)),
    ("sparse_categorical_crossentropy", {"ignore_class": 2}, ids(4, 7, 3), share(7, 3, 4)),
    ("sparse_categorical_crossentropy", {"from_logits": True, "ignore_class": 2}, ids(4, 30),
     normal(30, 4)),
    ("kl_divergence", {}, distribution(7, 4), distribution(7, 4)),
    ("kl_divergence", {}, hot(7, 4), distribution(7, 4)),
    ("poisson", {}, ids(5, 7, 3).astype("float32"), share(7, 3)),
    ("mean_squared_error", {}, normal(7, 3), normal(7, 3)),
    ("mean_absolute_error", {}, normal(7, 3, 2), normal(7, 3, 2)),
    ("mean_absolute_percentage_error", {}, normal(7, 3), normal(7, 3)),
    ("mean_absolute_percentage_error", {}, bits(7, 3), share(7, 3)),
    ("mean_squared_logarithmic_error", {}, 2 * normal(7, 3), normal(7, 3)),
    ("huber", {}, normal(7, 3), 3 * normal(7, 3)),
    ("huber", {"delta": 0.3}, normal(7, 3), normal(7, 3)),
    ("log_cosh", {}, normal(7, 3), 40 * normal(7, 3)),
    ("cosine_similarity", {}, normal(7, 3), normal(7, 3)),
    ("cosine_similarity", {"axis": 1}, normal(7, 3, 2), normal(7, 3, 2)),
    ("hinge", {}, bits(7, 3), normal(7, 3)),
    ("hinge", {}, 2 * bits(7, 3) - 1, normal(7, 3)),
    ("squared_hinge", {}, bits(7, 3), normal(7, 3)),
    ("categorical_hinge", {}, hot(7, 4), normal(7, 4)),
    ("dice", {"axis": (1, 2)}, bits(7, 3, 2), share(7, 3, 2)),
]  # fmt: skip
AT_BOUNDS = ("binary_crossentropy", {}, bits(4, 2), bits(4, 2))  # where subgradients differ
IDS = [f"{i}-{c[0]}" for i, c in enumerate(CASES)]


@pytest.mark.parametrize(
    "name, options, y_true, y_pred", [*CASES, AT_BOUNDS], ids=[*IDS, "at-bounds"]
)
def test_values_are_keras(name, options, y_true, y_pred):
    want = np.asarray(getattr(keras.losses, name)(y_true, y_pred, **options))
    loss = functools.partial(getattr(losses, name), **options)
    for engine in ENGINES:
        got = mg.jit(loss, engine=engine)(y_true, y_pred).numpy()
        assert got.shape == want.shape and got.shape[0] == len(y_true)
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-6, err_msg=engine)


@pytest.mark.parametrize("name, options, y_true, y_pred", CASES, ids=IDS)
def test_gradients_are_those_of_keras(name, options, y_true, y_pred):
    x = torch.tensor(y_pred, requires_grad=True)
    getattr(keras.losses, name)(torch.tensor(y_true), x, **options).sum().backward()
    loss = functools.partial(getattr(losses, name), **options)
    for engine in ENGINES:
        got = mg.jit(mg.grad(lambda p: mg.sum(loss(y_true, p))), engine=engine)(y_pred).numpy()
        np.testing.assert_allclose(got, x.grad.numpy(), rtol=1e-4, atol=1e-5, err_msg=engine)


def test_tversky_weighs_false_positives_by_alpha():
    y, p = bits(5, 4, 3), share(5, 4, 3)
    got = losses.tversky(y, p, alpha=0.3, beta=0.7).numpy()
    y64, p64 = y.astype("float64"), p.astype("float64")
    tp, fp, fn = ((a * b).sum((1, 2)) for a, b in ((y64, p64), (1 - y64, p64), (y64, 1 - p64)))
    np.testing.assert_allclose(got, 1 - tp / (tp + 0.3 * fp + 0.7 * fn), rtol=1e-5)
    # Keras has the two the other way round
    keras_swapped = np.asarray(keras.losses.tversky(y, p, alpha=0.7, beta=0.3, axis=(1, 2)))
    np.testing.assert_allclose(got, keras_swapped, rtol=1e-5)
    np.testing.assert_allclose(losses.tversky(y, p), losses.dice(y, p), rtol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("swap", [False, True])
def test_triplet_margin_is_torch(engine, swap):
    a, p, n = normal(6, 4), normal(6, 4), normal(6, 4)
    want = torch.nn.TripletMarginLoss(margin=0.7, swap=swap, reduction="none")
    loss = functools.partial(losses.triplet_margin, margin=0.7, swap=swap)
    got = mg.jit(loss, engine=engine)(a, p, n)
    # a difference of distances of 3 or so: it is as exact as they are
    np.testing.assert_allclose(got, want(*map(torch.tensor, (a, p, n))), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_margin_ranking_is_torch(engine):
    p, n = normal(6), normal(6, 4)
    want = torch.nn.MarginRankingLoss(margin=0.7, reduction="none")
    want = want(torch.tensor(p)[:, None].expand(6, 4), torch.tensor(n), torch.ones(6, 4)).mean(1)
    loss = mg.jit(functools.partial(losses.margin_ranking, margin=0.7), engine=engine)
    np.testing.assert_allclose(loss(p, n), want, rtol=1e-5, atol=1e-6)
    one = np.maximum(0.7 - p + n[:, 0], 0)
    np.testing.assert_allclose(loss(p, n[:, 0]), one, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_self_adversarial_is_the_papers_formula(engine):
    p, n = 5 * normal(6), 5 * normal(6, 4)
    loss = functools.partial(losses.self_adversarial, margin=3.0, temperature=0.5)
    got = mg.jit(mg.value_and_grad(lambda *x: mg.sum(loss(*x)), argnums=(0, 1)), engine=engine)
    tp, tn = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (p, n))
    weights = torch.softmax(0.5 * tn, 1).detach()
    log_sigmoid = torch.nn.functional.logsigmoid
    want = -log_sigmoid(3 + tp) - (weights * log_sigmoid(-3 - tn)).sum(1)
    want.sum().backward()
    value, grads = got(p, n)
    np.testing.assert_allclose(value, want.sum().item(), rtol=1e-5)
    for g, t in zip(grads, (tp, tn)):
        np.testing.assert_allclose(g, t.grad, rtol=1e-4, atol=1e-6)
    far = loss(np.float32([-1e4]), np.float32([[1e4, -1e4]])).numpy()
    np.testing.assert_allclose(far, [2e4 - 0], rtol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_semi_hard_triplets_against_loops(engine):
    x, y = normal(9, 4), np.array([0, 1, 0, 2, 1, 0, 2, 0, 3])
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    d = ((x[:, None] - x[None]) ** 2).sum(-1).astype("float64")
    want = []
    for i in range(9):
        each = []
        for j in range(9):
            if i != j and y[i] == y[j]:
                others = d[i][y != y[i]]
                farther = others[others > d[i, j]]
                each.append(
                    max(d[i, j] - (farther.min() if len(farther) else others.max()) + 0.5, 0)
                )
        want.append(np.mean(each) if each else 0.0)
    loss = functools.partial(losses.triplet_semi_hard, margin=0.5)
    np.testing.assert_allclose(mg.jit(loss, engine=engine)(y, x), want, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("remove_diagonal", [True, False])
def test_circle_is_keras(remove_diagonal):
    x, y = normal(9, 4), np.array([0, 1, 0, 2, 1, 0, 2, 0, 3])
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    options = {"gamma": 8.0, "margin": 0.3, "remove_diagonal": remove_diagonal}
    want = np.asarray(keras.losses.circle(y, x, **options))
    loss = functools.partial(losses.circle, **options)
    for engine in ENGINES:
        got, slope = mg.jit(
            mg.value_and_grad(lambda p: mg.sum(loss(y, p))), engine=engine
        )(x)  # fmt: skip
        np.testing.assert_allclose(mg.jit(loss, engine=engine)(y, x), want, rtol=1e-4, atol=1e-6)
        assert np.isfinite(slope.numpy()).all() and got.item() == pytest.approx(
            want.sum(), rel=1e-4
        )


def test_contrastive_and_nll():
    y, d = np.array([1, 0, 0]), np.array([0.5, 0.25, 2.0], "float32")
    assert losses.contrastive(y, d).tolist() == [0.25, 0.5625, 0.0]
    low = np.log(distribution(5, 3))
    labels = ids(3, 5)
    want = torch.nn.functional.nll_loss(torch.tensor(low), torch.tensor(labels), reduction="none")
    np.testing.assert_allclose(losses.nll(labels, low), want, rtol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_binary_logits_are_finite_and_their_gradient_at_zero_is_right(engine):
    loss = functools.partial(losses.binary_crossentropy, from_logits=True)
    x = np.array([[0.0], [1000.0], [-1000.0], [1000.0]], "float32")
    y = np.array([[1.0], [1.0], [1.0], [0.0]], "float32")
    got, slope = mg.jit(mg.value_and_grad(lambda p: mg.sum(loss(y, p))), engine=engine)(x)
    assert got.item() == pytest.approx(np.log(2) + 2000)
    np.testing.assert_allclose(slope.numpy()[:, 0], [-0.5, 0, -1, 1], atol=1e-7)


def summed(loss, y):
    return lambda p: mg.sum(loss(y, p))


@pytest.mark.parametrize("engine", ENGINES)
def test_certain_predictions_right_or_wrong_leave_no_nan(engine):
    one_hot, sparse = np.array([[1, 0], [1, 0]], "float32"), np.array([0, 0])
    sure = one_hot[:, ::-1].copy()
    sure[0] = one_hot[0]  # the first is right, the second wrong, both without a doubt
    for name in ("binary_crossentropy", "binary_focal_crossentropy", "categorical_crossentropy",
                 "categorical_focal_crossentropy", "sparse_categorical_crossentropy",
                 "kl_divergence", "poisson", "mean_squared_error", "huber", "log_cosh",
                 "cosine_similarity", "categorical_hinge", "dice", "tversky"):  # fmt: skip
        y = sparse if name.startswith("sparse") else one_hot
        loss = getattr(losses, name)
        tries = [(loss, sure), (loss, 0 * sure)] if "crossentropy" not in name else [(loss, sure)]
        if "crossentropy" in name:
            tries.append((functools.partial(loss, from_logits=True), 2000 * sure - 1000))
        for fn, p in tries:
            value, slope = mg.jit(mg.value_and_grad(summed(fn, y)), engine=engine)(p)
            assert np.isfinite(value.numpy()) and np.isfinite(slope.numpy()).all(), (name, p)


def test_impossible_classes_and_zero_vectors_leave_no_nan():
    logits = np.array([[-np.inf, 0.0, 1.0]], "float32")
    y = np.array([[0.0, 1.0, 0.0]], "float32")
    want = losses.sparse_categorical_crossentropy(np.array([1]), logits, from_logits=True)
    np.testing.assert_allclose(
        losses.categorical_crossentropy(y, logits, from_logits=True), want, rtol=1e-6
    )
    zero = np.zeros((1, 3), "float32")
    slope = mg.grad(lambda p: mg.sum(losses.cosine_similarity(y, p)))(zero)
    assert np.isfinite(slope.numpy()).all()


def test_ignored_labels_give_nothing_and_send_nothing_back():
    logits, labels = normal(3, 4), np.array([1, 255, 2], "uint8")
    loss = functools.partial(
        losses.sparse_categorical_crossentropy, from_logits=True, ignore_class=255
    )
    assert loss(labels, logits).numpy()[1] == 0
    slope = mg.grad(lambda p: mg.sum(loss(labels, p)))(logits).numpy()
    assert (slope[1] == 0).all() and (slope[[0, 2]] != 0).all()


def test_sixteen_bit_predictions_are_taken_to_float32():
    pytest.importorskip("monograph_dtypes", reason="brings the 16-bit floats")
    y, p = hot(4, 3), normal(4, 3)
    for dtype in ("float16", "bfloat16"):
        half = mg.astype(mg.tensor(p), dtype)
        got = losses.categorical_crossentropy(y, half, from_logits=True)
        assert got.dtype == mg.float32
        exact = losses.categorical_crossentropy(y, mg.astype(half, "float32"), from_logits=True)
        np.testing.assert_array_equal(got.numpy(), exact.numpy())
    got = losses.mean_squared_error(p.astype("float64"), p.astype("float64"))
    assert got.dtype == mg.float64


def test_one_output_per_sample_needs_no_axis():
    y, p = bits(7), share(7)
    for name in ("mean_squared_error", "huber", "hinge", "binary_crossentropy", "poisson"):
        loss = getattr(losses, name)
        want = loss(y[:, None], p[:, None]).numpy()
        np.testing.assert_array_equal(loss(y, p).numpy(), want)
        assert want.shape == (7,)


def test_shapes_that_would_broadcast_to_pairs_of_samples_are_errors():
    for name in losses.__all__:
        if name in ("check_labels", "triplet_margin"):
            continue
        with pytest.raises(ShapeError, match=r"\(5,\).*\(5, 1, 2\)|\(5,\).*5, 1, 2"):
            getattr(losses, name)(np.zeros(5, "int64"), np.zeros((5, 1, 2), "float32"))
    with pytest.raises(ShapeError, match=r"test_losses.*\(4,\), y_pred \(4, 1\)"):
        losses.mean_squared_error(np.zeros(4), np.zeros((4, 1)))
    with pytest.raises(DTypeError, match="class indices are integers"):
        losses.sparse_categorical_crossentropy(np.zeros(4), np.zeros((4, 2)))


def test_labels_out_of_range_are_named():
    losses.check_labels(np.array([0, 2, -1]), 3, ignore_class=-1)
    with pytest.raises(ArgumentError, match=r"label 5 at index \(1, 0\) is not in 0 .. 2"):
        losses.check_labels(np.array([[0, 1], [5, 9]]), 3)
    with pytest.raises(ArgumentError, match="label -1 at index 2"):
        losses.check_labels([0, 2, -1], 3)
