"""Folders in Hugging Face's layout, sound and hostile; tests/test_zoo_huggingface.py compares the models."""

import json
import time

import monograph as mg
import monograph_zoo as zoo
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from monograph.errors import (
    ArgumentError,
    FileFormatError,
    StorageError,
    UnsupportedModel,
    VariableError,
)
from monograph_zoo.architectures import KERNEL, Architecture, Layout, architectures

CONFIG = {
    "architectures": ["BertModel"], "vocab_size": 11, "hidden_size": 8, "num_hidden_layers": 1,
    "num_attention_heads": 2, "intermediate_size": 6, "max_position_embeddings": 5,
}  # fmt: skip
IDS = np.array([[1, 2, 3]])


@pytest.fixture(scope="module")
def made():
    """A model with random weights, run once so that they are there."""
    model = zoo.huggingface.from_weights(CONFIG).on("numpy")
    model.call(IDS)
    return model


@pytest.fixture
def folder(made, tmp_path):
    zoo.save_pretrained(made, tmp_path / "model")
    return tmp_path / "model"


def weights(folder):
    return mg.load_safetensors(folder / "model.safetensors")


def rewrite(folder, change=lambda w: None, **config):
    """The folder with other weights, or another configuration."""
    found = weights(folder)
    change(found)
    mg.save_safetensors(found, folder / "model.safetensors")
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))


