"""The connector in a vLLM worker: moves whole blocks, as the opaque bytes they are, between the engine's paged
memory and kvtier. Loads within a step are made by the engine's thread, others and all stores by a moving thread.
Nothing here fails a request: a load that did not come is reported, and vLLM computes it.
"""
from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Optional

import kvtier

from .costs import ModelCosts
from .messages import Load, StepMetadata, Store, WorkerReport
from .options import Options
from .stats import KvTierStats

if TYPE_CHECKING:
    import torch

logger = logging.getLogger("vllm.kvtier")
# An empty step waits this long for stores: a loop of empty steps would take the CPU from them.
_IDLE_WAIT = 0.002


def paged_layout(tensors: list[torch.Tensor], num_blocks: int) -> kvtier.PagedLayout:
    """Where blocks lie: one plane a layer. Layers that share memory are one plane. Raises ValueError for memory
    whose blocks are not runs of bytes."""
    planes = {}
    for tensor in tensors:
        rows, rest = divmod(tensor.shape[0], num_blocks)
        if tensor.device.type != "cpu":
            raise ValueError(f"KV memory on {tensor.device.type} is not supported by this version")
        if rest or rows == 0:
            raise ValueError(f"a layer's memory has {tensor.shape[0]} rows for {num_blocks} blocks")
        stride = tensor.stride(0) * tensor.element_size()
        row_bytes = tensor[0].numel() * tensor.element_size()
        if not tensor[0].is_contiguous() or (rows > 1 and stride != row_bytes):
            raise ValueError(f"a block of a layer is not one run of bytes (strides {tensor.stride()})")
        planes[tensor.data_ptr()] = (tensor.data_ptr(), stride * rows, row_bytes * rows)
    return kvtier.PagedLayout(list(planes.values()), num_blocks)


