"""A cache for Hugging Face Transformers that begins with what kvtier holds of the prompt.

    store = kvtier.transformers.KvTierStore(model)            # once a model; any number of prompts
    cache = store.cache(input_ids)
    model.generate(input_ids, past_key_values=cache)          # the full prompt; computes only the uncached tail

Where loading is slow, store.restore(model, input_ids) computes the head of what is cached while its tail is loaded,
and meets it; where that is not better, or not right for the model, it is the same as store.cache(input_ids).

Full chunks are stored while the model runs, also of what it generates. One sequence at a time (batch size 1);
anything else works as with a DynamicCache, but nothing is stored of it.
"""
from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
import weakref
from dataclasses import dataclass
from typing import Any, Optional

import torch
import transformers
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

import kvtier
from kvtier._model_facts import ids_of, is_plain, takes_other_inputs, weights_fingerprint, weights_mark

TESTED_VERSIONS = ("5.19.0",)
LAYOUT_VERSION = 1
_VOLATILE = ("_name_or_path", "transformers_version", "architectures", "torch_dtype", "dtype", "use_cache")
# After a store that failed, none is tried for this long: an absent daemon costs nothing.
_PAUSE_SECONDS = 1.0
logger = logging.getLogger("kvtier.transformers")


@dataclass(frozen=True)
class Shape:
    """Of one layer: heads, and the sizes of a head's key and value."""

    heads: int
    key: int
    value: int

    def bytes(self, tokens: int, item: int) -> int:
        return self.heads * (self.key + self.value) * tokens * item