def sharded(folder, places=None):
    found = weights(folder)
    (folder / "model.safetensors").unlink()
    half = len(found) // 2
    for n, names in enumerate((list(found)[:half], list(found)[half:])):
        mg.save_safetensors({k: found[k] for k in names}, folder / f"model-{n}.safetensors")
    index = {k: f"model-{int(i >= half)}.safetensors" for i, k in enumerate(found)}
    index = {"metadata": {}, "weight_map": {**index, **(places or {})}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_a_folder_is_a_model_for_mg_load_too(made, folder):
    want = made.call(IDS)["last_hidden_state"].numpy()
    for model in (
        mg.load(folder),
        zoo.from_pretrained(str(folder)),
        mg.load(folder / "config.json"),
    ):
        got = model.on("numpy").call(IDS)["last_hidden_state"].numpy()
        assert (got == want).all() and model.config["hidden_size"] == 8


def test_weights_are_the_files_own_pages(folder):
    for path, value in mg.load(folder).parameters.items():
        while isinstance(value.base, np.ndarray):
            value = value.base
        assert isinstance(value, np.memmap), path


def test_shards_are_one_model(made, folder):
    sharded(folder)
    got = mg.load(folder).on("numpy").call(IDS)["pooler_output"].numpy()
    assert (got == made.call(IDS)["pooler_output"].numpy()).all()


@pytest.mark.parametrize(
    "place", ["../model-0.safetensors", "/etc/passwd", "a/b.safetensors", "..", "x.bin", 3, None,
              "..\\a.safetensors", "a\n.safetensors", ""],
)  # fmt: skip
def test_an_index_names_files_of_its_own_folder_only(folder, place):
    sharded(folder, {"pooler.dense.bias": place})
    with pytest.raises(FileFormatError, match=r"index\.json: its weight_map must give"):
        mg.load(folder)


def test_an_index_and_its_shards_must_agree(folder):
    sharded(folder, {"pooler.dense.bias": "model-0.safetensors", "more": "model-1.safetensors"})
    with pytest.raises(FileFormatError) as e:
        mg.load(folder)
    for problem in (
        "model-0.safetensors lacks pooler.dense.bias", "model-1.safetensors lacks more",
        "model-1.safetensors has pooler.dense.bias",
    ):  # fmt: skip
        assert problem in str(e.value)
    (folder / "model-1.safetensors").unlink()
    with pytest.raises(StorageError, match=r"model-1\.safetensors"):
        mg.load(folder)


def test_all_that_is_missing_unused_or_of_another_shape_is_said_at_once(folder):
    def change(w):
        del w["pooler.dense.bias"]
        w["extra.weight"] = np.zeros(3, "float32")
        w["embeddings.LayerNorm.weight"] = np.zeros(9, "float32")
        w["embeddings.LayerNorm.bias"] = np.zeros(8, "int32")
        w["embeddings.position_ids"] = np.arange(5)  # a buffer that older files have

    rewrite(folder, change)
    with pytest.raises(FileFormatError) as e:
        mg.load(folder)
    assert sorted(str(e.value).split("\n  ")[1:]) == [
        "embeddings.LayerNorm.bias has dtype int32, expected float32",
        "embeddings.LayerNorm.weight has shape (9,), expected (8,)",
        "extra.weight is unused",
        "pooler.dense.bias is missing",
    ]


def test_all_values_that_are_ill_are_said_at_once(folder):
    rewrite(
        folder, hidden_size="8", num_hidden_layers=0, layer_norm_eps=float("nan"), vocab_size=2**40,
        num_attention_heads=True,
    )  # fmt: skip
    with pytest.raises(FileFormatError) as e:
        mg.load(folder)
    for key in (
        "hidden_size is '8'", "num_hidden_layers is 0", "layer_norm_eps is nan",
        "vocab_size is 1099511627776", "num_attention_heads is True",
    ):  # fmt: skip
        assert key in str(e.value)


def test_null_and_whole_numbers_are_values_where_they_may_be():
    head = {**CONFIG, "architectures": ["BertForSequenceClassification"]}
    for changes in (
        {"pad_token_id": None, "classifier_dropout": None},
        {"pad_token_id": 0, "classifier_dropout": 0, "hidden_dropout_prob": 0},
    ):
        model = zoo.huggingface.from_weights({**head, **changes})
        assert model.on("numpy").call(IDS).shape == (1, 2)
    for key, value in (("pad_token_id", -1), ("classifier_dropout", "x"), ("hidden_act", None)):
        with pytest.raises(FileFormatError, match=f"{key} is {value!r}, expected something like"):
            zoo.huggingface.from_weights({**head, key: value})


def test_what_the_model_cannot_do_is_said_at_once(folder):
    rewrite(folder, hidden_act="snake", is_decoder=True, position_embedding_type="relative_key")
    with pytest.raises(UnsupportedModel, match=r"config\.json needs 3 thing") as e:
        mg.load(folder)
    for thing in (
        "hidden_act='snake'", "is_decoder=True", "position_embedding_type='relative_key'",
        "only False",
    ):  # fmt: skip
        assert thing in str(e.value)
    rewrite(folder, architectures=["BertForEverything"])
    with pytest.raises(UnsupportedModel, match=r"BertForEverything.*BertForMaskedLM, .*BertModel"):
        mg.load(folder)


def test_a_weight_by_two_names_is_refused_and_no_end_of_problems_is_said(folder):
    both = {"embeddings.LayerNorm.gamma": np.ones(8, "float32")}
    rewrite(folder, lambda w: w.update({**both, **{f"w{i}": np.zeros(1) for i in range(600)}}))
    with pytest.raises(
        FileFormatError, match=r"LayerNorm\.(gamma|weight) is there by another"
    ) as e:
        mg.load(folder)
    assert str(e.value).endswith("\n  and 101 more")


def test_what_is_no_array_is_said_by_name():
    ragged = {"pooler.dense.bias": [[1.0], [1.0, 2.0]]}
    with pytest.raises(ArgumentError, match=r"pooler\.dense\.bias is no array"):
        zoo.huggingface.from_weights(CONFIG, ragged)


@pytest.mark.parametrize("name", [None, [], "BertModel", [3], {}])
def test_a_configuration_names_its_architecture(folder, name):
    rewrite(folder, architectures=name)
    with pytest.raises(FileFormatError, match="'architectures' must be a list of names"):
        mg.load(folder)


@pytest.mark.parametrize(
    "config", [
        dict(num_hidden_layers=2**31 - 1), dict(hidden_size=2**31 - 1),
        dict(hidden_size=2**30, num_attention_heads=2**30), dict(max_position_embeddings=2**31 - 1),
        dict(num_attention_heads=2**31 - 1), dict(intermediate_size=2**31 - 1),
    ],
)  # fmt: skip
def test_absurd_sizes_are_refused_at_once(folder, config):
    rewrite(folder, **config)
    start = time.process_time()
    with pytest.raises(FileFormatError, match="do not fit|describes no model"):
        mg.load(folder)
    assert time.process_time() - start < 5, "a second, on a machine that does nothing else"


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[1]", b"null", b"\xff\xfe", b'{"a":' * 100_000, b"1" * 10_000],
    ids=["empty", "cut", "list", "null", "no text", "deep", "long number"],
)  # fmt: skip
def test_a_configuration_that_is_no_json_object_is_refused(folder, text):
    (folder / "config.json").write_bytes(text)
    with pytest.raises(FileFormatError, match=r"config\.json: it holds"):
        mg.load(folder)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 40) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=st.sampled_from(sorted(architectures)), data=st.data())
