"""KvTierConnector: vLLM's interface on one side, Scheduler and Worker on the other. What goes wrong in here is logged
once and turns that side off; the engine goes on without it. What was promised before is loaded, or reported as failed.
"""
from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable
from typing import Any, Optional, TypeVar

import kvtier
import vllm
from vllm.distributed.kv_transfer.kv_connector.v1.base import (
    KVConnectorBase_V1,
    KVConnectorMetadata,
    KVConnectorRole,
    KVConnectorTransferResults,
    SupportsHMA,
)
from vllm.distributed.kv_transfer.kv_connector.v1.metrics import KVConnectorStats
from vllm.logger import init_logger
from vllm.v1.metrics.cache_hit_source import CacheHitSource

from . import namespace, seed
from .costs import ModelCosts
from .messages import StepMetadata, WorkerReport
from .options import Options
from .scheduler import Scheduler
from .stats import KvTierPromMetrics, KvTierStats
from .worker import NullWorker, Worker

TESTED_VERSIONS = ("0.32.0",)
logger = init_logger("vllm.kvtier")
F = TypeVar("F", bound=Callable[..., Any])


def _guarded(otherwise: Callable[[], Any]) -> Callable[[F], F]:
    """A fault of the connector is not one of the engine: the call answers `otherwise()` and the connector is off."""

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def call(self: KvTierConnector, *args: Any, **kwargs: Any) -> Any:
            if self._off is not None:
                return otherwise()
            try:
                return function(self, *args, **kwargs)
            except Exception as error:
                self._turn_off(f"{function.__name__}: {type(error).__name__}: {error}", error)
                return otherwise()

        return call  # type: ignore[return-value]

    return decorate


def group_windows(kv_cache_config: Any) -> list[Optional[int]]:
    """Of each group of layers: its sliding window in tokens, None for full attention. Raises ValueError where the
    groups keep something else than blocks of equally many tokens."""
    from vllm.v1.kv_cache_interface import FullAttentionSpec, SlidingWindowSpec

    specs = [group.kv_cache_spec for group in kv_cache_config.kv_cache_groups]
    if len({spec.block_size for spec in specs}) != 1:
        raise ValueError(f"groups of KV memory with blocks of {[spec.block_size for spec in specs]} tokens are not "
                         f"supported")
    windows: list[Optional[int]] = []
    for spec in specs:
        if isinstance(spec, SlidingWindowSpec):
            windows.append(spec.sliding_window)
        elif isinstance(spec, FullAttentionSpec) or len(specs) == 1:
            windows.append(None)
        else:
            raise ValueError(f"KV memory of the kind {type(spec).__name__} is not supported beside others")
    return windows