class KvTierStore:
    """A model's place in kvtier. Runs one token through the model to learn what its layers keep."""

    def __init__(self, model: Any, *, session: Optional[kvtier.Session] = None, socket: str = "",
                 tokens_per_chunk: int = 64, fingerprint: str = "", verify: str = "default",
                 store_seconds_max: float = 0.5, plan: bool = True, load_seconds_max: float = 60.0) -> None:
        """plan: load only what the planner says is faster than computing it; False: all that is cached."""
        if transformers.__version__ not in TESTED_VERSIONS:
            logger.warning("kvtier: this is Transformers %s; the cache is tested with %s", transformers.__version__,
                           ", ".join(TESTED_VERSIONS))
        self.config = model.config
        self.chunk_tokens = tokens_per_chunk
        self.store_seconds_max = store_seconds_max
        self.load_seconds_max = load_seconds_max
        self.plan = plan
        self.retry_at = 0.0
        if takes_other_inputs(model.config):
            raise kvtier.Error("kvtier: the model takes images or sound beside token ids; equal ids are not equal prompts "
                               "there, so it cannot be cached by them")
        self.device, self.dtype, self.shapes = self._learn(model)
        self._tokens_per_chunk = tokens_per_chunk
        self._fingerprint = fingerprint
        self._model = weakref.ref(model)
        self.session = session or kvtier.Session(socket=socket, name="transformers", verify=verify)
        self.generation = 0  # of the weights: caches of an earlier one store nothing more
        self._name_weights(model)
        # The ids of the forward pass that runs: what the cache is not told.
        self._seen = threading.local()
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._hook = base.register_forward_pre_hook(self._see, with_kwargs=True)

    def _name_weights(self, model: Any) -> None:
        """The space of these weights."""
        item = torch.empty((), dtype=self.dtype).element_size()
        text = self.config.get_text_config(decoder=True)
        facts = {
            "engine": "transformers", "version": ".".join(transformers.__version__.split(".")[:2]),
            "layout": LAYOUT_VERSION, "weights": self._fingerprint or weights_fingerprint(model),
            "config": {k: v for k, v in sorted(text.to_dict().items()) if k not in _VOLATILE},
            "dtype": str(self.dtype), "tokens": self._tokens_per_chunk, "shapes": [vars(s) for s in self.shapes]}
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
        self.space = self.session.open_space(kvtier.SpaceSpec(
            f"{type(model).__name__}#{digest}", tokens_per_chunk=self._tokens_per_chunk,
            chunk_bytes=sum(shape.bytes(self._tokens_per_chunk, item) for shape in self.shapes),
            dtype=str(self.dtype).removeprefix("torch."), layout=f"hf-{LAYOUT_VERSION}", layers=len(self.shapes),
            kv_heads=self.shapes[0].heads, head_dim=self.shapes[0].key))
        self._mark = weights_mark(model)

    def current(self) -> bool:
        """Whether the weights are those that the space is named after. When not, those of now get a space of their
        own; with a fingerprint from outside nothing can name them, and nothing is loaded or stored any more."""
        model = self._model()
        if model is None:
            return False
        if weights_mark(model) == self._mark:
            return True
        self.generation += 1
        if self._fingerprint:
            logger.warning("kvtier: the weights are not those that fingerprint=%r was given for: nothing is cached "
                           "until a new KvTierStore is made", self._fingerprint)
            return False
        self._name_weights(model)
        return True

    @staticmethod
    @torch.no_grad()
    def _learn(model: Any) -> tuple[torch.device, torch.dtype, list[Shape]]:
        cache = DynamicCache()
        device = model.get_input_embeddings().weight.device
        model(input_ids=torch.zeros((1, 1), dtype=torch.long, device=device), past_key_values=cache, use_cache=True)
        if not cache.layers or not all(isinstance(layer, DynamicLayer) for layer in cache.layers):
            raise kvtier.Error("kvtier: the model keeps other things than keys and values of each token")
        shapes = []
        for layer in cache.layers:
            keys, values = layer.keys, layer.values
            if keys is None or keys.shape[:3] != values.shape[:3] or keys.shape[2] != 1:
                raise kvtier.Error("kvtier: a layer keeps something else than keys and values of each token")
            shapes.append(Shape(keys.shape[1], keys.shape[3], values.shape[3]))
        first = cache.layers[0]
        return first.keys.device, first.keys.dtype, shapes

    def _see(self, module: Any, args: Any, kwargs: Any) -> None:
        self._seen.began = time.monotonic()
        plain = is_plain(module, args, kwargs)
        self._seen.ids = ids_of(module, args, kwargs) if plain else None
        cache = kwargs.get("past_key_values")
        if not plain and isinstance(cache, KvTierCache) and cache.tokens_loaded:
            # What was loaded belongs to the ids alone; going on would give another prompt's answer.
            raise kvtier.Error("kvtier: this cache was filled for a prompt of token ids; it cannot be used with "
                               "padding, embeddings or positions of one's own. Use a DynamicCache")

    def computed(self, tokens: int, context: int) -> None:
        """The last layer of a forward pass is done. What a GPU takes is not known without waiting for it."""
        if self.device.type == "cpu" and tokens >= self.chunk_tokens:
            self.space.report_prefill(tokens, context, time.monotonic() - self._seen.began)

    def take_seen(self, tokens: int) -> Optional[list[int]]:
        """The ids of the forward pass, once; None when they are not those of `tokens` tokens of one sequence."""
        ids = getattr(self._seen, "ids", None)
        self._seen.ids = None
        if ids is None or tuple(ids.shape) != (1, tokens):
            return None
        return [int(i) for i in ids[0].tolist()]

    def close(self) -> None:
        """Takes the hook off the model. Caches made before store nothing more."""
        self._hook.remove()

    # Bytes: of a chunk, layer after layer, keys then values, each [heads, tokens, size].

    def load(self, ids: list[int]) -> tuple[int, list[tuple[torch.Tensor, torch.Tensor]]]:
        """Tokens that kvtier holds of a prompt, one less than it has at most, and each layer's keys and values."""
        chunks = (len(ids) - 1) // self.chunk_tokens
        chain = self.space.derive(ids[:chunks * self.chunk_tokens]) if chunks > 0 and self.current() else None
        if chain is None:
            return 0, []
        plan = None
        if self.plan:
            plan = self.space.plan_chain(chain, tokens_behind=len(ids) - chunks * self.chunk_tokens)
        wanted = plan.load_chunks if plan is not None else chunks
        self._bring_up(chain, wanted)
        with self.space.match(chain, chunks_max=wanted) as match:
            if match.chunks == 0:
                return 0, []
            began = time.monotonic()
            memory = torch.empty((match.chunks, self.space.spec.chunk_bytes), dtype=torch.uint8)
            row = memory.stride(0)
            loaded = self.space.load(
                match, [(i, [(memory.data_ptr() + i * row, row)]) for i in range(match.chunks)])
        count = loaded.chunks
        if plan is not None:
            self.space.plan_ended(plan, count, time.monotonic() - began)
        if count == 0:
            return 0, []
        return count * self.chunk_tokens, self._split(memory[:count])

    def _bring_up(self, chain: kvtier.KeyChain, wanted: int) -> bool:
        """What lies below host memory of the first `wanted` chunks, as far as it comes in time; whether any did lie."""
        with self.space.match(chain, chunks_max=wanted, touch=False) as match:
            here, below = match.chunks, match.chunks_lower
        if below:
            self.space.prefetch(chain, here, below, timeout=self.load_seconds_max)
        return below > 0

    def _split(self, memory: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        chunks, tokens = memory.shape[0], self.chunk_tokens
        values = memory.view(self.dtype)
        layers, at = [], 0
        for shape in self.shapes:
            pair = []
            for size in (shape.key, shape.value):
                count = shape.heads * tokens * size
                part = values[:, at:at + count].view(chunks, shape.heads, tokens, size)
                at += count
                part = part.transpose(0, 1).reshape(1, shape.heads, chunks * tokens, size)
                pair.append(part.to(self.device))
            layers.append((pair[0], pair[1]))
        return layers

    def save(self, ids: list[int], first: int, layers: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Stores the full chunks of ids from chunk `first` on; layers hold the keys and values of their tokens.
        What cannot be stored now is not cached."""
        if time.monotonic() < self.retry_at:
            return
        model = self._model()
        if model is None or weights_mark(model) != self._mark:
            return  # written while these were computed: nobody can say with which
        tokens = self.chunk_tokens
        end = len(ids) // tokens
        chain = self.space.derive(ids[:end * tokens])
        if chain is None:
            self.retry_at = time.monotonic() + _PAUSE_SECONDS
            return
        sources, held = [], []
        for chunk in range(first, end):
            if self.space.lookup(chain, chunk).chunks:
                continue
            at = (chunk - first) * tokens
            parts = [part[0, :, at:at + tokens].reshape(-1) for layer in layers for part in layer]
            held.append(torch.cat(parts).cpu().view(torch.uint8))
            sources.append((chunk, [(held[-1].data_ptr(), held[-1].numel())]))
        if sources and "failed" in self.space.store(chain, sources, timeout=self.store_seconds_max):
            self.retry_at = time.monotonic() + _PAUSE_SECONDS

    # Caches

    def cache(self, input_ids: Any) -> KvTierCache:
        """A cache for a prompt, [1, tokens] or a list of ids, holding what is cached of it. Pass it to generate
        with the same prompt."""
        return KvTierCache(self, input_ids)

    def restore(self, model: Any, input_ids: Any) -> KvTierCache:
        """A cache that holds all chunks of a prompt that kvtier holds: the last ones loaded, last first, while the
        model computes the first ones, as the planner says.

        Right for models whose layers all attend to all earlier tokens and keep them (DynamicLayer): the keys and
        values of a token depend on earlier tokens only, which the head has computed itself. A layer that keeps
        anything else is restored by a prefix only, as by cache()."""
        ids = prompt_ids(input_ids)
        chunks = (len(ids) - 1) // self.chunk_tokens
        chain = self.space.derive(ids[:chunks * self.chunk_tokens]) if chunks > 0 and self.current() else None
        cache = KvTierCache(self, [])
        if chain is None or any(type(layer) is not DynamicLayer for layer in cache.layers):
            return self.cache(ids)
        plan = self.space.plan_chain(
            chain, tokens_behind=len(ids) - chunks * self.chunk_tokens, restore="overlapped")
        if self.plan and plan.load_chunks == 0:
            return cache  # generate() computes it in one go
        if self._bring_up(chain, chunks):
            plan = self.space.plan_chain(
                chain, tokens_behind=len(ids) - chunks * self.chunk_tokens, restore="overlapped")
        if plan.load_first == 0 or plan.resident == 0:
            return self.cache(ids)
        memory = torch.empty((plan.resident, self.space.spec.chunk_bytes), dtype=torch.uint8)
        row = memory.stride(0)
        restore = self.space.restore(
            chain, [(i, [(memory.data_ptr() + i * row, row)]) for i in range(plan.resident)], self.load_seconds_max)
        began, took = time.monotonic(), 0.0

        def load() -> None:
            nonlocal took
            restore.run()
            took = time.monotonic() - began

        loader = threading.Thread(target=load, name="kvtier-restore")
        loader.start()
        try:
            self._compute_head(model, ids, cache, restore, plan.load_first)
        finally:
            restore.cancel()  # after an error of the model: nobody wants the rest
            loader.join()
        result = restore.result
        self.space.plan_ended(plan, result.loaded, took, result.ended)
        if result.loaded:
            cache.extend_loaded(ids[result.computed * self.chunk_tokens:plan.resident * self.chunk_tokens],
                                self._split(memory[result.computed:]))
        return cache

    @torch.no_grad()
    def _compute_head(self, model: Any, ids: list[int], cache: KvTierCache, restore: kvtier.Restore,
                      expected: int) -> None:
        """Chunks from the front until they meet those that come from the end: in calls of half of what is expected
        to be left, because short calls waste the machine and long ones overshoot the meeting point."""
        taken = 0
        while True:
            wanted = max(1, (expected - taken) // 2)
            count = 0
            while count < wanted and restore.take_head():
                count += 1
            if count == 0:
                if restore.met():
                    return
                continue
            at = taken * self.chunk_tokens
            taken += count
            part = torch.tensor([ids[at:taken * self.chunk_tokens]], device=self.device)
            model(input_ids=part, past_key_values=cache, use_cache=True, logits_to_keep=1)

    def fill(self, cache: Cache, input_ids: Any) -> int:
        """Puts what is cached of a prompt into any empty cache of Transformers; returns the tokens."""
        if cache.get_seq_length():
            raise kvtier.Error("kvtier: the cache to be filled is not empty")
        tokens, layers = self.load(prompt_ids(input_ids))
        for number, (keys, values) in enumerate(layers):
            cache.update(keys, values, number)
        return tokens


def prompt_ids(input_ids: Any) -> list[int]:
    if isinstance(input_ids, torch.Tensor):
        if input_ids.dim() == 2:
            if input_ids.shape[0] != 1:
                raise kvtier.Error(f"kvtier: one prompt at a time, not {input_ids.shape[0]}")
            input_ids = input_ids[0]
        return [int(i) for i in input_ids.tolist()]
    return [int(i) for i in input_ids]


class KvTierCache(DynamicCache):
    """A DynamicCache that begins with what kvtier holds of a prompt, and gives it what is computed."""

    def __init__(self, store: KvTierStore, input_ids: Any) -> None:
        super().__init__(config=store.config)
        self._store: Optional[KvTierStore] = None  # what is filled in now is not to be stored
        ids = prompt_ids(input_ids)
        self.tokens_loaded = store.fill(self, ids)
        self._ids = ids[:self.tokens_loaded]  # of all tokens in the cache
        self._saved = self.tokens_loaded  # of these, the first; a whole number of chunks
        self._pending: list[list[tuple[torch.Tensor, torch.Tensor]]] = [[] for _ in store.shapes]
        self._generation = store.generation
        self._store = store

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any,
               **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        if self._store is not None:
            self._keep(self._store, key_states, value_states, layer_idx)
        return super().update(key_states, value_states, layer_idx, *args, **kwargs)

    def _keep(self, store: KvTierStore, keys: torch.Tensor, values: torch.Tensor, layer: int) -> None:
        if layer == 0:
            ids = store.take_seen(keys.shape[-2]) if keys.shape[0] == 1 else None
            if ids is None or self._generation != store.generation:
                self._stop()
                return
            self._ids += ids
        self._pending[layer].append((keys.detach(), values.detach()))
        if layer == len(store.shapes) - 1:
            store.computed(keys.shape[-2], len(self._ids) - keys.shape[-2])
        if layer == len(store.shapes) - 1 and len(self._ids) - self._saved >= store.chunk_tokens:
            self._save(store)

    def extend_loaded(self, ids: list[int], layers: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Behind a whole number of chunks: tokens that kvtier holds."""
        store, self._store = self._store, None  # they are stored
        for number, (keys, values) in enumerate(layers):
            self.update(keys, values, number)
        self._store = store
        self.tokens_loaded += len(ids)
        self._ids += ids
        self._saved = len(self._ids)
        self._pending = [[] for _ in layers]

    def _save(self, store: KvTierStore) -> None:
        layers = [(torch.cat([k for k, _ in parts], dim=-2), torch.cat([v for _, v in parts], dim=-2))
                  for parts in self._pending]
        end = len(self._ids) // store.chunk_tokens * store.chunk_tokens
        store.save(self._ids[:end], self._saved // store.chunk_tokens, layers)
        rest = end - self._saved
        self._pending = [[(k[:, :, rest:], v[:, :, rest:])] for k, v in layers]
        self._saved = end

    def _stop(self) -> None:
        """The tokens of what comes are not known: it stays a cache, but nothing more of it is stored."""
        self._store = None
        self._pending = []

    def crop(self, tokens_to_remove: int) -> None:
        before = self.get_seq_length()
        super().crop(tokens_to_remove)
        removed = before - self.get_seq_length()
        if self._store is None or removed == 0:
            return
        if removed > len(self._ids) - self._saved:
            self._stop()
            return
        del self._ids[len(self._ids) - removed:]
        left = len(self._ids) - self._saved
        for layer, parts in enumerate(self._pending):
            keys = torch.cat([k for k, _ in parts], dim=-2)
            values = torch.cat([v for _, v in parts], dim=-2)
            self._pending[layer] = [(keys[:, :, :left], values[:, :, :left])]

    def reset(self) -> None:
        self._stop()
        super().reset()

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        self._stop()
        super().reorder_cache(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        self._stop()
        super().batch_repeat_interleave(repeats)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        self._stop()
        super().batch_select_indices(indices)
