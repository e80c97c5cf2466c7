"""The connector in vLLM's scheduler: what is cached, what is loaded, what is stored. One thread, the scheduler's;
nothing here waits for the daemon (a segment's first use may ask it once, within `call_deadline`).

A chunk is promised only while this side holds a lease on it; the lease ends when the workers, with leases of
their own, have loaded it. Chunks in a lower tier are brought up first, by threads of their own, while vLLM asks again
at each step; after a deadline they are computed.

KV is stored one step after it was computed, when the step is known to be good: what was computed behind a load
that failed is never stored, on any rank. Lazily (lazy.py), it is stored when vLLM is about to evict it. A model with
several groups of layers (full attention, sliding windows) has a space each. There, loads never run within a step, so
a step cannot turn out bad, and KV is stored right after it: blocks that leave a window are gone one step later. Of a
window's layers a hit needs only the last window.
"""
from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Optional

import kvtier

from .events import Announced, Announcer, Stored
from .groups import Groups
from .lazy import LazyStores
from .messages import Load, Prefill, StepMetadata, Store, WorkerReport
from .namespace import folder_fingerprint, has_weights
from .options import Options
from .stats import KvTierStats

if TYPE_CHECKING:
    from vllm.v1.request import Request

_COUNTED_MISSES = ("unavailable", "absent", "lower", "shard")
# Each waits for the daemon; the devices' queues are the daemon's to fill.
_PREFETCH_THREADS = 4
_PREFETCHES_MAX = 64
_PREFILL_TOKENS_MIN = 64  # shorter ones measure overhead


# Of each file its name, size, time of change and number.
Files = tuple[tuple[str, int, int, int], ...]


def _files(folder: str) -> Files:
    """Empty for a path that is no folder of this host."""
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                stat = entry.stat()
                found.append((entry.name, stat.st_size, stat.st_mtime_ns, stat.st_ino))
    except OSError:
        return ()
    return tuple(sorted(found))


@dataclass
class Tracked:
    """A request that the engine knows."""

    request: Request
    salt: bytes = b""  # of its keys: the adapter's weights, the generation of the engine's
    unnamed: bool = False  # nothing names the weights that compute it: neither loaded nor stored
    chain: Optional[kvtier.KeyChain] = None  # of the group that says how far a prefix reaches
    chains: list[Optional[kvtier.KeyChain]] = field(default_factory=list)  # by group
    chain_hashes: int = 0  # chunks in them
    asked: bool = False
    promise: list[kvtier.Match] = field(default_factory=list)  # one a group
    first: int = 0  # chunk at which the promise begins
    promised: int = 0  # chunks
    loads: list[Load] = field(default_factory=list)  # one a group, given to the workers, outcome not known
    failed: bool = False  # a load of all groups did: computed, and not tried again
    # (group, chunk) that failed: offered again whatever the index says, which the daemon may not have changed yet.
    suspect: set[tuple[int, int]] = field(default_factory=set)
    plan: Optional[kvtier.Plan] = None  # the latest
    load_began: float = 0.0
    prefetch: set[int] = field(default_factory=set)  # under way
    prefetch_until: float = 0.0  # waited for; 0: none was begun yet
    stored: list[int] = field(default_factory=list)  # by group: chunks before it are taken care of
    stores: set[int] = field(default_factory=set)  # under way, of blocks that the request has
    announced: dict[int, Announced] = field(default_factory=dict)  # by group


@dataclass
class OpenStore:
    state: Tracked
    group: int
    said: Optional[Stored]  # as an event will
    ranks: int = 0
    held: Optional[frozenset[int]] = None