def test_no_configuration_raises_anything_but_our_errors(name, data):
    entry = architectures[name]
    keys = [row[0] for row in entry.options.values()] + [*entry.fixed, *entry.sizes]
    changes = data.draw(st.dictionaries(st.sampled_from(keys), VALUES, min_size=1, max_size=3))
    with pytest.raises((FileFormatError, UnsupportedModel)):
        zoo.huggingface.from_weights({"architectures": [name], **changes}, {})


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_damaged_weights_file_raises_nothing_but_our_errors(made, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damaged")
    zoo.save_pretrained(made, folder)
    path = folder / "model.safetensors"
    raw = bytearray(path.read_bytes())
    header = 8 + int.from_bytes(raw[:8], "little")
    raw[data.draw(st.integers(0, header - 1))] ^= data.draw(st.integers(1, 255))
    end = data.draw(st.integers(0, len(raw)))
    path.write_bytes(raw[:end])
    try:
        mg.load(folder)
    except (FileFormatError, StorageError):
        return
    assert end == len(raw), (
        "a file that was cut off is noticed; a changed letter of its notes is not"
    )


def test_names_of_older_files_and_tied_weights(tmp_path):
    config = {**CONFIG, "architectures": ["BertForMaskedLM"]}
    made = zoo.huggingface.from_weights(config).on("numpy")
    want = made.call(IDS).numpy()
    zoo.save_pretrained(made, tmp_path)

    def old(w):
        w["cls.predictions.decoder.weight"] = w["bert.embeddings.word_embeddings.weight"]
        w["bert.embeddings.LayerNorm.gamma"] = w.pop("bert.embeddings.LayerNorm.weight")
        w["cls.seq_relationship.weight"] = np.zeros((2, 8), "float32")

    rewrite(tmp_path, old)
    assert (mg.load(tmp_path).on("numpy").call(IDS).numpy() == want).all()
    base = zoo.from_pretrained(tmp_path, architecture="BertModel", pooler=False)
    assert base.on("numpy").call(IDS)["last_hidden_state"].shape == (1, 3, 8)
    rewrite(tmp_path, lambda w: w.update({"cls.predictions.decoder.weight": np.ones((11, 8), "f")}))
    with pytest.raises(FileFormatError, match=r"decoder\.weight differs from bert\.embeddings"):
        mg.load(tmp_path)


def test_weights_of_16_bits_are_widened_when_they_are_used(made, folder):
    rewrite(folder, lambda w: w.update({k: v.astype("float16") for k, v in w.items()}))
    model = mg.load(folder).on("numpy")
    assert {v.dtype for v in model.parameters.values()} == {np.dtype("float16")}
    got, want = (m.call(IDS)["last_hidden_state"].numpy() for m in (model, made))
    assert 0 < np.abs(got - want).max() < 0.05


def test_training_goes_on_in_a_store_of_ones_own_and_is_saved_from_it(made, folder, tmp_path):
    model, store = mg.load(folder), mg.Store()
    store.bind(lambda scope, ids: model.model(scope / "part", ids), "numpy")(IDS)
    store["part/pooler/dense/bias"] = np.full(8, 7.0)
    zoo.save_pretrained(model, tmp_path / "tuned", store, scope="part")
    got, before = weights(tmp_path / "tuned"), weights(folder)
    changed = [k for k in before if (got[k] != before[k]).any()]
    assert changed == ["pooler.dense.bias"] and (got[changed[0]] == 7).all()


def test_what_has_no_value_yet_cannot_be_saved(tmp_path):
    with pytest.raises(VariableError, match=r"pooler/dense/bias.*run the model first"):
        zoo.save_pretrained(zoo.huggingface.from_weights(CONFIG), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_other_options_share_the_store(made):
    other = made.with_options(training=True, dropout=0.5)
    assert other.store is made.store
    a, b = (other.call(IDS)["last_hidden_state"].numpy() for _ in range(2))
    assert (a != b).any() and (made.call(IDS)["last_hidden_state"].numpy() != a).any()


def test_a_tokenizer_comes_along(made, folder, tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "?": 1}, unk_token="?"))
    words.save(str(folder / "tokenizer.json"))
    zoo.save_pretrained(mg.load(folder), tmp_path / "again")
    assert mg.load(tmp_path / "again").tokenizer.encode("a") == [0]
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(FileFormatError, match=r"tokenizer\.json"):
        _ = mg.load(folder).tokenizer
    with pytest.raises(StorageError, match="BertModel was read from no folder"):
        _ = made.tokenizer


