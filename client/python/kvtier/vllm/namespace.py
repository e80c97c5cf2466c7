"""What the KV of an engine depends on besides the token ids, as a SpaceSpec. Anything that changes the meaning of
the bytes is in it, so that another model, dtype, layout, block size or instruction set is a miss."""
from __future__ import annotations

import hashlib
import json
import os
import pathlib
import struct
from typing import Any

import kvtier

# Raised when this connector itself orders payload bytes differently.
LAYOUT_VERSION = 1
# Settings of a model's configuration that say nothing about its KV.
_VOLATILE = ("_name_or_path", "transformers_version", "architectures", "torch_dtype", "dtype")
_WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt", ".pth")
_SAMPLE = 4096


def _hash_tensors(path: pathlib.Path, size: int, digest: Any) -> None:
    """The header of a safetensors file, and the beginning, middle and end of each tensor."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > min(size, 100 << 20):
            raise ValueError("no safetensors header")
        header = file.read(length)
        digest.update(header)
        for name, tensor in sorted(json.loads(header).items()):
            if name == "__metadata__":
                continue
            begin, end = tensor["data_offsets"]
            for at in (begin, (begin + end) // 2, max(begin, end - _SAMPLE)):
                file.seek(8 + length + at)
                digest.update(file.read(min(_SAMPLE, end - begin)))


def _hash_evenly(path: pathlib.Path, size: int, digest: Any) -> None:
    with path.open("rb") as file:
        for i in range(65):
            file.seek(max(0, size - _SAMPLE) * i // 64)
            digest.update(file.read(_SAMPLE))


def folder_fingerprint(folder: str | os.PathLike[str]) -> str:
    """Names a folder's weights by samples of every tensor, equal on every host that has a copy.

    A change that misses every sample is not seen: give `model_fingerprint` where weights are edited in place.
    """
    digest = hashlib.sha256()
    for path in sorted(pathlib.Path(folder).iterdir()):
        if path.suffix not in (".json", *_WEIGHTS):
            continue
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}:".encode())
        if path.suffix == ".safetensors":
            try:
                _hash_tensors(path, size, digest)
                continue
            except (ValueError, KeyError, TypeError, struct.error):
                pass
        if path.suffix == ".json" and size <= 16 << 20:
            digest.update(path.read_bytes())
        else:
            _hash_evenly(path, size, digest)
    return digest.hexdigest()


def has_weights(folder: str | os.PathLike[str]) -> bool:
    """Whether folder_fingerprint() names weights there, and not only settings."""
    return any(path.suffix in _WEIGHTS for path in pathlib.Path(folder).iterdir())


def model_fingerprint(model: str, revision: str | None) -> tuple[str, bool]:
    """(fingerprint, whether it names the weights themselves and not only their name)."""
    if os.path.isdir(model):
        if has_weights(model):
            return folder_fingerprint(model), True
        return f"{folder_fingerprint(model)}:{os.path.abspath(model)}", False
    try:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(model, "config.json", revision=revision)
        if isinstance(found, str) and has_weights(os.path.dirname(found)):
            return folder_fingerprint(os.path.dirname(found)), True
    except Exception:  # the hub's cache is a convenience; without it the name and revision count
        pass
    if os.path.isfile(model):
        digest = hashlib.sha256()
        _hash_evenly(pathlib.Path(model), os.path.getsize(model), digest)
        return digest.hexdigest(), True
    return f"{model}@{revision}", revision is not None


def weights_fingerprint(config: Any, given: str) -> tuple[str, bool]:
    """Of the model and, where one drafts for it, of that one: its layers are kept with the others."""
    model, speculative = config.model_config, getattr(config, "speculative_config", None)
    fingerprint, named = (given, True) if given else model_fingerprint(model.model, model.revision)
    draft = getattr(speculative, "model", None)
    # Methods without weights say their own name here.
    if draft and draft not in (model.model, getattr(speculative, "method", None)):
        added, draft_named = model_fingerprint(draft, getattr(speculative, "revision", None))
        named = named and draft_named
        fingerprint = f"{fingerprint}+{added}"
    return fingerprint, named


def instruction_set() -> str:
    """Those of the CPU that decide how vLLM's CPU kernels pack a block."""
    wanted = ("amx_tile", "amx_bf16", "avx512f", "avx512_bf16", "avx2", "sve", "asimd")
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                present = set(line.split(":", 1)[1].split())
                short = [name for name in wanted if name in present]
                return "cpu:" + hashlib.sha256(",".join(short).encode()).hexdigest()[:16]
    except OSError:
        pass
    return "cpu:unknown"