class Scheduler:
    def __init__(self, session: kvtier.Session, spaces: list[kvtier.Space], windows: list[Optional[int]],
                 options: Options, block_size: int, step_tokens: int, events: bool) -> None:
        """spaces, windows: by group of layers; a window in tokens, None for full attention. step_tokens: the most that
        a step computes."""
        self._session = session
        self._spaces = spaces
        self._windows = windows
        self._groups = Groups(session, spaces, windows)
        self._main = self._groups.main
        self._whole = self._groups.whole
        space = self._space = self._groups.space
        self._options = options
        self._per_chunk = options.blocks_per_chunk
        self._block_size = block_size
        self._chunk_tokens = block_size * options.blocks_per_chunk
        self._ranks = space.spec.shards
        self._chunk_bytes = space.spec.chunk_bytes  # the spec is a copy each time
        self._step_blocks = -(-step_tokens // block_size)
        self._announcer = Announcer(session, spaces, windows, self._chunk_tokens) if events else None
        self._tracked: dict[str, Tracked] = {}
        self._open_stores: dict[int, OpenStore] = {}
        self._window_stores: set[int] = set()  # of these, whose blocks may be freed while the request runs
        self._last_store = 0
        self._loads: list[Load] = []
        self._finishing: list[str] = []
        self._final_stores: list[Store] = []
        self._kv_cache_manager: Any = None
        self._lazy: Optional[LazyStores] = None  # none: what vLLM frees is gone
        # By their number, as vLLM knows adapters: where their files are, these as first seen, their weights' name.
        self._adapters: dict[int, tuple[str, Files, Optional[bytes]]] = {}
        self._adapter_weights: dict[tuple[str, str], set[Optional[bytes]]] = {}  # by vLLM's names
        self._generation = b""  # of the engine's weights: see reset()
        self._broken = False  # a rank has no worker
        self._load_rate = 2e9  # bytes a second, until measured
        self._prefetcher = kvtier.Mover(jobs_max=_PREFETCHES_MAX, bytes_max=1 << 40, threads=_PREFETCH_THREADS)
        self._prefetching: set[int] = set()
        self.stats = KvTierStats()

    def bind(self, kv_cache_manager: Any) -> None:
        self._kv_cache_manager = kv_cache_manager
        pool = kv_cache_manager.block_pool
        if self._whole and pool.enable_caching:
            ahead = max(2 * self._step_blocks, 2 * self._per_chunk)
            self._lazy = LazyStores(pool, min(ahead, pool.num_gpu_blocks // 2))

    def reset(self) -> None:
        """The engine's weights are no longer those that name the space. Keys of later requests hold a number drawn at
        random, so they meet neither what was stored before nor what other engines store. Requests under way may be
        computed with both weights: of them nothing is loaded or stored any more."""
        self._generation = os.urandom(16)
        for state in self._tracked.values():
            state.unnamed = True
        if self._lazy is not None:
            self._lazy.forget_all()  # vLLM gives blocks of new KV the same names

    # Keys

    def _lora_digest(self, request: Request) -> Optional[bytes]:
        """vLLM's hashes name an adapter by name and path; this names its weights. None: those that the engine computes
        with are not known. vLLM reads an adapter once, by its number: which of its files' versions it has read is not
        known any more when they have changed, until a request has them read anew."""
        lora = request.lora_request
        if lora is None:
            return b""
        path, number = os.path.expanduser(lora.lora_path), lora.lora_int_id
        files = _files(path)
        known = self._adapters.get(number)
        if known is not None:
            if files and known[:2] == (path, files):
                return known[2]
            for state in self._tracked.values():
                other = state.request.lora_request
                if other is not None and other.lora_int_id == number:
                    state.unnamed = True  # it may go on with other weights
        digest = None
        if files and (known is None or lora.load_inplace):
            try:
                digest = bytes.fromhex(folder_fingerprint(path)) if has_weights(path) else None
            except (OSError, ValueError):
                pass
            if _files(path) != files:
                digest = None
        self._adapters[number] = (path, files if digest is not None else (), digest)
        return digest

    def _weights_of_name(self, lora: Any) -> set[Optional[bytes]]:
        return self._adapter_weights.setdefault((lora.lora_name, lora.lora_path), set())

    def _hashes(self, state: Tracked, first: int, end: int) -> list[bytes]:
        """One hash a chunk: that of its last block, which names all before it."""
        step = self._per_chunk
        hashes = state.request.block_hashes[(first + 1) * step - 1:end * step:step]
        if state.salt:
            return [hashlib.sha256(h + state.salt).digest() for h in hashes]
        if hashes and len(hashes[0]) != 32:  # a short hash (xxhash): named by its digest
            return [hashlib.sha256(b"short" + h).digest() for h in hashes]
        return [bytes(h) for h in hashes]

    def _refold(self, state: Tracked) -> None:
        end = len(state.request.block_hashes) // self._per_chunk
        tokens = state.request.all_token_ids[:end * self._chunk_tokens]
        hashes = self._hashes(state, 0, end)
        state.chains = [space.fold(hashes, tokens) if end else None for space in self._spaces]
        state.chain = state.chains[self._main]
        state.chain_hashes = end

    def _chain(self, state: Tracked) -> Optional[kvtier.KeyChain]:
        if state.chain is None or state.chain_hashes < len(state.request.block_hashes) // self._per_chunk:
            self._refold(state)
        return state.chain

    # Requests come

    def on_new_request(self, request: Request) -> None:
        digest = self._lora_digest(request)
        if request.lora_request is not None:
            self._weights_of_name(request.lora_request).add(digest)
        state = Tracked(request, (digest or b"") + self._generation, unnamed=digest is None)
        self._tracked[request.request_id] = state
        if state.unnamed:
            return
        if request.prompt_token_ids is not None and (self._options.load or self._options.store != "off"):
            self._chain(state)  # here and not while scheduling: a long prompt takes its time

    def matched_tokens(self, request: Request, computed: int) -> tuple[Optional[int], bool]:
        state = self._tracked.get(request.request_id)
        if state is None:  # known to the engine before the connector
            self.on_new_request(request)
            state = self._tracked[request.request_id]
        if state.loads:
            return 0, False  # what its loads of before fill is not known yet: no promise could be taken up
        if computed and request.lora_request is not None:
            # vLLM's own cache tells adapters by name and path only: what it found may be of the weights before.
            state.unnamed = state.unnamed or len(self._weights_of_name(request.lora_request)) > 1
        if self._prefetch_running(state):
            return None, False
        state.promise = []
        state.stored = [0] * len(self._spaces)
        first = computed // self._chunk_tokens
        # One token must be left to compute: its logits are wanted.
        chunks = (request.num_tokens - 1) // self._chunk_tokens
        # What failed is computed, and not tried again: vLLM may ask anew before the daemon has dropped it.
        if state.suspect:
            chunks = min([chunks, *(chunk for group, chunk in state.suspect if group == self._main)])
        if (not self._options.load or self._broken or state.unnamed or state.failed
                or request.skip_reading_prefix_cache or chunks <= first or computed % self._chunk_tokens):
            return 0, False
        if not state.asked:
            state.asked = True
            self.stats.add("tokens_asked", (chunks - first) * self._chunk_tokens)
        match = self._match(state, first, chunks - first)
        if match is not None and self._begin_prefetch(state, match, first, chunks):
            return None, False
        if match is None:
            self.stats.add("misses_unavailable")
            return 0, False
        ended = match.ended
        if ended != "none":
            self.stats.add(f"misses_{ended if ended in _COUNTED_MISSES else 'other'}")
        count, promise = match.chunks, [match]
        if not self._whole:
            end = first + count
            if self._groups.only_windows:
                end = self._groups.last_cached(state.chains, first, first + chunks)
            count, promise = self._groups.match(state.chains, first, end)
        tokens = count * self._chunk_tokens
        if count == 0 or tokens < self._options.load_tokens_min:
            return 0, False
        state.promise, state.first, state.promised = promise, first, count
        seconds = count * self._chunk_bytes / self._load_rate
        # With several groups or windows, loads never run within a step (see above).
        return tokens, not self._whole or seconds > self._options.async_load_seconds

    def _match(self, state: Tracked, first: int, chunks: int) -> Optional[kvtier.Match]:
        chain = self._chain(state)
        if chain is None:
            return None
        match = self._space.match(chain, first=first, chunks_max=chunks)
        if match.ended == "unavailable" and self._session.attached:
            # The daemon came back under another secret: keys are made anew.
            self._refold(state)
            if state.chain is None:
                return None
            match = self._space.match(state.chain, first=first, chunks_max=chunks)
        if self._options.plan and match.chunks + match.chunks_lower:
            plan = self._plan(state, first, chunks)
            if plan is not None and plan.load_chunks < match.chunks + match.chunks_lower:
                self.stats.add("chunks_declined", match.chunks + match.chunks_lower - plan.load_chunks)
                return self._space.match(state.chain, first=first, chunks_max=plan.load_chunks)
        return match

    def _plan(self, state: Tracked, first: int, chunks: int) -> Optional[kvtier.Plan]:
        """What pays to be loaded. vLLM goes on from the end of a prefix, so only a prefix can be loaded."""
        if state.chain is None:
            return None
        last = state.plan.load_chunks if state.plan is not None and state.plan.load_first == first else None
        try:
            behind = state.request.num_tokens - state.chain_hashes * self._chunk_tokens
            state.plan = self._space.plan_chain(
                state.chain, first=first, chunks_max=chunks, tokens_behind=max(0, behind), last_load_chunks=last,
                request=state.request.request_id)
        except kvtier.Error:
            state.plan = None
        return state.plan

    def _begin_prefetch(self, state: Tracked, match: kvtier.Match, first: int, chunks: int) -> bool:
        """Asks for what all groups and ranks need and have in a lower tier, once a request; what is here is held
        until then. Until when it is worth waiting for is the planner's to say."""
        if state.prefetch_until or state.chain is None:
            return False
        if self._whole and match.ended not in ("lower", "shard"):
            return False
        # What the planner wants of the group that says how far a prefix reaches; of windows, whatever there is.
        most = first + (chunks if match.ended == "shard" else match.chunks + match.chunks_lower)
        if self._groups.only_windows:
            most = self._groups.last_cached(state.chains, first, first + chunks)
        end = self._groups.reach(state.chains, first, most)
        seconds = self._load_deadline(state, first)
        held, missing = self._groups.lacking(state.chains, first, end)
        for space, chain, at, count in missing:
            job = self._prefetcher.submit_prefetch(space, chain, at, count, seconds)
            if job is not None:
                state.prefetch.add(job)
        if not state.prefetch:
            return False
        state.promise = held
        self._prefetching |= state.prefetch
        state.prefetch_until = time.monotonic() + seconds
        self.stats.add("prefetches")
        return True

    def _prefetch_running(self, state: Tracked) -> bool:
        if not state.prefetch:
            return False
        for completion in self._prefetcher.poll():
            self._prefetching.discard(completion.id)
            self.stats.add("chunks_prefetched", completion.chunks)
        if state.prefetch & self._prefetching and time.monotonic() < state.prefetch_until:
            return True
        state.prefetch = set()
        return False

    def allocated(self, request: Request, blocks: Any, tokens: int) -> None:
        state = self._tracked.get(request.request_id)
        if state is None or tokens == 0 or not state.promise or state.loads:
            return
        self.stats.add("tokens_promised", tokens)
        end = state.first + min(tokens // self._chunk_tokens, state.promised)
        hashes, seconds = self._hashes(state, 0, end), self._load_deadline(state, state.first)
        per = self._per_chunk
        for group, block_ids in enumerate(blocks.get_block_ids()):
            first = self._groups.window_start(group, state.first, end)
            while first < end and 0 in block_ids[first * per:(first + 1) * per]:
                first += 1  # no block was given to it: out of the window
            if first < end:
                state.loads.append(Load(request.request_id, group, hashes, first,
                                        list(block_ids[first * per:end * per]), seconds, False))
        self._loads += state.loads
        state.load_began = time.monotonic()

    def _load_deadline(self, state: Tracked, first: int) -> float:
        """Past it, computing would have been done; but never below what a busy machine needs."""
        most = self._options.load_seconds_max
        plan = state.plan
        if plan is None or plan.load_first != first or plan.load_deadline <= 0:
            return most
        return min(most, max(0.2, plan.load_deadline))

    def _tell_plan(self, state: Tracked, suspect: set[tuple[int, int]], report: Any) -> None:
        """What became of it, for `kvtier explain` and the error of predictions."""
        if state.plan is None or not state.plan.id:
            return
        bad = [chunk for group, chunk in suspect if group == self._main]
        loaded = (min(bad) if bad else state.first + state.promised) - state.first
        seconds = time.monotonic() - state.load_began
        if isinstance(report, WorkerReport) and len(report.loaded) == 1 and 0 < report.load_seconds < seconds:
            seconds = report.load_seconds  # the only load of the step: without the step around it
        self._space.plan_ended(state.plan, max(0, loaded), seconds, "deadline" if bad else "none")
        state.plan = None

    # Steps

    def build(self, output: Any) -> StepMetadata:
        meta = StepMetadata(idle=output.total_num_scheduled_tokens == 0)
        scheduled = output.num_scheduled_tokens
        for load in self._loads:
            load.asynchronous = load.request not in scheduled
        # Theirs until the end: should something fail below, drain() hands them on.
        meta.loads, meta.finishing = self._loads, self._finishing
        meta.stores, self._final_stores = self._final_stores, []
        # Blocks that a load of this or an unfinished step fills may be shared already: nothing is stored from
        # blocks before it is known that they hold what they should.
        settled = not any(s.loads and not s.loads[0].asynchronous for s in self._tracked.values())
        meta.fence.extend(self._window_stores)
        for name, state in self._tracked.items():
            if not state.loads and not state.prefetch:
                state.promise = []  # a promise that was not taken up is asked for again
            if state.request.status.name == "PREEMPTED":
                meta.fence.extend(state.stores)
            elif settled and not state.loads and self._options.store != "off":
                self._store_computed(state, scheduled.get(name, 0), meta.stores)
        self._store_evicted(meta.stores)
        meta.prefill = self._prefill(output, meta)
        self._loads, self._finishing = [], []
        return meta

    def drain(self, output: Any) -> StepMetadata:
        """The connector was turned off: what is under way comes to its end, nothing new begins."""
        meta = StepMetadata(loads=self._loads, finishing=self._finishing, fence=list(self._open_stores))
        self._loads, self._finishing = [], []
        for load in meta.loads:
            load.asynchronous = load.request not in output.num_scheduled_tokens
        if self._lazy is not None:
            self._lazy.end_all()  # the fence keeps them until they were read
        return meta

    def _store_evicted(self, into: list[Store]) -> None:
        """What vLLM will soon have given away, of stores that are lazy."""
        if self._lazy is None:
            return
        self.stats.add("chunks_evicted", self._lazy.take_evicted())
        for note in self._lazy.due():
            state = note.state
            if not state.unnamed and self._missing(state, 0, note.chunk, note.chunk + 1):
                store = self._store(state, 0, [note.chunk], note.blocks)
                self._lazy.hold(store.number, note.blocks)
                into.append(store)

    @property
    def holds_blocks(self) -> bool:
        """Free ones, which come back when they are stored."""
        return self._lazy is not None and self._lazy.holding

    def _store_computed(self, state: Tracked, scheduled: int, into: list[Store]) -> None:
        request = state.request
        # What steps that have ended computed: in flight and just scheduled ones may still turn out bad, unless
        # loads never run within a step.
        computed = request.num_computed_tokens - request.num_in_flight_tokens
        if not self._whole:
            computed = request.num_computed_tokens + scheduled
        end = min(computed // self._chunk_tokens, len(request.block_hashes) // self._per_chunk)
        if not state.stored or end <= min(state.stored):
            return
        self._store_up_to(state, end, self._kv_cache_manager.get_block_ids(request.request_id), into)

    def _store_up_to(self, state: Tracked, end: int, block_ids: tuple[list[int], ...], into: list[Store]) -> None:
        if state.unnamed or self._broken:
            return
        per = self._per_chunk
        for group, ids in enumerate(block_ids):
            reach = min(end, len(ids) // per)
            if reach <= state.stored[group]:
                continue
            lazy = self._lazy if self._options.store == "lazy" else None
            first, state.stored[group] = state.stored[group], reach
            if lazy is not None and all([
                    lazy.note(state, chunk, ids[chunk * per:(chunk + 1) * per]) for chunk in range(first, reach)]):
                continue
            chunks = self._missing(state, group, first, reach)
            # Block 0 is none: it was out of the window before it was stored.
            chunks = [chunk for chunk in chunks if 0 not in ids[chunk * per:(chunk + 1) * per]]
            if chunks:
                store = self._store(
                    state, group, chunks, [block for chunk in chunks for block in ids[chunk * per:(chunk + 1) * per]])
                state.stores.add(store.number)
                into.append(store)

    def _missing(self, state: Tracked, group: int, first: int, end: int) -> list[int]:
        """Chunks of [first, end) that are not cached. Advice; without a daemon, none: nothing can be stored."""
        self._chain(state)
        chain = state.chains[group] if state.chains else None
        if chain is None or not self._session.attached:
            return []
        missing = []
        at, space = first, self._spaces[group]
        while at < end:
            if self._ranks == 1:
                present = space.lookup(chain, at).chunks
            else:
                present = space.match(chain, first=at, chunks_max=end - at, touch=False).chunks
            at += present
            if at < end:
                missing.append(at)
                at += 1
        missing = sorted({*missing, *(chunk for g, chunk in state.suspect if g == group and first <= chunk < end)})
        self.stats.add("chunks_present", end - first - len(missing))
        return missing

    def _store(self, state: Tracked, group: int, chunks: list[int], blocks: list[int]) -> Store:
        self._last_store += 1
        request, end = state.request, chunks[-1] + 1
        per, tokens = self._per_chunk, self._chunk_tokens
        store = Store(self._last_store, request.request_id, group, self._hashes(state, 0, end),
                      list(request.all_token_ids[:end * tokens]), chunks, blocks)
        if self._windows[group] is not None:
            self._window_stores.add(store.number)
        said = None
        if self._announcer is not None:
            hashes = request.block_hashes
            said = Stored(
                chunks, [hashes[(chunk + 1) * per - 1] for chunk in chunks],
                [hashes[chunk * per - 1] if chunk else None for chunk in chunks],
                [store.tokens[chunk * tokens:(chunk + 1) * tokens] for chunk in chunks],
                request.lora_request.lora_name if request.lora_request else None)
        self._open_stores[store.number] = OpenStore(state, group, said)
        return store

    def _prefill(self, output: Any, meta: StepMetadata) -> Optional[Prefill]:
        """A step with one request that computes many tokens and loads nothing says what computing costs."""
        if len(output.num_scheduled_tokens) != 1 or meta.loads:
            return None
        ((name, tokens),) = output.num_scheduled_tokens.items()
        state = self._tracked.get(name)
        if state is None or tokens < _PREFILL_TOKENS_MIN:
            return None
        return Prefill(tokens, state.request.num_computed_tokens)

    # Steps have ended

    def ended(self, output: Any) -> None:
        invalid = output.invalid_block_ids or ()
        received = output.finished_recving or ()
        report = output.kv_connector_worker_meta
        loaded = report.loaded if isinstance(report, WorkerReport) else ()
        failed = output.failed_recving or ()
        for name, state in self._tracked.items():
            if not state.loads or name not in (received if state.loads[0].asynchronous else loaded):
                continue
            state.failed = state.failed or name in failed
            suspect = {(load.group, load.first + i // self._per_chunk) for load in state.loads
                       for i, block in enumerate(load.blocks) if name in failed or block in invalid}
            if suspect:
                # Computed anew, by a step that has not ended: stored after it.
                state.suspect |= suspect
                state.stored = [0] * len(self._spaces)
            self._tell_plan(state, suspect, report)
            state.loads, state.promise = [], []
        if isinstance(report, WorkerReport):
            self._hear(report)

    def _hear(self, report: WorkerReport) -> None:
        self._broken = self._broken or report.broken
        if report.load_bytes > 1 << 20 and report.load_seconds > 0:
            rate = report.load_bytes / report.load_seconds
            self._load_rate += 0.25 * (rate - self._load_rate)
        for number, (ranks, chunks) in report.stores.items():
            known = self._open_stores.get(number)
            if known is None:
                continue
            known.ranks += ranks
            known.held = chunks if known.held is None else known.held & chunks
            if known.ranks < self._ranks:
                continue
            del self._open_stores[number]
            self._window_stores.discard(number)
            known.state.stores.discard(number)
            if self._lazy is not None:
                self._lazy.ended(number)
            if self._announcer is not None and known.said is not None:
                self._announce(self._announcer, known)

    def _announce(self, announcer: Announcer, known: OpenStore) -> None:
        state, group = known.state, known.group
        announced = state.announced.setdefault(group, Announced(group))
        announced.chain = state.chains[group] if state.chains else announced.chain
        if known.held and announced.chain is not None:
            announcer.stored(announced, known.said, known.held)

    def take_events(self) -> Iterable[Any]:
        return self._announcer.take() if self._announcer is not None else ()

    # Requests go

    def finished(self, request: Request, block_ids: tuple[list[int], ...]) -> bool:
        """Whether its blocks must be kept until its stores have ended."""
        state = self._tracked.pop(request.request_id, None)
        if state is None:
            return False
        self._loads = [load for load in self._loads if load.request != request.request_id]
        # A request that comes to its own end did so on good KV: vLLM leaves out those whose loads failed, before.
        settled = not state.loads or request.status.name in ("FINISHED_STOPPED", "FINISHED_LENGTH_CAPPED")
        if settled and state.stored and self._options.store != "off":
            computed = request.num_computed_tokens - request.num_in_flight_tokens
            end = min(computed // self._chunk_tokens, len(request.block_hashes) // self._per_chunk)
            self._store_up_to(state, end, block_ids, self._final_stores)
        if not state.stores:
            return False
        self._finishing.append(request.request_id)
        return True
