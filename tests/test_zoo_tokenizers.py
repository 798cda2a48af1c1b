"""Tokenizers of both kinds of file, made here; and text through a model that has one."""

import io
import sys

import monograph_zoo as zoo
import numpy as np
import pytest
from monograph.errors import ArgumentError, FileFormatError, PluginError, StorageError

WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "the",
    "lazy",
    "dog,",
    "and",
    "naïve",
    "cats",
    "—",
    "東京",
    "—",
    "sleep",
]
TEXTS = [" ".join(np.random.default_rng(i).permutation(WORDS)) for i in range(200)]


def hugging_face(folder):
    tokenizers = pytest.importorskip("tokenizers", reason="makes the file")
    made = tokenizers.ByteLevelBPETokenizer()
    made.train_from_iterator(TEXTS, vocab_size=300, special_tokens=["<end>"])
    made.enable_padding(length=50)
    made.save(str(folder / "tokenizer.json"))
    return made


def sentence_piece(folder):
    library = pytest.importorskip("sentencepiece", reason="makes the file")
    out = io.BytesIO()
    library.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_writer=out, vocab_size=100, byte_fallback=False,
        character_coverage=1.0, minloglevel=2, hard_vocab_limit=False,
    )  # fmt: skip
    (folder / "tokenizer.model").write_bytes(out.getvalue())
    return library.SentencePieceProcessor(model_proto=out.getvalue())


def test_hugging_faces_tokenizer_file(tmp_path):
    made = hugging_face(tmp_path)
    made.no_padding()
    got = zoo.tokenizer(tmp_path)
    for text in TEXTS[:5]:
        assert got.encode(text) == made.encode(text).ids, (
            "padding that the file asks for is left out"
        )
        assert got.decode(got.encode(text)) == text
    assert got.decode([*got.encode("the fox"), 0]) == "the fox", "special tokens are left out"
    assert got.library.get_vocab_size() == made.get_vocab_size()


def test_sentence_pieces_file(tmp_path):
    made = sentence_piece(tmp_path)
    got = zoo.tokenizer(tmp_path / "tokenizer.model")
    for text in TEXTS[:5]:
        assert got.encode(text) == [made.bos_id(), *made.encode(text)]
        assert got.decode([*got.encode(text), made.eos_id()]) == text


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer.model"])
def test_damaged_and_missing_files(tmp_path, name, monkeypatch):
    with pytest.raises(StorageError, match="has neither tokenizer.json nor tokenizer.model"):
        zoo.tokenizer(tmp_path)
    library = {"tokenizer.json": "tokenizers", "tokenizer.model": "sentencepiece"}[name]
    pytest.importorskip(library)
    (tmp_path / name).write_bytes(b"\x0a\xff{damaged")
    with pytest.raises(FileFormatError, match=f"{name}: {library} cannot read it"):
        zoo.tokenizer(tmp_path)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(PluginError, match=f"needs the package {library}: pip install"):
        zoo.tokenizer(tmp_path)


def test_text_is_continued_and_streamed(tmp_path):
    """By a model whose folder has a tokenizer; what its tokens say is what is told in pieces."""
    made = hugging_face(tmp_path)
    made.no_padding()
    size = made.get_vocab_size()
    config = {
        "architectures": ["GPT2LMHeadModel"], "vocab_size": size, "n_positions": 64, "n_embd": 16,
        "n_layer": 1, "n_head": 2, "eos_token_id": 0, "initializer_range": 0.5,
    }  # fmt: skip
    model = zoo.huggingface.from_weights(config)
    model.on("numpy").call(np.zeros((1, 1), "int32"))
    rng = np.random.default_rng(0)
    for path in model.store:
        if path != "norm/gamma":
            model.store[path] = rng.normal(0, 0.5, model.store[path].shape)
    zoo.save_pretrained(model, tmp_path)
    model = zoo.from_pretrained(tmp_path).on("numpy")

    prompt = "the quick"
    ids = zoo.generate(model, [made.encode(prompt).ids], 12, temperature=1.0, seed=2)
    new = ids[0, len(made.encode(prompt).ids) :].tolist()
    pieces = []
    text = zoo.generate(model, prompt, 12, temperature=1.0, seed=2, stream=pieces.append)
    assert text == made.decode(new)
    assert "".join(pieces) == text.rstrip("\N{REPLACEMENT CHARACTER}")
    assert len(pieces) == len(new) > 3
    zoo.generate(model.on("numpy"), prompt, 3)
    assert len(model.generators) == 1, "what is compiled is kept with the model"
    two = zoo.generate(model, [prompt, "cats"], 5)
    assert len(two) == 2 and two[0] == zoo.generate(model, prompt, 5)
    rows = zoo.generate(model, [made.encode(t).ids for t in (prompt, "cats")], 12)[:, -12:].tolist()
    end = rows[0][2]
    cut = [row[: row.index(end) + 1 if end in row else None] for row in rows]
    assert zoo.generate(model, [prompt, "cats"], 12, stop=end) == [made.decode(row) for row in cut]
    with pytest.raises(ArgumentError, match="cannot be mixed with tokens"):
        zoo.generate(model, [prompt, [1, 2]])
