"""What a Transformers model computes with, and from: its weights as they are now, and the tokens of a forward pass.

For kvtier.transformers. Keys and values are named by both, so whatever changes them must change what is said here; where
that cannot be told, the answer is None, and nothing is loaded or stored.
"""
from __future__ import annotations

import hashlib
import inspect
from typing import Any, Optional

import torch

# Arguments of a forward pass that do not change what tokens mean. Tensors under any other name may.
_HARMLESS = {"input_ids", "attention_mask", "position_ids", "cache_position", "labels", "logits_to_keep"}
_OTHER_INPUTS = ("vision_config", "audio_config", "speech_config")


def takes_other_inputs(config: Any) -> bool:
    """Images or sound are merged behind the ids: equal ids do not mean equal keys and values."""
    return any(getattr(config, name, None) is not None for name in _OTHER_INPUTS)


def adapters_of(model: torch.nn.Module) -> list[Any]:
    """Which adapters are active in which layer, and how strongly."""
    found: list[Any] = []
    for name, module in model.named_modules():
        if hasattr(module, "active_adapters") and hasattr(module, "disable_adapters") and not callable(
                module.active_adapters):
            scaling = getattr(module, "scaling", None)
            found.append((name, tuple(module.active_adapters), bool(module.disable_adapters),
                          tuple(getattr(module, "merged_adapters", ())),
                          tuple(sorted(scaling.items())) if isinstance(scaling, dict) else ()))
    return found


def _tensors(model: torch.nn.Module) -> list[tuple[str, torch.Tensor]]:
    # Buffers too: quantised weights are kept in them.
    return sorted([*model.named_parameters(), *model.named_buffers()], key=lambda named: named[0])


def weights_fingerprint(model: torch.nn.Module) -> str:
    """Names the weights as they are in memory, adapters included: samples of each parameter and buffer."""
    digest = hashlib.sha256(repr(adapters_of(model)).encode())
    for name, tensor in _tensors(model):
        digest.update(f"{name}:{tuple(tensor.shape)}:{tensor.dtype}".encode())
        flat = tensor.detach().reshape(-1)
        count = flat.numel()
        for begin in (0, count // 2, max(0, count - 256)):
            sample = flat[begin:begin + 256].cpu().contiguous()
            digest.update(sample.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def weights_mark(model: torch.nn.Module) -> int:
    """Changes when weights are written in place, replaced, or adapters switched. Cheap: reads no element."""
    # Inference tensors are never written again, and count no versions.
    return hash((repr(adapters_of(model)),
                 tuple((tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version)
                       for _, tensor in _tensors(model))))


def is_plain(module: torch.nn.Module, args: Any, kwargs: Any) -> bool:
    """Whether the keys and values of a forward pass follow from its ids and what is in the cache alone: nothing masked,
    positions one after the other, no embeddings or other inputs."""
    names = list(inspect.signature(module.forward).parameters)
    given = {**dict(zip(names, args)), **kwargs}
    ids = given.get("input_ids")
    if not isinstance(ids, torch.Tensor) or ids.dim() != 2:
        return False
    if any(isinstance(value, torch.Tensor) and name not in _HARMLESS for name, value in given.items()):
        return False
    cache = given.get("past_key_values")
    before = cache.get_seq_length() if cache is not None else 0
    mask = given.get("attention_mask")
    if mask is not None and not (isinstance(mask, torch.Tensor) and mask.dim() == 2 and bool(mask.all())):
        return False
    tokens = ids.shape[1]
    for name in ("position_ids", "cache_position"):
        places = given.get(name)
        if places is None:
            continue
        expected = torch.arange(before, before + tokens, device=places.device)
        if places.shape[-1] != tokens or not bool((places.reshape(-1, tokens) == expected).all()):
            return False
    return True


def ids_of(module: torch.nn.Module, args: Any, kwargs: Any) -> Optional[torch.Tensor]:
    """The ids of a forward pass."""
    if "input_ids" in kwargs:
        return kwargs["input_ids"]
    names = list(inspect.signature(module.forward).parameters)
    return dict(zip(names, args)).get("input_ids")
