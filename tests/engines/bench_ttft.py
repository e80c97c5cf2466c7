"""Time to first token of a warm prompt: kvtier beside vLLM's own prefix cache and beside recomputing, over HTTP.

Usage: bench_ttft.py [--model mid] [--tokens 4096] [--block 128] [--rounds 8] [--models FOLDER]
Rounds are interleaved, so that what else the machine does meets all alike: recompute (a prompt never seen), own
(vLLM's cache holds it), kvtier (vLLM's cache emptied). Prints medians, minima and the ratios beside their bars.
"""
import argparse
import statistics
import tempfile
import time

from harness import Daemon, Server, complete, prompt

import models

BARS = {128: 1.15, 32: 1.25}


def settled(server):
    """Until the stores of the last prompt have ended."""
    before = -1.0
    while True:
        now = server.counters().get("chunks_stored", 0) + server.counters().get("chunks_refused", 0)
        if now == before:
            return
        before = now
        time.sleep(0.2)


def measure(server, tokens, rounds):
    client = server.client()
    times = {"recompute": [], "own": [], "kvtier": []}
    fixed = prompt(1, tokens)
    complete(client, prompt(2, 300), 1)
    first, _ = complete(client, fixed, 4)
    answers = set()
    for i in range(rounds):
        settled(server)
        times["recompute"].append(complete(client, prompt(100 + i, tokens), 1)[1])
        settled(server)
        server.reset()
        complete(client, fixed, 1)
        tokens_own, seconds = complete(client, fixed, 4)
        times["own"].append(seconds)
        settled(server)
        server.reset()
        tokens_tier, seconds = complete(client, fixed, 4)
        times["kvtier"].append(seconds)
        answers.add((tuple(tokens_own), tuple(tokens_tier)))
    return times, answers, first


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="mid")
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--block", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--models", default=None)
    parser.add_argument("--verify", default="default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = models.make(options.models or folder, options.model, "bfloat16")
        daemon = Daemon(folder, 'host.capacity = "2GiB"').start()
        server = Server(folder, model, daemon.socket, {"verify": options.verify}, [
            "--dtype", "bfloat16", "--block-size", str(options.block), "--max-num-batched-tokens", "8192"],
            env={"VLLM_CPU_KVCACHE_SPACE": "2"})
        try:
            server.ready()
            times, answers, _ = measure(server, options.tokens, options.rounds)
            counted = server.counters()
        finally:
            server.kill()
            daemon.close()
    print(f"{options.model}, {options.tokens} tokens, block {options.block}, {options.rounds} rounds, ms:")
    for name, values in times.items():
        ms = sorted(1000 * v for v in values)
        print(f"  {name:10} median {statistics.median(ms):8.0f}   min {ms[0]:8.0f}   max {ms[-1]:8.0f}")
    median = {name: statistics.median(values) for name, values in times.items()}
    paired = statistics.median(k / o for k, o in zip(times["kvtier"], times["own"]))
    bar = BARS.get(options.block)
    print(f"  kvtier / own: medians {median['kvtier'] / median['own']:.2f}, paired {paired:.2f}, "
          f"minima {min(times['kvtier']) / min(times['own']):.2f}" + (f" (at most {bar})" if bar else ""))
    print(f"  recompute / kvtier: {median['recompute'] / median['kvtier']:.1f} (at least 12)")
    equal = sum(own == tier for own, tier in answers)
    print(f"  answers of own and kvtier equal: {equal} of {len(answers)} different pairs")
    loaded = counted.get("load_seconds", 0)
    if loaded:
        print(f"  loads: {counted['load_bytes'] / 1e6:.0f} MB in {loaded:.3f} s, "
              f"{counted['load_bytes'] / loaded / 1e9:.2f} GB/s; failed chunks {counted['chunks_failed']:.0f}")


if __name__ == "__main__":
    main()
