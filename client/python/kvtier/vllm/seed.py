"""Finds out whether other engines of the same model hash prompts as this one does. With another seed (set by
PYTHONHASHSEED, or drawn at random for a hash that is not cryptographic) nothing ever hits, silently.

The first engine leaves a chunk under a key that does not depend on hashes, saying its seed; the others compare.
"""
from __future__ import annotations

import hashlib
import time
from typing import Any, Optional

import kvtier

_WORDS = b"kvtier: seed of vLLM's block hashes"


def _own_seed(patience: float) -> Optional[bytes]:
    """Of this process; the engine sets it while it starts."""
    from vllm.v1.core import kv_cache_utils

    end = time.monotonic() + patience
    while time.monotonic() < end:
        none_hash = getattr(kv_cache_utils, "NONE_HASH", None)
        if none_hash is not None:
            return hashlib.sha256(_WORDS + bytes(none_hash)).digest()
        time.sleep(0.1)
    return None


def check(session: kvtier.Session, spec: kvtier.SpaceSpec, logger: Any, patience: float = 60.0) -> Optional[bool]:
    """Whether the seeds agree; None when that could not be found out. Waits: not for an engine's thread."""
    own = _own_seed(patience)
    if own is None:
        return None
    space = session.open_space(kvtier.SpaceSpec(
        spec.model, tokens_per_chunk=spec.tokens_per_chunk, chunk_bytes=spec.chunk_bytes, layout="vllm-seed-1"))
    chain = space.derive([0] * spec.tokens_per_chunk)
    if chain is None:
        return None
    said = own + bytes(spec.chunk_bytes - len(own))
    for _ in range(50):
        with space.match(chain) as match:
            if match.chunks:
                found = bytes(memoryview(match.payload(0))[:len(own)])
                if not match.check():
                    continue
                if found != own:
                    logger.error(
                        "kvtier: this engine hashes prompts with another seed than the engines before it: it will "
                        "find nothing of theirs, nor they of its. Give all the same PYTHONHASHSEED (or none) and a "
                        "cryptographic --prefix-caching-hash-algo (sha256, sha256_cbor). If that was changed on "
                        "purpose everywhere, this message ends with the daemon's next cold start.")
                return found == own
        if space.store(chain, [(0, [said])], timeout=2.0)[0] not in ("stored", "present", "busy", "in_progress"):
            return None
        time.sleep(0.1)
    return None
