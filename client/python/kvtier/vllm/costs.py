"""What the model costs to compute, for the planner's first decision: before a prefill was reported."""
from __future__ import annotations

import logging
import time
from typing import Any, Optional

import kvtier

_SIZE = 256  # of the matrices that measure this processor
_MEASURE_SECONDS = 0.02
_ACHIEVED = 0.5  # of what a multiplication of matrices reaches, a whole prefill reaches about this much
_POSITIONS = 1024
logger = logging.getLogger("vllm.kvtier")


def model_flops(config: Any) -> Optional[tuple[float, float]]:
    """FLOPs a token, and FLOPs a token and context position, of one rank, by vLLM's own account of the model. None: it
    has none of this model."""
    from vllm.v1.metrics.perf import ExecutionContext, ModelMetrics

    metrics = ModelMetrics(config)
    if not metrics.is_enabled():
        return None

    def flops(tokens: int, context: int) -> float:
        return float(metrics.get_num_flops(ExecutionContext.from_single_request(tokens, context, True)))

    # What is computed once a call (the logits of the last token) drops out of the difference.
    token = flops(2, 0) - flops(1, 0)
    pair = (flops(2, _POSITIONS) - flops(1, _POSITIONS) - token) / _POSITIONS
    return (token, max(0.0, pair)) if token > 0 else None


def flops_per_second(dtype: Any) -> float:
    """Of this process's threads, by multiplying matrices of the model's type for a moment."""
    import torch

    left, right = (torch.ones((_SIZE, _SIZE), dtype=dtype) for _ in range(2))
    torch.mm(left, right)
    begin, rounds = time.perf_counter(), 0
    while (seconds := time.perf_counter() - begin) < _MEASURE_SECONDS:
        torch.mm(left, right)
        rounds += 1
    return _ACHIEVED * 2.0 * _SIZE**3 * rounds / seconds


class ModelCosts:
    """Tells each daemon that comes what the model costs on this machine. Any thread."""

    def __init__(self, session: kvtier.Session, spaces: list[kvtier.Space], config: Any) -> None:
        self._session = session
        self._spaces = spaces
        self._config = config
        self._known: Optional[tuple[float, float, float]] = None
        self._told = 0  # the daemon's epoch

    def measure(self) -> None:
        """In the engine's thread, before it has work. A model that vLLM has no account of stays unknown: the daemon
        assumes something, and prefills tell."""
        try:
            flops = model_flops(self._config)
            if flops is not None:
                self._known = (*flops, flops_per_second(self._config.model_config.dtype))
        except Exception as error:  # an account that does not know this model's configuration
            logger.info("kvtier: what this model costs is not known before its first prefill: %s", error)

    def tell(self) -> None:
        epoch = self._session.epoch
        if self._known is None or epoch in (0, self._told):
            return
        if all([space.report_model(*self._known) for space in self._spaces]):
            self._told = epoch