class KvTierConnector(KVConnectorBase_V1, SupportsHMA):
    _cache_hit_source = CacheHitSource.HOST

    def __init__(self, vllm_config: Any, role: KVConnectorRole, kv_cache_config: Any) -> None:
        super().__init__(vllm_config, role, kv_cache_config)
        self._off: Optional[str] = None
        self._scheduler: Optional[Scheduler] = None
        self._worker: Optional[Worker | NullWorker] = None
        self._session: Optional[kvtier.Session] = None
        transfer = vllm_config.kv_transfer_config
        # Wrong options are the operator's to know at once: these alone stop the engine.
        self._options = Options.of(transfer.kv_connector_extra_config or {})
        if vllm.__version__.split("+")[0] not in TESTED_VERSIONS:
            logger.warning("kvtier: this is vLLM %s; the connector is tested with %s. If it misbehaves, that is the "
                           "first thing to look at.", vllm.__version__, ", ".join(TESTED_VERSIONS))
        if transfer.kv_load_failure_policy != "recompute":
            logger.warning("kvtier: kv_load_failure_policy was '%s', with which a load that fails ends its request. "
                           "It is 'recompute' now; set it so in --kv-transfer-config.",
                           transfer.kv_load_failure_policy)
            transfer.kv_load_failure_policy = "recompute"
        try:
            self._start(vllm_config, role, kv_cache_config)
        except Exception as error:
            self._turn_off(f"start: {error}", error)
            if role == KVConnectorRole.WORKER:
                # The scheduler's side may have started well and promise: that must fail, not be passed over.
                try:
                    whole = group_windows(kv_cache_config) == [None]
                except Exception:  # the scheduler's side has met it, too, and promises nothing
                    whole = False
                self._worker = NullWorker(whole)

    def _start(self, config: Any, role: KVConnectorRole, kv_cache_config: Any) -> None:
        options, parallel = self._options, config.parallel_config
        if parallel.pipeline_parallel_size > 1:
            raise ValueError("pipeline parallel engines are not supported by this version")
        windows = group_windows(kv_cache_config)
        model = config.model_config
        fingerprint, named = namespace.weights_fingerprint(config, options.model_fingerprint)
        if not named:
            logger.warning("kvtier: no weights of %s are on this host to tell them by; its name must do. Set "
                           "--revision or model_fingerprint, or a change of weights goes unnoticed.", model.model)
        scheduling = role == KVConnectorRole.SCHEDULER
        rank = 0 if scheduling else parallel.rank
        specs = [
            namespace.space_spec(config, kv_cache_config, group, fingerprint, rank, options.blocks_per_chunk)
            for group in range(len(windows))]
        side = "scheduler" if scheduling else f"worker {rank}"
        self._session = kvtier.Session(
            socket=options.socket, name=f"vllm {side} {specs[0].model}"[:63], verify=options.verify,
            call_deadline=options.call_deadline if scheduling else 1.0)
        spaces = [self._session.open_space(spec) for spec in specs]
        if scheduling:
            block = kv_cache_config.kv_cache_groups[0].kv_cache_spec.block_size
            hashed = kv_cache_config.hash_block_size or block
            if hashed != block:
                raise ValueError(f"hashes every {hashed} tokens with blocks of {block} are not supported")
            events = config.kv_events_config is not None and config.kv_events_config.enable_kv_cache_events
            self._scheduler = Scheduler(
                self._session, spaces, windows, options, block, config.scheduler_config.max_num_batched_tokens, events)
        else:
            # One rank reports for all.
            costs = ModelCosts(self._session, spaces, config) if rank == 0 else None
            self._worker = Worker(spaces, windows, options, costs)
        threading.Thread(
            target=self._greet, args=(self._session, specs[0], side), name="kvtier-attach", daemon=True).start()

    def _greet(self, session: kvtier.Session, spec: kvtier.SpaceSpec, side: str) -> None:
        """Says when the daemon is there, and whether other engines hash as this one does."""
        try:
            status = session.wait_attached(2.0)
            if not status:
                logger.warning("kvtier: %s: no daemon yet: %s. The engine works without; it attaches when the daemon "
                               "comes.", side, status.message)
            while not session.wait_attached(60.0):
                pass
            logger.info("kvtier: %s attached; chunks of %d tokens, %d bytes, as %s", side, spec.tokens_per_chunk,
                        spec.chunk_bytes, spec.model)
            if self._scheduler is not None:
                seed.check(session, spec, logger)
            if self._worker is not None:
                self._worker.tell_costs()
        except kvtier.Error:
            pass  # closed while waiting

    def _turn_off(self, why: str, error: Exception) -> None:
        self._off = why
        refused = isinstance(error, ValueError)  # the message says it all
        logger.error("kvtier: the connector is off, the engine goes on without it: %s", why,
                     exc_info=None if refused else error)

    # Scheduler side

    def bind_kv_cache_manager(self, kv_cache_manager: Any) -> None:
        super().bind_kv_cache_manager(kv_cache_manager)
        if self._scheduler is not None:
            self._scheduler.bind(kv_cache_manager)

    @_guarded(lambda: None)
    def on_new_request(self, request: Any) -> None:
        assert self._scheduler is not None
        self._scheduler.on_new_request(request)

    @_guarded(lambda: (0, False))
    def get_num_new_matched_tokens(self, request: Any, num_computed_tokens: int) -> tuple[Optional[int], bool]:
        assert self._scheduler is not None
        return self._scheduler.matched_tokens(request, num_computed_tokens)

    def update_state_after_alloc(self, request: Any, blocks: Any, num_external_tokens: int) -> None:
        # Not guarded: what was promised must be loaded or reported, and an error here would be neither.
        if self._scheduler is not None:
            self._scheduler.allocated(request, blocks, num_external_tokens)

    def build_connector_meta(self, scheduler_output: Any) -> KVConnectorMetadata:
        if self._scheduler is None:
            return StepMetadata()
        if self._off is not None:
            return self._scheduler.drain(scheduler_output)
        try:
            return self._scheduler.build(scheduler_output)
        except Exception as error:
            self._turn_off(f"build_connector_meta: {type(error).__name__}: {error}", error)
            return self._scheduler.drain(scheduler_output)

    @_guarded(lambda: None)
    def update_connector_output(self, connector_output: Any) -> None:
        assert self._scheduler is not None
        self._scheduler.ended(connector_output)

    def request_finished(self, request: Any, block_ids: list[int]) -> tuple[bool, Optional[dict[str, Any]]]:
        return self.request_finished_all_groups(request, (block_ids,))

    @_guarded(lambda: (False, None))
    def request_finished_all_groups(
            self, request: Any, block_ids: tuple[list[int], ...]) -> tuple[bool, Optional[dict[str, Any]]]:
        assert self._scheduler is not None
        return self._scheduler.finished(request, block_ids), None

    def has_pending_block_frees(self) -> bool:
        return self._scheduler is not None and self._scheduler.holds_blocks

    def has_pending_push_work(self) -> bool:
        # Steps go on until the blocks that are held for stores are free again.
        return self._off is None and self.has_pending_block_frees()

    @_guarded(lambda: ())
    def take_events(self) -> Iterable[Any]:
        return self._scheduler.take_events() if self._scheduler is not None else ()

    @_guarded(lambda: None)  # off: nothing is loaded any more
    def reset_cache(self) -> Optional[bool]:
        """The engine's weights are about to change, or did."""
        if self._scheduler is None:
            return None
        self._scheduler.reset()
        logger.warning("kvtier: the engine reset its caches: what was stored before is not loaded again, and what it "
                       "stores from here on is its own, until it is started anew.")
        return True

    # Worker side

    def register_kv_caches(self, kv_caches: dict[str, Any]) -> None:
        if self._worker is None:
            return
        try:
            groups = [[kv_caches[name] for name in group.layer_names]
                      for group in self._kv_cache_config.kv_cache_groups]
            self._worker.register(groups, self._kv_cache_config.num_blocks)
        except Exception as error:
            # Loads fail and are recomputed, nothing is stored.
            logger.error("kvtier: this engine's KV memory cannot be used, nothing will be cached: %s", error,
                         exc_info=None if isinstance(error, (ValueError, KeyError)) else error)
            self._worker = self._worker.give_up()

    def _work(self, what: Callable[[Any], Any]) -> Any:
        """A fault of the worker fails what was promised: blocks that nobody filled must never pass for loaded ones."""
        assert self._worker is not None
        try:
            return what(self._worker)
        except Exception as error:
            self._turn_off(f"worker: {type(error).__name__}: {error}", error)
            self._worker = self._worker.give_up()
            return what(self._worker)

    def bind_connector_metadata(self, connector_metadata: KVConnectorMetadata) -> None:
        super().bind_connector_metadata(connector_metadata)
        if self._worker is not None:
            step = self._step()
            self._work(lambda worker: worker.begin(step))

    def _step(self) -> StepMetadata:
        meta = self._get_connector_metadata()
        assert isinstance(meta, StepMetadata)
        return meta

    def start_load_kv(self, forward_context: Any, **kwargs: Any) -> None:
        if self._worker is not None:
            step = self._step()
            self._work(lambda worker: worker.load(step))

    def wait_for_layer_load(self, layer_name: str) -> None:
        pass

    def save_kv_layer(self, layer_name: str, kv_layer: Any, attn_metadata: Any, **kwargs: Any) -> None:
        pass

    def wait_for_save(self) -> None:
        if self._worker is not None:
            step = self._step()
            self._work(lambda worker: worker.save(step))

    def get_transfer_results(self, finished_req_ids: set[str]) -> KVConnectorTransferResults:
        if self._worker is None:
            return KVConnectorTransferResults()
        sent, received, failed = self._work(lambda worker: worker.completed())
        return KVConnectorTransferResults(
            finished_sending=sent, finished_recving=received, failed_recving=failed)

    def get_block_ids_with_load_errors(self) -> set[int]:
        return self._worker.take_failed_blocks() if self._worker is not None else set()

    def build_connector_worker_meta(self) -> Optional[WorkerReport]:
        return self._worker.take_report() if self._worker is not None else None

    # Both

    @property
    def requires_kv_delivery(self) -> bool:
        return False  # a cache: a store that was dropped is a miss later

    def get_kv_connector_stats(self) -> Optional[KVConnectorStats]:
        side = self._scheduler or self._worker
        return side.stats.take() if side is not None else None

    @classmethod
    def build_kv_connector_stats(cls, data: Optional[dict[str, Any]] = None) -> Optional[KVConnectorStats]:
        return KvTierStats(data)

    @classmethod
    def build_prom_metrics(cls, vllm_config: Any, metric_types: Any, labelnames: list[str],
                           per_engine_labelvalues: dict[int, list[object]]) -> Any:
        return KvTierPromMetrics(vllm_config, metric_types, labelnames, per_engine_labelvalues)

    @classmethod
    def get_required_kvcache_layout(cls, vllm_config: Any) -> Optional[str]:
        from vllm.platforms import current_platform

        # A block's bytes in one run make the largest copies; the CPU backend has its own layout only.
        return None if current_platform.is_cpu() else "BLHNC"

    def shutdown(self) -> None:
        if self._worker is not None:
            self._worker.close()
        if self._session is not None:
            self._session.close()
        self._off = self._off or "shut down"
        self._scheduler = self._worker = None