class Worker:
    def __init__(self, spaces: list[kvtier.Space], windows: list[Optional[int]], options: Options,
                 costs: Optional[ModelCosts]) -> None:
        """spaces, windows: by group of layers; a window in tokens, None for full attention. costs: of the rank that
        reports them."""
        self._spaces = spaces
        self._whole = windows == [None]
        self._options = options
        self._costs = costs
        self._mover = kvtier.Mover(
            jobs_max=max(1, options.store_queue_jobs), bytes_max=options.store_queue_bytes)
        self._layouts: list[kvtier.PagedLayout] = []  # by group; none: the memory cannot be used
        self._memory: Any = None  # keeps the engine's tensors
        self._store_jobs: dict[int, Store] = {}  # by the mover's number
        self._load_jobs: dict[int, Load] = {}
        self._job_of_store: dict[int, int] = {}
        self._open: dict[str, int] = {}  # stores under way, by request
        self._finishing: set[str] = set()
        self._loading: dict[str, list[Load]] = {}  # those under way, one a group, by request
        self._received: set[str] = set()
        self._failed: set[str] = set()  # of several groups
        self._failed_blocks: set[int] = set()
        self._report = WorkerReport()
        self._loaded: set[str] = set()
        self._began: Optional[float] = None
        self._complained = False
        self.stats = KvTierStats()

    def register(self, groups: list[list[torch.Tensor]], num_blocks: int) -> None:
        layouts = [paged_layout(tensors, num_blocks) for tensors in groups]
        for layout, space in zip(layouts, self._spaces):
            due = space.spec.chunk_bytes // self._options.blocks_per_chunk
            if layout.block_bytes != due:
                raise ValueError(f"a block has {layout.block_bytes} bytes where {due} were announced")
        self._layouts, self._memory = layouts, groups
        if self._costs is not None:
            self._costs.measure()
            self._costs.tell()

    def tell_costs(self) -> None:
        if self._costs is not None:
            self._costs.tell()

    # A step begins

    def begin(self, meta: StepMetadata) -> None:
        """Before anything of the step overwrites a block."""
        self._finishing.update(meta.finishing)
        jobs = [self._job_of_store[number] for number in meta.fence if number in self._job_of_store]
        if jobs:
            self._mover.wait(jobs)  # a store that copies cannot be abandoned; its own deadline ends it
        self.tell_costs()  # to a daemon that came back
        self._began = time.monotonic() if meta.prefill else None

    def load(self, meta: StepMetadata) -> None:
        for load in meta.loads:
            if load.asynchronous:
                self._loading.setdefault(load.request, []).append(load)
        for load in meta.loads:
            if not load.asynchronous or not self._begin_load(load):
                begin = time.monotonic()
                done, moved = self._load_now(load)
                self._ended(load, done, moved, time.monotonic() - begin)

    def _begin_load(self, load: Load) -> bool:
        space, job = self._spaces[load.group], None
        try:
            chain = space.fold(load.hashes)
            if chain is not None and self._layouts:
                job = self._mover.submit_load(
                    space, chain, load.first, load.count, self._layouts[load.group], load.blocks, load.seconds_max)
        except kvtier.Error as error:
            self._complain(error)
        if job is not None:
            self._load_jobs[job] = load
        return job is not None

    def _load_now(self, load: Load) -> tuple[int, int]:
        """Chunks and bytes that came, from the first."""
        space = self._spaces[load.group]
        try:
            chain = space.fold(load.hashes)
            if chain is None or not self._layouts:
                return 0, 0
            with space.match(chain, first=load.first, chunks_max=load.count) as match:
                if match.chunks == 0:
                    return 0, 0
                loaded = space.load_blocks(
                    match, self._layouts[load.group], load.blocks[:match.chunks * self._options.blocks_per_chunk],
                    chunks=match.chunks, timeout=load.seconds_max)
                return loaded.chunks, loaded.bytes
        except kvtier.Error as error:
            self._complain(error)
            return 0, 0

    def _complain(self, error: Exception) -> None:
        """Once: what cannot be loaded is computed, what cannot be stored is not cached."""
        if not self._complained:
            logger.error("kvtier: %s", error)
        self._complained = True

    def _ended(self, load: Load, done: int, moved: int, seconds: float) -> None:
        self.stats.add("chunks_loaded", done)
        self.stats.add("load_bytes", moved)
        self.stats.add("load_seconds", seconds)
        self._report.load_bytes += moved
        self._report.load_seconds += seconds
        if done < load.count:
            self.stats.add("chunks_failed", load.count - done)
            if not self._whole:
                self._failed.add(load.request)
            else:
                self._failed_blocks.update(load.blocks[done * self._options.blocks_per_chunk:])
        if not load.asynchronous:
            self._loaded.add(load.request)
            return
        self._loading[load.request].remove(load)
        if not self._loading[load.request]:
            del self._loading[load.request]
            self._received.add(load.request)

    # A step ends

    def save(self, meta: StepMetadata) -> None:
        if meta.prefill is not None and self._began is not None and self._costs is not None:
            seconds = time.monotonic() - self._began
            for space in self._spaces:
                space.report_prefill(meta.prefill.tokens, meta.prefill.context, seconds)
        for store in meta.stores:
            self._begin_store(store)
        if meta.idle and self._store_jobs:
            self._mover.wait(list(self._store_jobs), _IDLE_WAIT)

    def _begin_store(self, store: Store) -> None:
        space, job = self._spaces[store.group], None
        try:
            chain = space.fold(store.hashes, store.tokens)
            if chain is not None and self._layouts:
                job = self._mover.submit_store(
                    space, chain, store.chunks, self._layouts[store.group], store.blocks,
                    self._options.store_seconds_max)
        except kvtier.Error as error:
            self._complain(error)
        if job is None:
            self.stats.add("chunks_dropped", len(store.chunks))
            self._report.stores[store.number] = (1, frozenset())
            return
        self._store_jobs[job] = store
        self._job_of_store[store.number] = job
        self._open[store.request] = self._open.get(store.request, 0) + 1

    def completed(self) -> tuple[set[str], set[str], set[str]]:
        """Requests whose stores have all ended after they finished; whose loads have ended; of these, those that
        must be computed from their beginning."""
        for completion in self._mover.poll():
            store = self._store_jobs.pop(completion.id, None)
            if store is not None:
                self._stored(store, completion)
                continue
            self._ended(
                self._load_jobs.pop(completion.id), completion.chunks, completion.bytes, completion.seconds)
        sent = {name for name in self._finishing if name not in self._open}
        self._finishing -= sent
        received, self._received = self._received, set()
        failed = self._failed & received
        self._failed -= failed
        return sent, received, failed

    def _stored(self, store: Store, completion: kvtier.Completion) -> None:
        self._open[store.request] -= 1
        if self._open[store.request] == 0:
            del self._open[store.request]
        held = []
        for chunk, outcome in zip(store.chunks, completion.outcomes):
            if outcome == "stored":
                self.stats.add("chunks_stored")
            elif outcome == "present":
                self.stats.add("chunks_present")
            else:
                self.stats.add("chunks_refused")
                continue
            held.append(chunk)
        self.stats.add("store_bytes", completion.bytes)
        self.stats.add("store_seconds", completion.seconds)
        self._report.stores[store.number] = (1, frozenset(held))
        del self._job_of_store[store.number]  # last: what is still here has not been reported

    def take_failed_blocks(self) -> set[int]:
        failed, self._failed_blocks = self._failed_blocks, set()
        return failed

    def take_report(self) -> Optional[WorkerReport]:
        report, self._report = self._report, WorkerReport()
        report.loaded = frozenset(self._loaded)
        self._loaded = set()
        return report if report.stores or report.loaded or report.load_bytes else None

    def close(self) -> None:
        # What the moving thread reads or writes is about to go.
        self._mover.wait(list(self._store_jobs) + list(self._load_jobs), self._options.store_seconds_max)
        del self._mover

    def give_up(self) -> NullWorker:
        """After a fault in here. What has ended is reported as it did; what is under way or unknown fails."""
        # The moving thread writes into blocks that will be computed anew, or given to others: not before it ends.
        self._mover.wait(list(self._store_jobs) + list(self._load_jobs))
        heir = NullWorker(self._whole)
        heir.stats = self.stats
        heir._finishing, heir._received, heir._failed = self._finishing, self._received, self._failed
        heir._failed_blocks, heir._loaded = self._failed_blocks, self._loaded
        heir._report.stores.update(self._report.stores)
        for loads in self._loading.values():
            for load in loads:
                heir.fail(load)
        for number in self._job_of_store:
            heir.drop(number)
        return heir


