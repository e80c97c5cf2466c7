"""Groups of layers (full attention, sliding windows), each with chunks of its own on every rank: how far a prefix
reaches of which all have what they need, and what of it must be brought up. Nothing here waits.
"""
from __future__ import annotations

from typing import Optional

import kvtier

from .namespace import space_of_rank

_TRIES = 16  # ends of a prefix that are tried when groups hold different parts of it
Chains = list[Optional[kvtier.KeyChain]]  # by group


class Groups:
    def __init__(self, session: kvtier.Session, spaces: list[kvtier.Space], windows: list[Optional[int]]) -> None:
        """spaces, windows: by group of layers; a window in tokens, None for full attention."""
        self.spaces = spaces
        self.windows = windows
        # The group that says how far a prefix reaches; those with windows only shorten it.
        self.main = windows.index(None) if None in windows else 0
        self.space = spaces[self.main]
        self.whole = windows == [None]  # one group, which keeps every block
        self.ranks = self.space.spec.shards
        self._chunk_tokens = self.space.spec.tokens_per_chunk
        others = [rank for rank in range(self.ranks) if rank != self.space.spec.shard]
        # By group: its space, then those of the other ranks.
        self._of_ranks = [[space, *(session.open_space(space_of_rank(space.spec, rank)) for rank in others)]
                          for space in spaces]

    @property
    def only_windows(self) -> bool:
        return None not in self.windows

    def window_start(self, group: int, first: int, end: int) -> int:
        """The first chunk of [first, end) that this group needs to go on at `end`."""
        window = self.windows[group]
        if window is None:
            return first
        return max(first, (end * self._chunk_tokens - window + 1) // self._chunk_tokens)

    def last_cached(self, chains: Chains, first: int, end: int) -> int:
        """Behind the last chunk of [first, end) that is cached, where all groups have windows."""
        at, last, chain = first, first, chains[self.main]
        while at < end:
            present = self.space.lookup(chain, at).chunks if chain is not None else 0
            last = at + present if present else last
            at += present or 1
        return min(last, end)

    def match(self, chains: Chains, first: int, end: int) -> tuple[int, list[kvtier.Match]]:
        """The longest prefix up to `end` of which all groups have what they need in host memory, leased."""
        for _ in range(_TRIES):
            promise: list[kvtier.Match] = []
            reach = end
            for group, space in enumerate(self.spaces):
                start, chain = self.window_start(group, first, end), chains[group]
                if chain is None:
                    return 0, []
                match = space.match(chain, first=start, chunks_max=end - start, touch=group == self.main)
                promise.append(match)
                if match.chunks < end - start:
                    # What ends here: a hole of this group. Before it, its chunks may do.
                    reach = min(reach, start + match.chunks, end - 1)
            if reach == end:
                return end - first, promise
            if reach <= first:
                break
            end = reach
        return 0, []

    def reach(self, chains: Chains, first: int, end: int) -> int:
        """The longest prefix up to `end` of which all groups and ranks have what they need, in any tier."""
        for _ in range(_TRIES):
            reach = end
            for group, spaces in enumerate(self._of_ranks):
                start, chain = self.window_start(group, first, end), chains[group]
                if chain is None:
                    return first
                for space in spaces:
                    found = space.lookup(chain, start).chunks
                    if found < end - start:
                        reach = min(reach, start + found, end - 1)
            if reach == end or reach <= first:
                return max(first, reach)
            end = reach
        return first

    def lacking(self, chains: Chains, first: int,
                end: int) -> tuple[list[kvtier.Match], list[tuple[kvtier.Space, kvtier.KeyChain, int, int]]]:
        """Of [first, end), what is in host memory, leased, and what must come there: (space, chain, first, count)."""
        held, missing = [], []
        for group, spaces in enumerate(self._of_ranks):
            start, chain = self.window_start(group, first, end), chains[group]
            if chain is None or start >= end:
                continue
            here = spaces[0].match(chain, first=start, chunks_max=end - start, touch=False)
            held.append(here)
            at = start + here.chunks
            missing += [(space, chain, at, end - at) for space in spaces if at < end]
        return held, missing