def test_ids_are_looked_for_in_the_cache_and_never_fetched_unasked(folder, tmp_path, monkeypatch):
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(StorageError, match="nothing of that name; download=True fetches it"):
        zoo.from_pretrained("someone/tiny")
    cached = tmp_path / "hub" / "models--someone--tiny"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("abc")
    (cached / "snapshots").mkdir()
    folder.rename(cached / "snapshots" / "abc")
    assert zoo.from_pretrained("someone/tiny").name == "BertModel"
    assert mg.load("someone/tiny", format="huggingface").name == "BertModel"
    for odd in ("../tiny", "a/b/c", "/nowhere", "x y"):
        with pytest.raises(StorageError, match="no such folder"):
            zoo.from_pretrained(odd)


def test_a_folder_without_safetensors_says_how_else(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(StorageError, match=r"neither model\.safetensors nor .*from_weights"):
        zoo.from_pretrained(folder)


def test_several_of_ours_may_lie_in_one_of_theirs(monkeypatch, tmp_path):
    def model(scope, x):
        q, k = (x @ (scope / n).parameter("kernel", (2, 3)) for n in "qk")
        return q - k

    entry = Architecture(
        model, lambda sizes: (mg.importing.Input("x", ("batch", 2), mg.float32),),
        leaves=tuple(
            (f"^{n}/kernel$", "fused.weight", Layout(KERNEL.ours, KERNEL.theirs, (i, 2, 0)))
            for i, n in enumerate("qk")
        ),
    )  # fmt: skip
    monkeypatch.setitem(architectures, "Fused", entry)
    fused = np.arange(12, dtype="float32").reshape(6, 2)
    ours = zoo.huggingface.from_weights({"architectures": ["Fused"]}, {"fused.weight": fused})
    x = np.array([[1, 2]], "float32")
    want = x @ fused[:3].T - x @ fused[3:].T
    assert (ours.on("numpy").call(x).numpy() == want).all()
    zoo.save_pretrained(ours, tmp_path)
    assert (weights(tmp_path)["fused.weight"] == fused).all()
    with pytest.raises(FileFormatError, match=r"shape \(5, 2\), expected \(6, 2\)"):
        zoo.huggingface.from_weights(
            {"architectures": ["Fused"]}, {"fused.weight": fused[:5], "position_ids": fused}
        )
