"""Tokenizers of a model's folder, by the libraries that made them: `tokenizer` is all there is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from monograph.errors import FileFormatError, PluginError, StorageError


class Tokenizer(NamedTuple):
    """Text to tokens and back.

    Attributes:
        encode: a text to its tokens, as a list of integers.
        decode: a list of tokens to their text, without special ones.
        library: the object that does it, with all it can besides.
    """

    encode: Callable[[str], list[int]]
    decode: Callable[[Sequence[int]], str]
    library: Any


def tokenizer(folder: Any) -> Tokenizer:
    """The tokenizer in a folder: of ``tokenizer.json`` or, without it, of ``tokenizer.model``.

    Args:
        folder: a path; or one of the two files.

    Raises:
        StorageError: the folder has neither.
        FileFormatError: a file that the library cannot read.
        PluginError: the library is not installed: tokenizers (Hugging Face) or sentencepiece.
    """
    path = Path(folder)
    tried = [path / name for name in _READERS] if path.is_dir() else [path]
    found = next((p for p in tried if p.is_file() and p.name in _READERS), None)
    if found is None:
        raise StorageError(f"{folder} has neither {' nor '.join(_READERS)}")
    library, read = _READERS[found.name]
    try:
        return read(found)
    except ImportError as e:
        raise PluginError(
            f"{found} needs the package {library}: pip install 'monograph-zoo[tokenizers]'"
        ) from e
    except Exception as e:  # of no class of their own
        raise FileFormatError(f"{found}: {library} cannot read it: {e}") from e


def _hugging_face(path: Path) -> Tokenizer:
    from tokenizers import Tokenizer as Library

    made = Library.from_file(str(path))
    made.no_padding()  # which a file may ask for; rows are padded where they become a batch
    made.no_truncation()
    return Tokenizer(lambda text: made.encode(text).ids, lambda ids: made.decode(list(ids)), made)


def _sentence_piece(path: Path) -> Tokenizer:
    from sentencepiece import SentencePieceProcessor

    made = SentencePieceProcessor(model_file=str(path))
    first = made.bos_id()  # -1: there is none
    start = [first] if first >= 0 else []
    special = {made.bos_id(), made.eos_id(), made.pad_id()}
    return Tokenizer(
        lambda text: start + made.encode(text),
        lambda ids: made.decode([int(i) for i in ids if i not in special]),
        made,
    )


_READERS: dict[str, tuple[str, Callable[[Path], Tokenizer]]] = {
    "tokenizer.json": ("tokenizers", _hugging_face),
    "tokenizer.model": ("sentencepiece", _sentence_piece),
}
