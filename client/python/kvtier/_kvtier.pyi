# Types of the extension. Timeouts are seconds; None waits without a deadline where the call can wait at all.
# "Value" below: what a running system does (no daemon, deadline, miss) is returned; Error is wrong use only.
import os
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Optional, Union

__version__: str
protocol_versions: tuple[int, int]

# (address, bytes), or an object with a C-contiguous buffer.
Fragment = Union[tuple[int, int], Any]

class Error(ValueError):
    """Wrong use: an argument that cannot be, a session that is closed or belongs to the parent process."""

    code: str

class Status:
    """Ok (truthy), or why not."""

    code: str
    message: str
    def __bool__(self) -> bool: ...

class SpaceSpec:
    """One tensor shape. Whatever changes the meaning of the bytes must differ here."""

    def __init__(
        self, model: str, *, tokens_per_chunk: int, chunk_bytes: int, dtype: str = "bf16", layout: str = "",
        isa: str = "", layers: int = 0, kv_heads: int = 0, head_dim: int = 0, shard: int = 0, shards: int = 1,
        kind: str = "opaque",
    ) -> None: ...
    @property
    def model(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def layout(self) -> str: ...
    @property
    def isa(self) -> str: ...
    @property
    def layers(self) -> int: ...
    @property
    def kv_heads(self) -> int: ...
    @property
    def head_dim(self) -> int: ...
    @property
    def tokens_per_chunk(self) -> int: ...
    @property
    def shard(self) -> int: ...
    @property
    def shards(self) -> int: ...
    @property
    def chunk_bytes(self) -> int: ...

class KeyChain:
    """Keys of a prompt's full chunks, and what their headers must say."""

    def __len__(self) -> int: ...
    def keys(self) -> list[bytes]: ...

class Payload:
    """A chunk's bytes in shared memory: buffer and DLPack (bytes). Keeps them leased (or granted) and mapped."""

    read_only: bool
    address: int
    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __dlpack__(
        self, *, stream: Any = None, max_version: Optional[tuple[int, int]] = None, dl_device: Any = None,
        copy: Any = None,
    ) -> Any: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...

class Match:
    """A leased prefix. The leases end with release(), with the `with` block or with the object, but not before
    the last Payload of it is gone."""

    chunks: int
    tokens: int
    chunks_lower: int
    @property
    def ended(self) -> str: ...
    def payload(self, chunk: int) -> Payload:
        """In place. Bytes may be acted on only after a check() that follows the last read."""
    def check(self) -> Status: ...
    def release(self) -> None: ...
    def __enter__(self) -> Match: ...
    def __exit__(
        self, kind: Optional[type[BaseException]], value: Optional[BaseException],
        trace: Optional[TracebackType], /,
    ) -> None: ...

class Grant:
    """A writer's hold on an empty slot."""

    @property
    def held(self) -> bool: ...
    @property
    def chunk(self) -> int: ...
    def payload(self) -> Payload: ...
    def abort(self) -> None: ...

class Reservation:
    @property
    def outcome(self) -> str: ...
    @property
    def retry_after(self) -> float: ...
    @property
    def grant(self) -> Optional[Grant]: ...

class Lookup:
    chunks: int
    @property
    def chunks_by_tier(self) -> dict[str, int]: ...
    @property
    def ended(self) -> str: ...

class Plan:
    load_first: int
    load_chunks: int
    resident: int
    ttft_seconds: float
    load_all_seconds: float
    compute_all_seconds: float
    id: int
    load_seconds: float
    recompute_seconds: float
    @property
    def load_deadline(self) -> float: ...

class RestoreResult:
    computed: int
    loaded: int
    bytes: int
    @property
    def ended(self) -> str: ...

class Restore:
    """Chunks that come last first while the caller computes them from the front. One thread calls run(), one
    take_head() and met()."""

    def run(self) -> int:
        """Loads until head and tail meet, a chunk does not come, or cancel(); the number of chunks."""
    def take_head(self) -> bool:
        """The head takes the next chunk. False: it is loaded, or just being loaded."""
    def met(self) -> bool:
        """Waits for the chunk that is being loaded. False: it did not come, take_head() gives it to the head."""
    def cancel(self) -> None: ...
    @property
    def result(self) -> RestoreResult: ...

class LoadResult:
    chunks: int
    bytes: int
    seconds: float

class PagedLayout:
    """An engine's paged memory: planes of (address of block 0, bytes between blocks, bytes of a block). A chunk
    of several blocks is, block after block, each plane's bytes of it. The memory must outlive its use."""

    def __init__(self, planes: Sequence[tuple[int, int, int]], blocks: int) -> None: ...
    blocks: int
    block_bytes: int

class Space:
    @property
    def spec(self) -> SpaceSpec: ...
    def derive(
        self, tokens: Union[Sequence[int], Any], extras: Sequence[tuple[int, int]] = ...
    ) -> Optional[KeyChain]:
        """Keys of the full chunks of a prompt; extras are (chunk, id). None: no daemon was ever attached."""
    def fold(self, hashes: Iterable[bytes], tokens: Union[Sequence[int], Any, None] = None) -> Optional[KeyChain]:
        """Keys from an engine's own chained 256-bit hashes, one a chunk. None: no daemon was ever attached."""
    def lookup(self, chain: KeyChain, first: int = 0) -> Lookup: ...
    def match(
        self, chain: KeyChain, *, first: int = 0, chunks_max: Optional[int] = None, all_shards: bool = True,
        touch: bool = True,
    ) -> Match: ...
    def plan(self, lookup: Lookup, first: int = 0) -> Plan: ...
    def plan_chain(
        self, chain: KeyChain, *, first: int = 0, chunks_max: Optional[int] = None, tokens_behind: int = 0,
        restore: str = "sequential", lambda_: float = 0.0, last_load_chunks: Optional[int] = None, request: str = "",
    ) -> Plan:
        """What to load of a prompt and what to compute. `restore`: sequential, overlapped or layerwise."""
    def plan_ended(self, plan: Plan, loaded: int, seconds: float, ended: str = "none") -> None:
        """What became of a plan, for `kvtier explain` and the error of predictions."""
    def report_model(self, flops_token: float, flops_pair: float, flops_per_s: float) -> Status: ...
    def load(
        self, match: Match, targets: Sequence[tuple[int, Iterable[Fragment]]], timeout: Optional[float] = None
    ) -> LoadResult:
        """Copies leased chunks out. Only the first `LoadResult.chunks` targets are valid."""
    def load_blocks(
        self, match: Match, layout: PagedLayout, blocks: Sequence[int], *, first: int = 0, chunks: int,
        timeout: Optional[float] = None,
    ) -> LoadResult: ...
    def restore(
        self, chain: KeyChain, targets: Sequence[tuple[int, Sequence[tuple[int, int]]]],
        timeout: Optional[float] = None,
    ) -> Restore:
        """targets: (chunk of the chain, [(address, bytes)]), consecutive. Their memory must outlive the object."""
    def store(
        self, chain: KeyChain, sources: Sequence[tuple[int, Iterable[Fragment]]],
        timeout: Optional[float] = None, encoding: Optional[str] = None,
    ) -> list[str]:
        """`encoding`: none, lossless, fp8, fp8-tensor, int8, int4; without it what the daemon's
        configuration says for the space. Outcomes: stored, present, in_progress, full, over_quota, declined, busy, failed."""
    def reserve(self, chain: KeyChain, chunks: Sequence[int], timeout: Optional[float] = None) -> list[Reservation]: ...
    def commit(
        self, grants: Sequence[Grant], checksums: Sequence[int] = ..., timeout: Optional[float] = None
    ) -> list[str]: ...
    def touch(self, chain: KeyChain, chunks: int) -> None: ...
    def flush_touches(self, timeout: Optional[float] = None) -> Status: ...
    def prefetch(self, chain: KeyChain, first: int, count: int, timeout: Optional[float] = None) -> int: ...
    def hint(
        self, chain: KeyChain, hint: str, *, first: int = 0, count: Optional[int] = None, value: float = 0.0
    ) -> Status:
        """hint: session_end, next_use_in, pin or class."""
    def report_prefill(self, tokens: int, context: int, seconds: float) -> Status: ...

class Session:
    """One process's attachment to the daemon. Never waits for it: a thread attaches, again and again."""

    def __init__(
        self, *, socket: Union[str, os.PathLike[str]] = "", name: str = "", read_only: bool = False,
        verify: str = "default", call_deadline: float = 1.0, retry_first: float = 0.02, retry_last: float = 1.0,
    ) -> None: ...
    @property
    def attached(self) -> bool: ...
    @property
    def epoch(self) -> int: ...
    @property
    def id(self) -> int: ...
    @property
    def closed(self) -> bool: ...
    def wait_attached(self, timeout: Optional[float]) -> Status: ...
    def open_space(self, spec: SpaceSpec) -> Space: ...
    def stats(self) -> dict[str, Any]: ...
    def close(self) -> None: ...
    def __enter__(self) -> Session: ...
    def __exit__(
        self, kind: Optional[type[BaseException]], value: Optional[BaseException],
        trace: Optional[TracebackType], /,
    ) -> None: ...

class Completion:
    id: int
    chunks: int
    bytes: int
    seconds: float
    @property
    def kind(self) -> str: ...
    @property
    def ended(self) -> str: ...
    @property
    def outcomes(self) -> list[str]: ...

class Mover:
    """Threads that load, store and prefetch for a caller that must not wait. submit_*: the job's number, or None
    when the queue is full. fileno() becomes readable when poll() has something."""

    def __init__(self, *, jobs_max: int = 64, bytes_max: int = ..., threads: int = 1) -> None: ...
    def submit_load(
        self, space: Space, chain: KeyChain, first: int, count: int, layout: PagedLayout, blocks: Sequence[int],
        timeout: Optional[float] = None,
    ) -> Optional[int]: ...
    def submit_store(
        self, space: Space, chain: KeyChain, chunks: Sequence[int], layout: PagedLayout, blocks: Sequence[int],
        timeout: Optional[float] = None,
    ) -> Optional[int]: ...
    def submit_prefetch(
        self, space: Space, chain: KeyChain, first: int, count: int, timeout: Optional[float] = None
    ) -> Optional[int]: ...
    def poll(self) -> list[Completion]: ...
    def wait(self, ids: Sequence[int], timeout: Optional[float] = None) -> bool: ...
    @property
    def pending(self) -> int: ...
    def fileno(self) -> int: ...

def checksum(data: Any) -> int: ...
def encode_payload(codec: str, raw: Any, shape: tuple[int, int, int, int, int], dtype: str = "bf16") -> bytes:
    """The payload of a chunk whose elements are raw: element[layer][plane][token][head][dim], shape the five counts.

    codec: none, fp8, fp8-tensor, int8, int4 or lossless (docs/kernels.md). Error: an unknown codec or dtype, a
    buffer of another size than the shape's, NaN or infinity under a codec that has none.
    """

def decode_payload(codec: str, payload: Any, shape: tuple[int, int, int, int, int], dtype: str = "bf16") -> bytes:
    """The raw elements of such a payload. Error: as above, or a payload that no encoder writes."""

def default_socket_path() -> str: ...