def identity(config: Any, kv_cache_config: Any, fingerprint: str) -> dict[str, Any]:
    """Everything that has a say, as plain values."""
    import vllm
    from vllm.platforms import current_platform

    model, cache, parallel = config.model_config, config.cache_config, config.parallel_config
    hf = model.hf_config.to_dict()
    groups = []
    for group in kv_cache_config.kv_cache_groups:
        spec = group.kv_cache_spec
        groups.append({
            "spec": type(spec).__name__, "block": spec.block_size, "page_bytes": spec.page_size_bytes,
            "sliding_window": getattr(spec, "sliding_window", None), "layers": list(group.layer_names)})
    return {
        "engine": "vllm",
        "engine_version": vllm.__version__,
        "connector_layout": LAYOUT_VERSION,
        "weights": fingerprint,
        "load_format": str(config.load_config.load_format),  # made-up weights are not those of the files
        "speculative": str(getattr(getattr(config, "speculative_config", None), "method", None)),
        "config": {k: v for k, v in sorted(hf.items()) if k not in _VOLATILE},
        "model_dtype": str(model.dtype),
        "quantization": str(model.quantization),
        "kv_dtype": str(cache.cache_dtype),
        "groups": groups,
        "hash_block": kv_cache_config.hash_block_size,
        "hash_algorithm": cache.prefix_caching_hash_algo,
        "device": current_platform.device_type,
        "layout": kv_cache_config.kv_cache_layout,
        "backend": str(getattr(getattr(config, "attention_config", None), "backend", None)),
        "tensor_parallel": parallel.tensor_parallel_size,
        "pipeline_parallel": parallel.pipeline_parallel_size,
        "decode_context_parallel": getattr(parallel, "decode_context_parallel_size", 1),
    }


def shard_count(config: Any) -> int:
    return config.parallel_config.world_size


def space_of_rank(spec: kvtier.SpaceSpec, rank: int) -> kvtier.SpaceSpec:
    """The same groups of layers, of another rank."""
    return kvtier.SpaceSpec(
        spec.model, tokens_per_chunk=spec.tokens_per_chunk, chunk_bytes=spec.chunk_bytes, dtype=spec.dtype,
        layout=spec.layout, isa=spec.isa, layers=spec.layers, kv_heads=spec.kv_heads, head_dim=spec.head_dim,
        shard=rank, shards=spec.shards)


def space_spec(config: Any, kv_cache_config: Any, group: int, fingerprint: str, shard: int,
               blocks_per_chunk: int) -> kvtier.SpaceSpec:
    """Of one group of layers and one rank. All groups of a model share their keys."""
    from vllm.platforms import current_platform

    facts = identity(config, kv_cache_config, fingerprint)
    facts["blocks_per_chunk"] = blocks_per_chunk
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
    spec = kv_cache_config.kv_cache_groups[group].kv_cache_spec
    name = os.path.basename(str(config.model_config.model).rstrip("/"))[:150]
    layers = len(kv_cache_config.kv_cache_groups[group].layer_names)
    return kvtier.SpaceSpec(
        f"{name}#{digest}", tokens_per_chunk=spec.block_size * blocks_per_chunk,
        chunk_bytes=spec.page_size_bytes * layers * blocks_per_chunk,
        dtype=str(config.cache_config.cache_dtype)[:31],
        layout=f"vllm-{LAYOUT_VERSION}/{kv_cache_config.kv_cache_layout}/g{group}"[:63],
        isa=instruction_set() if current_platform.is_cpu() else "", layers=layers,
        kv_heads=getattr(spec, "num_kv_heads", 0) or 0, head_dim=getattr(spec, "head_size", 0) or 0,
        shard=shard, shards=shard_count(config))