class NullWorker:
    """Stands in for a worker that could not be made, or has failed. The scheduler may still promise: every load fails
    and is reported, every store ends, so that no request decodes on blocks that nobody filled, and none waits."""

    def __init__(self, whole: bool) -> None:
        """whole: one group of layers with full attention, whose loads fail by block."""
        self._whole = whole
        self._finishing: set[str] = set()
        self._received: set[str] = set()
        self._failed: set[str] = set()
        self._failed_blocks: set[int] = set()
        self._loaded: set[str] = set()
        self._report = WorkerReport(broken=True)
        self.stats = KvTierStats()

    def fail(self, load: Load) -> None:
        if self._whole or not load.asynchronous:
            self._failed_blocks.update(load.blocks)
        else:
            self._failed.add(load.request)
        (self._received if load.asynchronous else self._loaded).add(load.request)
        self.stats.add("chunks_failed", load.count)

    def drop(self, number: int) -> None:
        self._report.stores[number] = (1, frozenset())

    def register(self, groups: list[list[torch.Tensor]], num_blocks: int) -> None:
        pass

    def tell_costs(self) -> None:
        pass

    def begin(self, meta: StepMetadata) -> None:
        self._finishing.update(meta.finishing)

    def load(self, meta: StepMetadata) -> None:
        for load in meta.loads:
            self.fail(load)

    def save(self, meta: StepMetadata) -> None:
        for store in meta.stores:
            self.stats.add("chunks_dropped", len(store.chunks))
            self.drop(store.number)

    def completed(self) -> tuple[set[str], set[str], set[str]]:
        sent, self._finishing = self._finishing, set()
        received, self._received = self._received, set()
        failed, self._failed = self._failed & received, self._failed - received
        return sent, received, failed

    def take_failed_blocks(self) -> set[int]:
        failed, self._failed_blocks = self._failed_blocks, set()
        return failed

    def take_report(self) -> Optional[WorkerReport]:
        report, self._report = self._report, WorkerReport(broken=True)
        report.loaded, self._loaded = frozenset(self._loaded), set()
        return report

    def give_up(self) -> NullWorker:
        return self

    def close(self) -> None:
        pass
