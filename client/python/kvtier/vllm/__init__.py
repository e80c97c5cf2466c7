"""vLLM's KV connector for kvtier.

    --kv-transfer-config '{"kv_connector": "KvTierConnector", "kv_connector_module_path": "kvtier.vllm",
                           "kv_role": "kv_both", "kv_load_failure_policy": "recompute"}'

Options go into "kv_connector_extra_config"; options.py has them all, docs/engines.md explains them.
"""
from .connector import KvTierConnector

__all__ = ["KvTierConnector"]
