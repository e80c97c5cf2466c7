"""What the connector costs: the scheduler's question for a long cached prompt, and TTFT and throughput on prompts
that never repeat, with it and without it in turns in one engine.

Usage: bench_connector.py [--model mid] [--tokens 1024] [--pairs 60] [--long 32000] [--models FOLDER]
"""
import argparse
import math
import random
import statistics
import tempfile

from harness import Daemon, Engine, prompt

import models


def ask_long(folder, socket, models_folder, tokens):
    engine = Engine(folder, models.make(models_folder, "tiny", "bfloat16"), socket, dtype="bfloat16",
                    max_model_len=tokens + 64, max_num_batched_tokens=8192)
    try:
        engine.ready()
        long = prompt(5, tokens)
        engine.generate([long], max_tokens=1)
        engine.do("reset")
        timed = engine.do("time_matches", long, 2000)
    finally:
        engine.kill()
    times = sorted(timed["microseconds"])
    print(f"get_num_new_matched_tokens, {tokens} tokens, {timed['tokens']} of them matched and leased, 2000 calls, us: "
          f"median {times[1000]:.0f}, p90 {times[1800]:.0f}, p99 {times[1980]:.0f}, max {times[-1]:.0f} "
          f"(p99 at most 100)", flush=True)
    busy = sorted(timed["cpu_microseconds"])
    print(f"  of CPU time, which other programs do not disturb: median {busy[1000]:.0f}, p99 {busy[1980]:.0f}")


def interval(values):
    mean, error = statistics.mean(values), statistics.stdev(values) / math.sqrt(len(values))
    return f"{100 * mean:+.2f} % ({100 * (mean - 1.96 * error):+.2f} to {100 * (mean + 1.96 * error):+.2f})"


def never_repeating(folder, socket, models_folder, name, tokens, pairs):
    """Pairs of prompts, one with the connector and one with nothing to load and nothing stored, in random order."""
    engine = Engine(folder, models.make(models_folder, name, "bfloat16"), socket, dtype="bfloat16")
    ttft, total = [], []
    rng = random.Random(3)
    try:
        engine.ready()
        for i in range(pairs + 2):
            one = {}
            for on in rng.sample([True, False], 2):
                engine.do("options", load=on, store="eager" if on else "off")
                answer = engine.do("generate", [prompt(10_000 + 2 * i + on, tokens)], max_tokens=4, logprobs=False)
                one[on] = (answer["answers"][0]["ttft"], answer["seconds"])
                engine.do("reset")  # stores have ended: they are this one's cost
            if i >= 2:
                ttft.append(math.log(one[True][0] / one[False][0]))
                total.append(math.log(one[True][1] / one[False][1]))
        counted = engine.do("counters")
    finally:
        engine.kill()
    print(f"{name}, {tokens} tokens that never repeat, {pairs} pairs in turns; connector against none, mean and 95 %:")
    print(f"  TTFT {interval(ttft)}, median {100 * statistics.median(ttft):+.2f} % (at most +1 %)")
    print(f"  request time {interval(total)}, median {100 * statistics.median(total):+.2f} %")
    print(f"  stored {counted['chunks_stored']} chunks, {counted['store_bytes'] / 1e6:.0f} MB, dropped "
          f"{counted['chunks_dropped']}, refused {counted['chunks_refused']}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="mid")
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--long", type=int, default=32000)
    parser.add_argument("--models", default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        daemon = Daemon(folder, 'host.capacity = "2GiB"').start()
        try:
            if options.long:
                ask_long(folder, daemon.socket, options.models or folder, options.long)
            if options.pairs:
                never_repeating(folder, daemon.socket, options.models or folder, options.model, options.tokens,
                                options.pairs)
        finally:
            daemon.close()


if __name__ == "__main__":
    main()
