"""Text from decoders: one compiled step reads a token, with a cache of keys and values, and makes the next."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import monograph as mg
import numpy as np
from monograph.errors import ArgumentError

from . import beams as beam_search
from ._decoding import Cache
from ._prompt import Prompt, prompt_of, tokens_of
from .sampling import Sampling

PROMPT, CACHE = 16, 64
"""Lengths are rounded up to multiples of these, so that few different ones are compiled."""


class State(NamedTuple):
    """What is handed from step to step: donated, so that it is changed in place.

    Attributes:
        token: the last ones, ``[batch, 1]``.
        cache: of all before them.
        position: theirs, ``[batch]``.
        ended: whether a sequence came to its end, ``[batch]``.
        key: for what is drawn at random.
    """

    token: Any
    cache: Cache
    position: Any
    ended: Any
    key: Any


class Plan(NamedTuple):
    """What is compiled: everything a call may choose but the numbers.

    Attributes:
        new: how many tokens at most, where the number is part of a shape.
    """

    sampling: Sampling
    stop: tuple[int, ...]
    pad: int
    cache_length: int
    beams: int
    new: int
    length_penalty: float
    early_stopping: bool


class Generator:
    """A decoder made ready to generate: its steps are compiled once for each shape and choice.

    Args:
        model: of `monograph_zoo.from_pretrained`; or a function of a scope such as
            `monograph_zoo.gpt2`, made partial with its options, whose ``vocabulary`` and ``context``
            are then known here.
        store: the variables, of a model that is a function.
        engine: where it runs; None follows `mg.engine`.
        tokenizer: of `monograph_zoo.tokenizer`, for text.
        stop: tokens that end a sequence, where a call does not say.

    >>> import functools
    >>> import monograph_zoo as zoo
    >>> options = dict(vocabulary=20, context=32, features=4, layers=1, heads=2)
    >>> model = functools.partial(zoo.gpt2, **options)
    >>> generator = Generator(model, mg.Store(seed=0), engine="numpy")
    >>> generator([[1, 2, 3]], 4).shape
    (1, 7)
    """

    def __init__(
        self, model: Any, store: mg.Store | None = None, engine: Any = None, *,
        tokenizer: Any = None, stop: int | Sequence[int] | None = None,
    ):  # fmt: skip
        first: dict[str, Any] = {}
        if imported := isinstance(model, mg.importing.Imported):
            store, first = store or model.store, model.parameters
            said = tokens_of(getattr(model, "config", {}).get("eos_token_id"))
            tokenizer = tokenizer or model  # which is asked for its own when there is text
            model = model.run
        if store is None:
            raise ArgumentError("a model that is a function needs the store of its variables")
        options = getattr(model, "keywords", {})
        if "cache" not in inspect.signature(model).parameters or not options.get(
            "include_top", True
        ):
            raise ArgumentError(
                "only decoders with their head generate: functions that take a cache"
            )
        self.store, self.engine, self.tokenizer = store, engine, tokenizer
        self.vocabulary, self.context = options.get("vocabulary"), options.get("context")
        if imported and stop is None:  # small models are said to end with a token that they lack
            stop = [t for t in said if 0 <= t < (self.vocabulary or 2**31)]
        self.stop = stop
        self._bound: dict[Any, Any] = {}

        def decoder(scope: mg.Scope, *args: Any, cache: Any) -> tuple[Any, Cache]:
            """Scores of the next token ``[batch, vocabulary]``, and the cache."""
            y, cache = model(scope.starting(first), *args, cache=cache, last=True)
            return mg.astype(y[:, -1], "float32"), cache

        self._decoder = decoder

    def __call__(
        self, prompt: Any, max_new_tokens: int = 20, *, stream: Callable[[Any], Any] | None = None,
        beams: int = 1, **choices: Any,
    ) -> Any:  # fmt: skip
        """Continue a prompt; `generate` documents the arguments and the result."""
        asked, plan, seed = self._asked(prompt, max_new_tokens, beams=beams, **choices)
        if beams > 1:
            if stream is not None:
                raise ArgumentError(
                    "beams can be told only when all are done: no stream with beams"
                )
            return asked.result(self._searched(asked, plan), plan.stop)
        made = []
        for tokens in self._steps(asked, plan, max_new_tokens, seed):
            made.append(tokens)
            if stream is not None:
                stream(asked.piece(made, plan.stop))
        return asked.result(np.stack(made, axis=1), plan.stop)

    def stream(self, prompt: Any, max_new_tokens: int = 20, **choices: Any) -> Iterator[Any]:
        """The same as it comes: tokens ``[batch]``, or pieces of text; all but ``beams``."""
        asked, plan, seed = self._asked(prompt, max_new_tokens, **choices)
        made: list[np.ndarray] = []
        for tokens in self._steps(asked, plan, max_new_tokens, seed):
            made.append(tokens)
            yield asked.piece(made, plan.stop)

    def _asked(
        self, prompt: Any, new: int, *, attention_mask: Any = None,
        temperature: float | None = None, top_k: int | None = None, top_p: float | None = None,
        beams: int = 1, length_penalty: float = 1.0, early_stopping: bool = False, seed: int = 0,
        stop: int | Sequence[int] | None = None, pad: int | None = None,
        cache_length: int | None = None,
    ) -> tuple[Prompt, Plan, int]:  # fmt: skip
        """The prompt and the plan; all that is wrong with them is said at once."""
        asked = prompt_of(prompt, attention_mask, self.tokenizer)
        sampling = Sampling(temperature, top_k, top_p)
        ends = tokens_of(self.stop if stop is None else stop)
        pad = (ends[0] if ends else 0) if pad is None else pad
        length = asked.ids.shape[1]
        least = _rounded(length, PROMPT) + new
        ill = asked.problems(self.vocabulary) + sampling.problems()
        if new < 1:
            ill.append(f"max_new_tokens={new} must be at least 1")
        if beams < 1:
            ill.append(f"beams={beams} must be at least 1")
        if beams > 1 and sampling != Sampling():
            ill.append("beams take the most probable: no temperature, top_k or top_p with them")
        if cache_length is not None and cache_length < length + new:
            ill.append(
                f"cache_length={cache_length} holds less than the prompt's {length} tokens and {new} "
                f"new ones"
            )
        if self.context is not None and asked.longest + new > self.context:
            ill.append(
                f"the prompt's {asked.longest} tokens and {new} new ones are more than the model's "
                f"{self.context} positions"
            )
        if self.vocabulary is not None:
            ill += [
                f"token {t} of stop or pad is not in 0..{self.vocabulary - 1}"
                for t in sorted({*ends, pad}) if not 0 <= t < self.vocabulary
            ]  # fmt: skip
        if ill:
            raise mg.tracing.at_user_line(ArgumentError("; ".join(ill)))
        if cache_length is None:
            asked, cache_length = asked.padded(PROMPT), _rounded(least, CACHE)
        by_beams = (beams, new, length_penalty, early_stopping) if beams > 1 else (1, 0, 1.0, False)
        return asked, Plan(sampling, ends, pad, cache_length, *by_beams), seed

    def _steps(self, asked: Prompt, plan: Plan, new: int, seed: int) -> Iterator[np.ndarray]:
        """Tokens ``[batch]``, until each sequence has ended."""
        read, step = self._compiled(plan, _read, _step)
        ended = np.zeros(len(asked.ids), bool)
        state = read(asked.ids, asked.mask, mg.random.key(seed))
        for i in range(new):
            if i:
                state = step(state)
            tokens = np.array(state.token.numpy())[:, 0]
            yield tokens
            ended |= np.isin(tokens, plan.stop)
            if ended.all():
                return

    def _searched(self, asked: Prompt, plan: Plan) -> np.ndarray:
        """The best continuation of each prompt, ``[batch, longest]``."""
        read, step = self._compiled(plan, _read_beams, _step_beams)
        search, last = read(asked.ids, asked.mask)
        while search.going.item():
            search, last = step(search, last)
        lengths = search.ended.lengths.numpy()[:, 0]
        return search.ended.tokens.numpy()[:, 0, : lengths.max()]

    def _compiled(self, plan: Plan, read: Callable, step: Callable) -> tuple[Any, Any]:
        """Both for this plan; what the second is handed it may overwrite."""
        if plan not in self._bound:
            static: dict[str, Any] = {"decoder": self._decoder, "plan": plan}
            self._bound[plan] = (
                self.store.bind(read, self.engine, **static),
                self.store.bind(step, self.engine, donate_argnums=0, **static),
            )
        return self._bound[plan]


def generate(model: Any, prompt: Any, max_new_tokens: int = 20, **options: Any) -> Any:
    """Continue a prompt with a decoder.

    What it compiles is kept with a model of `from_pretrained`, whose ``on(engine)`` says where it
    runs; for other functions keep a `Generator`.

    Args:
        model: as of `Generator`, whose ``store``, ``engine`` and ``tokenizer`` are options here too.
        prompt: integers ``[batch, length]``; or lists of them, which may differ in length; or a text
            or several, where the model has a tokenizer.
        max_new_tokens: how many at most.
        attention_mask: ``[batch, length]``, 0 for padding, which comes before the tokens.
        temperature, top_k, top_p: draw at random, as `monograph_zoo.sampling.Sampling` says. Without
            them each token is the most probable.
        seed: of what is drawn; the same numbers on every engine.
        beams: how many continuations are followed side by side (beam search).
        length_penalty: beams are compared by their log probability over their length to this power.
        early_stopping: whether to stop as soon as all beams have ended.
        stop: tokens that end a sequence; by default what the configuration says.
        pad: what follows the end of a sequence while others go on; the first of ``stop`` by default.
        cache_length: how many tokens the cache holds: by default as many as are needed, rounded up.
        stream: is called with the new tokens ``[batch]`` of each step, or with pieces of text.

    Returns:
        NumPy int32 ``[batch, length + new]``, the prompt first; of texts, their continuations.

    Raises:
        ArgumentError: lists every option that is out of range, and every prompt that does not fit.

    >>> import functools
    >>> import monograph_zoo as zoo
    >>> options = dict(vocabulary=20, context=32, features=4, layers=1, heads=2)
    >>> model, store = functools.partial(zoo.gpt2, **options), mg.Store(seed=0)
    >>> generate(model, [[1, 2, 3]], 4, top_k=5, seed=1, store=store, engine="numpy").shape
    (1, 7)
    """
    own = {k: options.pop(k) for k in ("store", "engine", "tokenizer") if k in options}
    kept = None if own else getattr(model, "generators", None)
    if kept is None:
        return Generator(model, **own)(prompt, max_new_tokens, **options)
    key = (model.engine, model.run)
    if key not in kept:
        kept[key] = Generator(model, engine=model.engine)
    return kept[key](prompt, max_new_tokens, **options)


def _rounded(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple


def _prefill(scope: mg.Scope, ids: Any, mask: Any, decoder: Callable, plan: Plan) -> tuple:
    """Scores of the token after the prompts, their cache, and that token's position."""
    count = mg.cumulative_sum(mg.astype(mask, "int32"), axis=1)
    scores, cache = decoder(scope, ids, mask, mg.maximum(count - 1, 0), cache=plan.cache_length)
    return scores, cache, count[:, -1]


