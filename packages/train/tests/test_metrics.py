"""Metrics against Keras's over uneven batches, with and without weights, on every engine."""

import functools
import os
import warnings

import monograph as mg
import numpy as np
import pytest
from monograph.errors import ArgumentError, ShapeError
from monograph_train import metrics

os.environ.setdefault("KERAS_BACKEND", "torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    keras = pytest.importorskip("keras", reason="the reference")

ENGINES = ("numpy", "xla", "torch")
BATCHES = (7, 7, 3)
N = sum(BATCHES)
rng = np.random.default_rng(0)


def share(*shape):
    return rng.uniform(0.02, 0.98, (N, *shape)).astype("float32")


def normal(*shape):
    return rng.normal(size=(N, *shape)).astype("float32")


def bits(*shape):
    return rng.integers(0, 2, (N, *shape)).astype("float32")


def ids(classes, *shape):
    return rng.integers(0, classes, (N, *shape))


def hot(classes, *shape):
    return np.eye(classes, dtype="float32")[ids(classes, *shape)]


def distribution(*shape):
    x = share(*shape)
    return x / x.sum(-1, keepdims=True)


m, k, partial = metrics, keras.metrics, functools.partial
# (name, ours, Keras's, y_true, y_pred)
CASES = [
    ("accuracy-binary", m.accuracy, lambda: k.BinaryAccuracy(), bits(1), share(1)),
    ("accuracy-sparse", m.accuracy, lambda: k.SparseCategoricalAccuracy(), ids(4), share(4)),
    ("accuracy-categorical", m.accuracy, lambda: k.CategoricalAccuracy(), hot(4), share(4)),
    ("binary_accuracy", partial(m.binary_accuracy, threshold=0.3),
     lambda: k.BinaryAccuracy(threshold=0.3), bits(3), share(3)),
    ("categorical_accuracy", m.categorical_accuracy, lambda: k.CategoricalAccuracy(), hot(4, 2),
     normal(2, 4)),
    ("sparse_categorical_accuracy", m.sparse_categorical_accuracy,
     lambda: k.SparseCategoricalAccuracy(), ids(4, 2), normal(2, 4)),
    ("top_k", partial(m.top_k_categorical_accuracy, k=2), lambda: k.TopKCategoricalAccuracy(2),
     hot(5), normal(5)),
    ("sparse_top_k", partial(m.sparse_top_k_categorical_accuracy, k=3),
     lambda: k.SparseTopKCategoricalAccuracy(3), ids(5), normal(5)),
    ("precision", m.precision(), lambda: k.Precision(), bits(), share()),
    ("precision-thresholds", m.precision([0.7, 0.2, 0.5]), lambda: k.Precision([0.7, 0.2, 0.5]),
     bits(3), share(3)),
    ("precision-class", m.precision(class_id=1), lambda: k.Precision(class_id=1), hot(3), share(3)),
    ("precision-none", m.precision(0.99), lambda: k.Precision(0.99), bits(), share()),
    ("recall", m.recall(0.4), lambda: k.Recall(0.4), bits(2), share(2)),
    ("true_positives", m.true_positives(), lambda: k.TruePositives(), bits(), share()),
    ("false_positives", m.false_positives(0.3), lambda: k.FalsePositives(0.3), bits(), share()),
    ("true_negatives", m.true_negatives(), lambda: k.TrueNegatives(), bits(), share()),
    ("false_negatives", m.false_negatives(), lambda: k.FalseNegatives(), bits(), share()),
    ("specificity", m.specificity_at_sensitivity(0.6), lambda: k.SpecificityAtSensitivity(0.6),
     bits(), share()),
    ("sensitivity", m.sensitivity_at_specificity(0.6), lambda: k.SensitivityAtSpecificity(0.6),
     bits(), share()),
    ("precision-at", m.precision_at_recall(0.6), lambda: k.PrecisionAtRecall(0.6), bits(), share()),
    ("recall-at", m.recall_at_precision(0.5), lambda: k.RecallAtPrecision(0.5), bits(), share()),
    ("auc-roc", m.auc(), lambda: k.AUC(), bits(), share()),
    ("auc-logits", m.auc(from_logits=True), lambda: k.AUC(from_logits=True), bits(), normal()),
    ("auc-pr", m.auc(curve="PR"), lambda: k.AUC(curve="PR"), bits(2), share(2)),
    ("auc-labels", m.auc(50, multi_label=True), lambda: k.AUC(50, multi_label=True), bits(3),
     share(3)),
    ("auc-pr-labels", m.auc(50, "PR", multi_label=True),
     lambda: k.AUC(50, "PR", multi_label=True), bits(3), share(3)),
    ("precision-top", m.precision(top_k=2), lambda: k.Precision(top_k=2), bits(4), normal(4)),
    ("recall-top", m.recall(0.6, 2, 1), lambda: k.Recall(0.6, 2, 1), bits(4), share(4)),
    ("auc-minoring", m.auc(20, "PR", "minoring"), lambda: k.AUC(20, "PR", "minoring"), bits(),
     share()),
    ("auc-majoring", m.auc(20, "ROC", "majoring"), lambda: k.AUC(20, "ROC", "majoring"), bits(),
     share()),
    ("f1", m.f1_score(), lambda: k.F1Score(), hot(3), share(3)),
    ("f1-macro", m.f1_score("macro", 0.4), lambda: k.F1Score("macro", 0.4), hot(3), share(3)),
    ("fbeta-weighted", m.fbeta_score("weighted", 2.0), lambda: k.FBetaScore("weighted", 2.0),
     hot(3), share(3)),
    ("fbeta-micro", m.fbeta_score("micro", 0.5), lambda: k.FBetaScore("micro", 0.5), hot(3),
     share(3)),
    ("mean_iou", m.mean_iou(4), lambda: k.MeanIoU(4, dtype="float32"), ids(3), ids(3)),
    ("mean_iou-scores", m.mean_iou(4, ignore_class=0, sparse_y_true=False, sparse_y_pred=False),
     lambda: k.MeanIoU(4, ignore_class=0, sparse_y_true=False, sparse_y_pred=False,
                       dtype="float32"), hot(4), share(4)),
    ("mean_squared_error", m.mean_squared_error, lambda: k.MeanSquaredError(), normal(3),
     normal(3)),
    ("mean_absolute_error", m.mean_absolute_error, lambda: k.MeanAbsoluteError(), normal(3, 2),
     normal(3, 2)),
    ("root_mean_squared_error", m.root_mean_squared_error(), lambda: k.RootMeanSquaredError(),
     normal(3), normal(3)),
    ("r2", m.r2_score(), lambda: k.R2Score(), normal(3), normal(3)),
    ("r2-each", m.r2_score(None), lambda: k.R2Score(None), normal(3), normal(3)),
    ("r2-variance", m.r2_score("variance_weighted_average"),
     lambda: k.R2Score("variance_weighted_average"), normal(3), normal(3)),
    ("cosine_similarity", m.cosine_similarity, lambda: k.CosineSimilarity(), normal(3), normal(3)),
    ("pearson_correlation", m.pearson_correlation, lambda: k.PearsonCorrelation(), normal(5),
     normal(5)),
    ("kl_divergence", m.kl_divergence, lambda: k.KLDivergence(), distribution(3), distribution(3)),
    ("poisson", m.poisson, lambda: k.Poisson(), bits(3), share(3)),
    ("log_cosh", m.log_cosh, lambda: k.LogCoshError(), normal(3), normal(3)),
    ("hinge", m.hinge, lambda: k.Hinge(), bits(3), normal(3)),
    ("squared_hinge", m.squared_hinge, lambda: k.SquaredHinge(), bits(3), normal(3)),
    ("categorical_hinge", m.categorical_hinge, lambda: k.CategoricalHinge(), hot(3), normal(3)),
]  # fmt: skip


def rows():
    stop = 0
    for size in BATCHES:
        stop += size
        yield slice(stop - size, stop)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize(
    "ours, theirs, y_true, y_pred", [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_uneven_batches_come_to_what_keras_says(ours, theirs, y_true, y_pred, weighted):
    w = rng.uniform(0.1, 2.0, N).astype("float32") if weighted else None
    reference = theirs()
    for at in rows():
        reference.update_state(y_true[at], y_pred[at], *([w[at]] if weighted else []))
    want = np.asarray(reference.result())
    metric = metrics.as_metric(ours)
    batches = [(y_true[at], y_pred[at], *([w[at]] if weighted else [])) for at in rows()]

    def whole(batches):
        return metric.result(functools.reduce(metrics.merge, [metric.measure(*b) for b in batches]))

    for engine in ENGINES[:1] if weighted else ENGINES:  # weights are one product more
        got = mg.jit(whole, engine=engine)(batches).numpy()
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6, err_msg=engine)


@pytest.mark.parametrize(
    "ours, y_true, y_pred", [(c[1], *c[3:]) for c in CASES], ids=[c[0] for c in CASES]
)
def test_batches_merge_to_the_state_of_all(ours, y_true, y_pred):
    metric = metrics.as_metric(ours)
    parts = [metric.measure(y_true[at], y_pred[at]) for at in rows()]
    merged, whole = functools.reduce(metrics.merge, parts), metric.measure(y_true, y_pred)
    assert merged.keys() == whole.keys()
    for key in whole:
        np.testing.assert_allclose(merged[key], whole[key], rtol=1e-5, atol=1e-5)


def test_samples_of_weight_zero_do_not_count():
    w = np.concatenate([np.ones(10), np.zeros(N - 10)]).astype("float32")
    for name, ours, _, y_true, y_pred in CASES:
        metric = metrics.as_metric(ours)
        got = metric.result(metric.measure(y_true, y_pred, w))
        want = metric.result(metric.measure(y_true[:10], y_pred[:10]))
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6, err_msg=name)


def test_the_confusion_matrix_counts_pairs():
    true, told = np.array([0, 1, 2, 2, 9, -1]), np.array([0, 2, 2, 1, 0, 0])
    matrix = metrics.confusion_matrix(3)
    assert matrix.measure(true, told)["matrix"].tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 1]]
    for engine in ENGINES:
        got = mg.jit(matrix.measure, engine=engine)(true, told)["matrix"]
        assert got.tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 1]]


