"""kvtier: the KV cache tier for LLM inference, from Python.

A Session attaches this process to the daemon and re-attaches by itself; a Space is one tensor shape in it;
match() finds and leases the longest resident prefix of a prompt; load() copies it out and checks it; store()
puts new chunks in. Every call returns within its deadline; a miss, an absent daemon and a passed deadline are
values that mean "recompute". Error is raised for wrong use only. Calls that can wait release the GIL.
"""
from ._kvtier import (
    Completion,
    Error,
    Grant,
    KeyChain,
    LoadResult,
    Lookup,
    Match,
    Mover,
    PagedLayout,
    Payload,
    Plan,
    Reservation,
    Restore,
    Session,
    Space,
    SpaceSpec,
    Status,
    __version__,
    checksum,
    decode_payload,
    default_socket_path,
    encode_payload,
    protocol_versions,
)

__all__ = [
    "Completion", "Error", "Grant", "KeyChain", "LoadResult", "Lookup", "Match", "Mover", "PagedLayout",
    "Payload", "Plan", "Reservation", "Restore", "Session", "Space", "SpaceSpec", "Status", "__version__", "checksum",
    "decode_payload", "default_socket_path", "encode_payload", "protocol_versions",
]
