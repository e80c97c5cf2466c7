"""What the connector counted, in vLLM's terms: its log line, its Prometheus metrics."""
from __future__ import annotations

from typing import Any

from vllm.distributed.kv_transfer.kv_connector.v1.metrics import KVConnectorPromMetrics, KVConnectorStats

# One row each: name, help. All are sums.
COUNTERS = {
    "tokens_asked": "prompt tokens looked up in kvtier",
    "tokens_promised": "tokens that kvtier promised to load",
    "prefetches": "times chunks of a lower tier were asked for",
    "chunks_prefetched": "chunks brought up from a lower tier",
    "chunks_declined": "cached chunks that were not worth loading, by the planner",
    "chunks_loaded": "chunks loaded",
    "chunks_failed": "promised chunks that could not be loaded and were recomputed",
    "load_bytes": "bytes loaded",
    "load_seconds": "seconds spent loading",
    "chunks_stored": "chunks stored",
    "chunks_present": "chunks that were to be stored and were there already",
    "chunks_refused": "chunks that the daemon had no room for, declined, or did not take in time",
    "chunks_dropped": "chunks not stored because too many stores were under way",
    "chunks_evicted": "chunks that vLLM evicted before they were stored, where stores are lazy",
    "store_bytes": "bytes stored",
    "store_seconds": "seconds spent storing, beside the engine's steps",
    "misses_unavailable": "look-ups without a daemon",
    "misses_absent": "look-ups that ended at a chunk that is not cached",
    "misses_lower": "look-ups that ended at a chunk in a lower tier",
    "misses_shard": "look-ups that ended where another shard of the group was missing",
    "misses_other": "look-ups that ended for another reason",
}


class KvTierStats(KVConnectorStats):
    def __init__(self, data: dict[str, Any] | None = None) -> None:
        super().__init__(data=dict(data) if data else {})

    def add(self, name: str, amount: float = 1) -> None:
        assert name in COUNTERS
        self.data[name] = self.data.get(name, 0) + amount

    def reset(self) -> None:
        self.data = {}

    def aggregate(self, other: KVConnectorStats) -> KvTierStats:
        for name, amount in other.data.items():
            self.data[name] = self.data.get(name, 0) + amount
        return self

    def reduce(self) -> dict[str, int | float]:
        shown = {f"kvtier {name}": round(amount, 6) for name, amount in self.data.items()}
        seconds = self.data.get("load_seconds", 0)
        if seconds:
            shown["kvtier load GB/s"] = round(self.data.get("load_bytes", 0) / seconds / 1e9, 2)
        return shown

    def is_empty(self) -> bool:
        return not self.data

    def take(self) -> KvTierStats | None:
        """What was counted since the last time; None when nothing was."""
        if not self.data:
            return None
        taken, self.data = KvTierStats(self.data), {}
        return taken


class KvTierPromMetrics(KVConnectorPromMetrics):
    def __init__(self, config: Any, metric_types: Any, labelnames: list[str],
                 per_engine_labelvalues: dict[int, list[object]]) -> None:
        super().__init__(config, metric_types, labelnames, per_engine_labelvalues)
        self._counters = {}
        for name, text in COUNTERS.items():
            counter = self._counter_cls(
                name=f"vllm:kvtier_{name}", documentation=f"kvtier: {text}.", labelnames=labelnames)
            self._counters[name] = {
                engine: counter.labels(*values) for engine, values in per_engine_labelvalues.items()}

    def observe(self, transfer_stats_data: dict[str, Any], engine_idx: int = 0) -> None:
        for name, amount in transfer_stats_data.items():
            if name in self._counters and amount > 0:
                self._counters[name][engine_idx].inc(amount)