@pytest.mark.parametrize("count", [3, 5, 200])
def test_predictions_that_are_thresholds(count):
    y, p = bits(), rng.choice([0.0, 0.25, 0.5, 1.0], N).astype("float32")
    for curve in ("ROC", "PR"):
        reference = keras.metrics.AUC(count, curve)
        reference.update_state(y, p)
        metric = metrics.auc(count, curve)
        got = metric.result(metric.measure(y, p)).item()
        assert got == pytest.approx(float(reference.result()), rel=1e-5)


def test_no_samples_give_zero():
    for _, ours, _, y_true, y_pred in CASES:
        metric = metrics.as_metric(ours)
        got = metric.result(metric.measure(y_true[:0], y_pred[:0])).numpy()
        assert (got == 0).all(), metric.name


def test_r2_keeps_its_digits_far_from_zero():
    y, p = normal() + 1000, normal() + 1000
    metric = metrics.r2_score()
    got = metric.result(metric.measure(y, p)).item()
    y, p = y.astype("float64"), p.astype("float64")
    assert got == pytest.approx(1 - ((y - p) ** 2).sum() / ((y - y.mean()) ** 2).sum(), rel=1e-5)


def test_names():
    assert metrics.as_metric(metrics.accuracy).name == "accuracy"
    top = partial(metrics.sparse_top_k_categorical_accuracy, k=2)
    assert metrics.as_metric(top).name == "sparse_top_k_categorical_accuracy"
    assert metrics.mean(top, "top_2").name == "top_2"
    auc = metrics.auc(name="area")
    assert metrics.as_metric(auc) is auc and auc.name == "area"
    assert metrics.accuracy(ids(3), share(3)).shape == (N,)


def test_bad_arguments_are_named():
    with pytest.raises(ArgumentError, match="a metric is"):
        metrics.as_metric("accuracy")
    with pytest.raises(ArgumentError, match="thresholds=1.5"):
        metrics.precision(1.5)
    with pytest.raises(ArgumentError, match="curve='XYZ'"):
        metrics.auc(curve="XYZ")
    with pytest.raises(ArgumentError, match="num_thresholds=1"):
        metrics.auc(1)
    with pytest.raises(ArgumentError, match="precision_at_recall: 2 must be in 0 .. 1"):
        metrics.precision_at_recall(2)
    with pytest.raises(ArgumentError, match="beta=0"):
        metrics.fbeta_score(beta=0)
    metric = metrics.as_metric(metrics.mean_squared_error)
    with pytest.raises(ShapeError, match=r"sample_weight has shape \(3,\)"):
        metric.measure(normal(2), normal(2), np.ones(3, "float32"))
    with pytest.raises(ShapeError, match="must be the same"):
        metrics.auc().measure(bits(), share(1))
