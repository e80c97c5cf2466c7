"""Loads and stores awaited: a Mover's eventfd in an asyncio loop, no thread of Python's.

    mover = kvtier.aio.Mover()                      # in a running loop
    done = await mover.load(space, chain, 0, 32, layout, blocks, timeout=0.5)
    mover.close()
"""
from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Optional

from . import _kvtier
from ._kvtier import Completion, KeyChain, PagedLayout, Space


class Mover:
    """One loop's access to a moving thread. Use from that loop only."""

    def __init__(self, *, jobs_max: int = 64, bytes_max: int = 1 << 30) -> None:
        self._mover = _kvtier.Mover(jobs_max=jobs_max, bytes_max=bytes_max)
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[int, asyncio.Future[Completion]] = {}
        self._loop.add_reader(self._mover.fileno(), self._completed)

    def _completed(self) -> None:
        for completion in self._mover.poll():
            future = self._waiting.pop(completion.id, None)
            if future is not None and not future.done():
                future.set_result(completion)

    async def _result(self, job: Optional[int]) -> Optional[Completion]:
        if job is None:
            return None
        future: asyncio.Future[Completion] = self._loop.create_future()
        self._waiting[job] = future
        try:
            return await future
        finally:
            self._waiting.pop(job, None)

    async def load(
        self, space: Space, chain: KeyChain, first: int, count: int, layout: PagedLayout, blocks: Sequence[int],
        timeout: Optional[float] = None,
    ) -> Optional[Completion]:
        """Matches and loads chunks [first, first + count) into the blocks; None when the queue is full.

        A task that is cancelled does not end the job: the memory is in use until `idle()`.
        """
        return await self._result(
            self._mover.submit_load(space, chain, first, count, layout, blocks, timeout))

    async def store(
        self, space: Space, chain: KeyChain, chunks: Sequence[int], layout: PagedLayout, blocks: Sequence[int],
        timeout: Optional[float] = None,
    ) -> Optional[Completion]:
        """Stores the chunks from the blocks; None when the queue is full."""
        return await self._result(
            self._mover.submit_store(space, chain, chunks, layout, blocks, timeout))

    def idle(self) -> bool:
        """Whether no job waits or runs: all memory is the caller's again."""
        return self._mover.pending == 0

    def close(self) -> None:
        """Ends the listening. Jobs not yet begun are dropped, their awaiters cancelled."""
        self._loop.remove_reader(self._mover.fileno())
        for future in self._waiting.values():
            future.cancel()
        self._waiting.clear()
        del self._mover
