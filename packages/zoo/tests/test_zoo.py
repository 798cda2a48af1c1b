"""Models and converters without their references, which tests/test_zoo_*.py compare them with."""

import monograph as mg
import monograph_zoo as zoo
import numpy as np
import pytest
from monograph_zoo.architectures import DEPTHWISE, KERNEL, PYTORCH, architectures


def test_load_keeps_batch_statistics_out_of_training():
    store = mg.Store()
    arrays = {f"norm/{n}": np.ones(3) for n in ("gamma", "beta", "moving_mean", "moving_variance")}
    zoo.load(store, arrays)
    assert store.trainable == ["norm/beta", "norm/gamma"]
    zoo.load(store, {"norm/moving_mean": np.zeros(3)})
    assert store["norm/moving_mean"].tolist() == [0, 0, 0]
    with pytest.raises(mg.errors.VariableError, match="shape"):
        zoo.load(store, {"norm/gamma": np.ones(4)})


TEXT, IMAGE = mg.Spec((1, 8), "int32"), mg.Spec((1, 224, 224, 3))


@pytest.mark.parametrize(
    "model, x, count", [
        (zoo.bert, TEXT, 109_482_240), (zoo.mobilenet_v1, IMAGE, 4_231_976),
        (zoo.mobilenet_v2, IMAGE, 3_504_872), (zoo.resnet50, IMAGE, 25_557_032),
        (zoo.resnet101, IMAGE, 44_549_160), (zoo.resnet152, IMAGE, 60_192_808),
        (zoo.resnet_cifar, mg.Spec((1, 32, 32, 3)), 269_722), (zoo.t5_encoder, TEXT, 35_330_816),
        (zoo.vit, IMAGE, 86_389_248), (zoo.xception, IMAGE, 22_855_952),
    ], ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_models_have_the_published_numbers_of_parameters(model, x, count):
    specs = mg.variables(model, x)
    assert sum(s.size for path, s in specs.items() if "moving_" not in path) == count


def test_hugging_face_names_of_a_resnet():
    entry = architectures["ResNetForImageClassification"]
    names = {
        "stem/conv/kernel": "resnet.embedder.embedder.convolution.weight",
        "stage1/block2/layer3/norm/moving_variance":
            "resnet.encoder.stages.0.layers.1.layer.2.normalization.running_var",
        "stage4/block1/shortcut/conv/kernel":
            "resnet.encoder.stages.3.layers.0.shortcut.convolution.weight",
        "logits/bias": "classifier.1.bias",
    }  # fmt: skip
    assert {path: entry.named(path)[0] for path in names} == names


@pytest.mark.parametrize("layout", PYTORCH, ids=lambda row: row[0])
def test_layouts_lead_there_and_back_in_views(layout):
    layout = layout[2]
    ours = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    for array in (ours, ours[0], ours[0, 0], ours[0, 0, 0]):
        if array.ndim < {DEPTHWISE: 4, KERNEL: 2}.get(layout, 1):
            continue
        theirs = layout.theirs(np.ascontiguousarray(array))
        back = layout.ours(theirs, array.shape)
        assert (back == array).all() and np.shares_memory(back, theirs)


def test_haiku_names_and_shapes_under_any_outer_module():
    one = np.ones((1, 1, 1, 4))
    params = {
        "net/~/res_net50/~/initial_conv": {"w": np.zeros((7, 7, 3, 64))},
        "res_net50/~/block_group_1/~/block_0/~/batchnorm_2": {"scale": one, "offset": one},
        "res_net50/~/block_group_0/~/block_1/~/shortcut_conv": {"w": np.zeros((1, 1, 4, 8))},
    }
    state = {
        "res_net50/~/initial_batchnorm/~/var_ema": {"average": one, "hidden": one, "counter": 1},
    }
    got = zoo.from_haiku.resnet(params, state)
    assert {path: value.shape for path, value in got.items()} == {
        "stem/conv/kernel": (7, 7, 3, 64),
        "stage2/block1/layer3/norm/gamma": (4,),
        "stage2/block1/layer3/norm/beta": (4,),
        "stage1/block2/shortcut/conv/kernel": (1, 1, 4, 8),
        "stem/norm/moving_variance": (4,),
    }


def test_kerass_numbered_shortcuts_are_told_apart_by_their_order():
    names = ["conv2d_9", "batch_normalization_4", "conv2d_10", "batch_normalization_5"]
    got = zoo.from_keras.xception([(f"{n}/{v}", np.zeros(1)) for n in names for v in ("a", "b")])
    assert list(got) == [
        "block2_shortcut/a", "block2_shortcut/b", "block2_shortcut_bn/a", "block2_shortcut_bn/b",
        "block3_shortcut/a", "block3_shortcut/b", "block3_shortcut_bn/a", "block3_shortcut_bn/b",
    ]  # fmt: skip


def test_dropout_and_statistics_move_in_training_only():
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    store = mg.Store(seed=0)
    options = dict(alpha=0.125, classes=5, dropout=0.5)
    calm = store.bind(zoo.mobilenet_v1, "numpy", **options)
    assert calm(x).tolist() == calm(x).tolist()
    before = store.numpy()
    store.bind(zoo.mobilenet_v1, "numpy", training=True, **options)(x)
    moved = {path for path, value in before.items() if (store[path].numpy() != value).any()}
    assert moved == {path for path in before if "/moving_" in path}
