"""The connector's options: one row each, from kv_connector_extra_config. An unknown or unfit one is refused."""
from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

STORES = ("eager", "lazy", "off")
VERIFY = ("default", "never", "sampled", "always")


@dataclass(frozen=True)
class Options:
    socket: str = ""  # the daemon's attach socket; empty: found as every client finds it
    model_fingerprint: str = ""  # names the weights; empty: read from the model's files
    blocks_per_chunk: int = 1  # engine blocks that make a chunk, 1 .. 64
    store: str = "eager"  # when it was computed; lazy: when vLLM is about to evict it; off: only load
    load: bool = True  # false: only store
    plan: bool = True  # ask the planner how much of a hit pays; false: load all of it
    load_tokens_min: int = 1  # a hit below this is not loaded
    load_seconds_max: float = 5.0  # a load's deadline when the planner knows none
    async_load_seconds: float = 0.25  # a load expected to take longer runs beside other requests' steps
    store_seconds_max: float = 2.0  # a store's deadline; a chunk that misses it is not cached
    store_queue_jobs: int = 256  # stores under way; more are dropped and counted
    store_queue_bytes: int = 1 << 30
    call_deadline: float = 0.1  # of the scheduler's calls, should one have to ask the daemon
    verify: str = "default"  # payload checksums on loads: default, never, sampled, always

    @classmethod
    def of(cls, extra: dict[str, Any]) -> Options:
        rows = {row.name: row for row in fields(cls)}
        for name, value in extra.items():
            if name not in rows:
                raise ValueError(
                    f"kvtier: kv_connector_extra_config has '{name}', which is no option; there are: "
                    f"{', '.join(rows)}")
            kind = type(rows[name].default)
            fits = isinstance(value, (int, float)) if kind is float else isinstance(value, kind)
            if not fits or (kind is not bool and isinstance(value, bool)):
                raise ValueError(f"kvtier: option {name} is {value!r}; due is a {kind.__name__}")
            if kind in (int, float) and value < 0:
                raise ValueError(f"kvtier: option {name} is {value!r}; due is 0 or more")
        options = cls(**extra)
        if not 1 <= options.blocks_per_chunk <= 64:
            raise ValueError(f"kvtier: blocks_per_chunk is {options.blocks_per_chunk}; due is 1 .. 64")
        if options.store not in STORES:
            raise ValueError(f"kvtier: store is '{options.store}'; due is one of {', '.join(STORES)}")
        if options.verify not in VERIFY:
            raise ValueError(f"kvtier: verify is '{options.verify}'; due is one of {', '.join(VERIFY)}")
        return options