def _next(scores: Any, state: State, plan: Plan) -> State:
    """The state with the next token chosen."""
    token, key = plan.sampling.choose(scores, state.key)
    token = mg.where(state.ended, plan.pad, mg.astype(token, "int32"))
    stops = mg.isin(token, mg.asarray(plan.stop, dtype="int32")) if plan.stop else token < 0
    return state._replace(
        token=token[:, None], key=key, ended=mg.logical_or(state.ended, stops)
    )  # fmt: skip


def _read(
    scope: mg.Scope, ids: Any, mask: Any, key: Any, *, decoder: Callable, plan: Plan
) -> State:
    scores, cache, position = _prefill(scope, ids, mask, decoder, plan)
    going = mg.zeros(position.shape, dtype=mg.bool)
    return _next(scores, State(None, cache, position, going, key), plan)


def _step(scope: mg.Scope, state: State, *, decoder: Callable, plan: Plan) -> State:
    places = state.position[:, None]
    scores, cache = decoder(scope, state.token, None, places, cache=state.cache)
    return _next(scores, state._replace(cache=cache, position=state.position + 1), plan)


def _read_beams(scope: mg.Scope, ids: Any, mask: Any, *, decoder: Callable, plan: Plan) -> tuple:
    scores, cache, position = _prefill(scope, ids, mask, decoder, plan)
    search = beam_search.started(cache, position, plan.beams, plan.new, plan.pad)
    return _advanced(search, mg.repeat(scores, plan.beams, axis=0), plan)


def _step_beams(
    scope: mg.Scope, search: beam_search.Search, last: Any, *, decoder: Callable, plan: Plan
) -> tuple:
    scores, cache = decoder(scope, last, None, search.position[:, None], cache=search.cache)
    return _advanced(search._replace(cache=cache, position=search.position + 1), scores, plan)


def _advanced(search: beam_search.Search, scores: Any, plan: Plan) -> tuple:
    return beam_search.advanced(search, scores, plan.stop, plan.length_penalty, plan.early_stopping)
