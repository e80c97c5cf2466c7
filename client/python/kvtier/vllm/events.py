"""KV events in vLLM's wire format: what kvtier stored, and what it evicted. Evictions are found by looking: each
announced prefix once in `_LOOK_SECONDS`, in shared memory, a few of them a step. One thread, the scheduler's.
"""
from __future__ import annotations

import collections
import time
from dataclasses import dataclass, field
from typing import Any, Optional

import kvtier

_LOOK_SECONDS = 1.0
_LOOKS_A_STEP = 8


@dataclass
class Announced:
    """What was announced of one request in one group of layers."""

    group: int
    chain: Any = None  # the latest: names all its chunks
    chunks: dict[int, bytes] = field(default_factory=dict)  # vLLM's hashes, ascending
    due: float = 0.0


@dataclass
class Stored:
    """Chunks that a request stores, as the event will say it."""

    chunks: list[int]
    hashes: list[bytes]  # vLLM's own
    parents: list[Optional[bytes]]
    tokens: list[list[int]]
    lora_name: Optional[str]


class Announcer:
    def __init__(self, session: kvtier.Session, spaces: list[kvtier.Space], windows: list[Optional[int]],
                 chunk_tokens: int) -> None:
        self._session = session
        self._spaces = spaces
        self._windows = windows
        self._chunk_tokens = chunk_tokens
        self._events: list[Any] = []
        self._watched: collections.deque[Announced] = collections.deque()  # by when they are due
        self._known: set[tuple[int, bytes]] = set()  # group and hash: announced and not taken back

    def stored(self, announced: Announced, stored: Stored, held: frozenset[int]) -> None:
        from vllm.distributed.kv_events import MEDIUM_CPU, BlockStored
        from vllm.v1.core.kv_cache_utils import maybe_convert_block_hash as external

        for chunk, own, parent, tokens in zip(stored.chunks, stored.hashes, stored.parents, stored.tokens):
            if chunk not in held or (announced.group, own) in self._known:
                continue
            self._known.add((announced.group, own))
            if not announced.chunks:
                announced.due = time.monotonic() + _LOOK_SECONDS
                self._watched.append(announced)
            announced.chunks[chunk] = own
            self._events.append(BlockStored(
                block_hashes=[external(own)], parent_block_hash=None if parent is None else external(parent),
                token_ids=tokens, block_size=self._chunk_tokens, lora_id=None, medium=MEDIUM_CPU,
                lora_name=stored.lora_name, group_idx=announced.group,
                kv_cache_spec_sliding_window=self._windows[announced.group]))

    def look(self) -> None:
        """A daemon that is away may come back with all it had: nothing is taken back meanwhile."""
        if not self._watched or not self._session.attached:
            return
        now = time.monotonic()
        for _ in range(min(_LOOKS_A_STEP, len(self._watched))):
            if self._watched[0].due > now:
                return
            announced = self._watched.popleft()
            gone = self._gone(announced)
            if gone:
                self._removed(announced, gone)
            if announced.chunks:
                announced.due = now + _LOOK_SECONDS
                self._watched.append(announced)

    def _gone(self, announced: Announced) -> list[int]:
        space, end = self._spaces[announced.group], 0
        gone = []
        for chunk in sorted(announced.chunks):
            if chunk < end:
                continue
            found = space.lookup(announced.chain, chunk)
            if found.ended == "unavailable" and not self._session.attached:
                return []
            if found.chunks == 0:  # also of a daemon that came back under another secret: it has none of these
                gone.append(chunk)
            end = chunk + found.chunks
        return gone

    def _removed(self, announced: Announced, gone: list[int]) -> None:
        from vllm.distributed.kv_events import MEDIUM_CPU, BlockRemoved
        from vllm.v1.core.kv_cache_utils import maybe_convert_block_hash as external

        hashes = [announced.chunks.pop(chunk) for chunk in gone]
        self._known.difference_update((announced.group, own) for own in hashes)
        self._events.append(BlockRemoved(
            block_hashes=[external(own) for own in hashes], medium=MEDIUM_CPU, group_idx=announced.group))

    def take(self) -> list[Any]:
        self.look()
        taken, self._events = self._events, []
        return taken
