#!/usr/bin/env python3
"""LMCache's server without a GPU, through its own benchmark client, engine-driven over shared memory.
32 MiB chunks of 256 tokens (Llama-3-8B, bf16), gathered from and scattered to paged tensors.
Usage: lmcache_driver.py RPC_URL SERVER_PID [TOKENS] [REPEATS]"""
import json
import sys
import time

import common
from lmcache.cli.commands.bench.server_bench.client import ServerBenchClient
from lmcache.cli.commands.bench.server_bench.config import BenchConfig

BYTES_PER_TOKEN = 128 << 10
PAGE_TOKENS = 16


def main():
    url, pid = sys.argv[1], int(sys.argv[2])
    tokens = int(sys.argv[3]) if len(sys.argv) > 3 else 8192
    repeats = int(sys.argv[4]) if len(sys.argv) > 4 else 5
    pages = max(64, 2 * tokens // PAGE_TOKENS)
    config = BenchConfig(rpc_url=url, http_url="", mode="cpu", transfer_mode="engine_driven", tp_size=1,
                         use_mla=False, num_tokens=tokens,
                         kvcache_shape_spec=f"(2,{pages},{PAGE_TOKENS},8,128):bfloat16:32",
                         num_blocks=pages, block_size=PAGE_TOKENS)
    client = ServerBenchClient(config, lambda message: None)
    client.start()
    store, retrieve, lookups = common.Rates([pid]), common.Rates([pid]), []
    first = int(time.time()) % 100_000 * 16

    def seen(request):
        found = client.lookup(request)
        lookups.append(found.latency_ms * 1e3)
        return found

    for number in range(first, first + repeats):
        cold = client.create_request(number, f"cold-{number}", "cold")
        if seen(cold).hit_chunks != 0:
            sys.exit("lmcache: a new prompt was found")
        store.measure(tokens * BYTES_PER_TOKEN, lambda: client.store(cold, 0, cold.num_full_tokens))
        client.end_session(cold)
        warm = client.create_request(number, f"warm-{number}", "warm")
        for _ in range(50):
            if seen(warm).is_full_hit:
                break
            time.sleep(0.1)
        else:
            sys.exit("lmcache: what was stored is not found")
        retrieve.measure(tokens * BYTES_PER_TOKEN, lambda: client.retrieve(warm, 0, warm.num_full_tokens))
        client.end_session(warm)
    client.close()
    get_gbps, cpu_get = retrieve.median()
    put_gbps, cpu_put = store.median()
    lookups.sort()
    print(json.dumps({"peer": "LMCache", "how": f"server, shared memory, {tokens // 256} chunks a call",
                      "chunk_bytes": 256 * BYTES_PER_TOKEN, "get_gbps": get_gbps, "put_gbps": put_gbps,
                      "cpu_get": cpu_get, "cpu_put": cpu_put,
                      "lookup_us": {str(tokens // 256): lookups[len(lookups) // 2]}}))


if __name__ == "__main__":
    main()
