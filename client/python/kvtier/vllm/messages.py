"""What the connector's two sides tell each other through vLLM. Plain data; pickled."""
from __future__ import annotations

from dataclasses import dataclass, field

from vllm.distributed.kv_transfer.kv_connector.v1.base import KVConnectorMetadata, KVConnectorWorkerMetadata


@dataclass
class Load:
    """Chunks [first, first + count) of one group of layers into blocks; hashes name all chunks from 0 on."""

    request: str
    group: int
    hashes: list[bytes]
    first: int
    blocks: list[int]
    seconds_max: float
    asynchronous: bool

    @property
    def count(self) -> int:
        return len(self.hashes) - self.first


@dataclass
class Store:
    """Some chunks of a request and a group of layers from blocks, whose KV is known to be good after this step."""

    number: int
    request: str
    group: int
    hashes: list[bytes]
    tokens: list[int]
    chunks: list[int]
    blocks: list[int]


@dataclass
class Prefill:
    """A step that is one request's prefill: worth telling the planner how long it took."""

    tokens: int
    context: int


@dataclass
class StepMetadata(KVConnectorMetadata):
    loads: list[Load] = field(default_factory=list)
    stores: list[Store] = field(default_factory=list)
    # Stores whose blocks may be overwritten by this step: they must have ended before.
    fence: list[int] = field(default_factory=list)
    # Finished requests whose blocks are kept until their stores have ended.
    finishing: list[str] = field(default_factory=list)
    prefill: Prefill | None = None
    idle: bool = False  # nothing is computed in this step


@dataclass
class WorkerReport(KVConnectorWorkerMetadata):
    """What became of loads and stores in a step. Stores by their number: how many ranks ended them, and the
    chunks that all of these hold."""

    stores: dict[int, tuple[int, frozenset[int]]] = field(default_factory=dict)
    # Requests whose loads within the step have ended, well or not (invalid blocks say which).
    loaded: frozenset[str] = frozenset()
    load_bytes: int = 0
    load_seconds: float = 0.0
    broken: bool = False  # a rank has no worker: nothing it is promised will ever come

    def aggregate(self, other: KVConnectorWorkerMetadata) -> WorkerReport:
        assert isinstance(other, WorkerReport)
        stores = dict(self.stores)
        for number, (ranks, chunks) in other.stores.items():
            before, held = stores.get(number, (0, chunks))
            stores[number] = (before + ranks, held & chunks)
        return WorkerReport(
            stores, self.loaded | other.loaded, self.load_bytes + other.load_bytes,
            max(self.load_seconds, other.load_seconds), self.broken or other.broken)
