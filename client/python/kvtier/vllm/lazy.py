"""Lazy stores: KV is stored when vLLM is about to give its blocks away, not when it was computed. What is noted here
is known to be good; it stays in vLLM's own prefix cache until its blocks come near the head of the queue of free
ones. They are held while they are copied: at most `ahead` of them, and what finds no place is evicted unstored, counted.
One thread, the scheduler's.
"""
from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any


@dataclass
class Note:
    """A chunk in the engine's memory."""

    state: Any  # the scheduler's, of a request that computed it or hit it
    chunk: int
    blocks: list[int]
    hashes: list[Any]  # of these blocks, as the pool names them: what else they hold is not this chunk


class LazyStores:
    def __init__(self, pool: Any, ahead: int) -> None:
        """ahead: free blocks that the engine may take within two steps."""
        self._pool = pool
        self._ahead = ahead
        self._notes: dict[int, Note] = {}  # by block
        self._held: dict[int, list[Any]] = {}  # blocks, by the number of the store that reads them
        self._held_blocks = 0
        self._quiet_head: Any = None  # nothing near this head of the queue is to be stored
        self.evicted = 0  # chunks that were given away unstored

    def note(self, state: Any, chunk: int, blocks: list[int]) -> bool:
        """False: vLLM does not keep these blocks, so there is no later."""
        hashes = [self._pool.blocks[block].block_hash for block in blocks]
        if None in hashes:
            return False
        note = Note(state, chunk, blocks, hashes)
        for block in blocks:
            before = self._notes.get(block)
            if before is not None and before.hashes != hashes and block == before.blocks[0]:
                self.evicted += 1
            self._notes[block] = note
        self._quiet_head = None
        return True

    def due(self) -> list[Note]:
        """What comes to the head of the queue, once. Whoever takes it stores it or lets it be."""
        queue = self._pool.free_block_queue
        head = queue.fake_free_list_head.next_free_block
        if not self._notes or head is self._quiet_head:
            return []
        found: list[Note] = []
        for block in itertools.islice(queue.iter_blocks_after(None), self._ahead):
            note = self._notes.get(block.block_id)
            if note is None:
                continue
            if not self._holds(note):
                self._forget(note)
                self.evicted += 1
            elif self._held_blocks + sum(len(n.blocks) for n in found) + len(note.blocks) > self._ahead:
                return found  # later, if they are still there
            else:
                self._forget(note)
                found.append(note)
        self._quiet_head = head
        return found

    def _holds(self, note: Note) -> bool:
        return all(self._pool.blocks[block].block_hash == due for block, due in zip(note.blocks, note.hashes))

    def _forget(self, note: Note) -> None:
        for block in note.blocks:
            if self._notes.get(block) is note:
                del self._notes[block]

    def hold(self, store: int, blocks: list[int]) -> None:
        held = [self._pool.blocks[block] for block in blocks]
        self._pool.touch(held)
        self._held[store] = held
        self._held_blocks += len(held)

    def ended(self, store: int) -> None:
        """Its blocks are the first to go again: they have had their time."""
        held = self._held.pop(store, [])
        self._held_blocks -= len(held)
        for block in held:
            block.ref_cnt -= 1
        self._pool.free_block_queue.prepend_n([block for block in held if block.ref_cnt == 0])

    def end_all(self) -> None:
        for store in list(self._held):
            self.ended(store)

    def forget_all(self) -> None:
        """What is being stored stays held until it is."""
        self._notes.clear()
        self._quiet_head = None

    @property
    def holding(self) -> bool:
        return bool(self._held)

    def take_evicted(self) -> int:
        taken, self.evicted = self.evicted, 0
        return taken
