#!/usr/bin/env python3
"""Mooncake's store through its client process and shared memory, 32 values a call: its best mode between
processes on one machine. Usage: mooncake_driver.py MASTER_HOST:PORT CLIENT_HOST:PORT PIDS [CHUNK_BYTES] [REPEATS]
PIDS: of master and client process, separated by commas."""
import ctypes
import json
import random
import sys
import time

import common
from mooncake.store import MooncakeDistributedStore

BATCH = 32
WINDOW = 128 << 20
WORKING_SET = 1 << 30


def batches(keys, base, chunk):
    places = WINDOW // chunk
    for begin in range(0, len(keys), BATCH):
        some = keys[begin:begin + BATCH]
        yield some, [base + (i % places) * chunk for i in range(len(some))], [chunk] * len(some)


def must(good, what):
    if not good:
        sys.exit(f"mooncake: {what} failed")


def main():
    client_address, pids = sys.argv[2], [int(pid) for pid in sys.argv[3].split(",")]
    chunk = int(sys.argv[4]) if len(sys.argv) > 4 else 2 << 20
    repeats = int(sys.argv[5]) if len(sys.argv) > 5 else 3
    store = MooncakeDistributedStore()
    must(store.setup_dummy(512 << 20, 256 << 20, client_address) == 0, "attaching to its client process")
    base = store.alloc_from_mem_pool(WINDOW)
    must(base, "taking memory from the pool")
    ctypes.memset(base, 1, WINDOW)
    must(store.register_buffer(base, WINDOW) == 0, "registering memory")
    keys = [f"bench/{number:024x}" for number in range(WORKING_SET // chunk)]
    put, get = common.Rates(pids), common.Rates(pids)

    def put_all():
        for some, places, sizes in batches(keys, base, chunk):
            must(all(code == 0 for code in store.batch_put_from(some, places, sizes)), "batch_put_from")

    def get_all():
        order = random.sample(keys, len(keys))
        for some, places, sizes in batches(order, base, chunk):
            must(all(got == chunk for got in store.batch_get_into(some, places, sizes)), "batch_get_into")

    for _ in range(repeats):
        store.remove_all(True)
        time.sleep(0.3)
        put.measure(len(keys) * chunk, put_all)
        get.measure(len(keys) * chunk, get_all)
    asked = (keys * 256)[:256]
    lookups = {"1": common.median_us(500, lambda _: store.is_exist(keys[0])),
               "256": common.median_us(300, lambda _: store.batch_is_exist(asked))}
    get_gbps, cpu_get = get.median()
    put_gbps, cpu_put = put.median()
    print(json.dumps({"peer": "Mooncake", "how": "client process and shared memory, 32 a call",
                      "chunk_bytes": chunk, "get_gbps": get_gbps, "put_gbps": put_gbps, "cpu_get": cpu_get,
                      "cpu_put": cpu_put, "lookup_us": lookups}))


if __name__ == "__main__":
    main()
