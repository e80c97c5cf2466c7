#!/usr/bin/env python3
"""Turns the JSON of `kvtier bench` into tables of docs/benchmarks, with the machine they come from.

Usage: bench_report.py [--peers] JSON_FOLDER MARKDOWN_FILE
JSON_FOLDER holds NAME.json files, or NAME.1.json, NAME.2.json, ... of several runs, which give medians and ranges
of all of them: no run is left out. With --peers ours-NAME.json and what the drivers of tools/bench/peers printed. Host names and paths never get into the page.
"""
import json
import os
import pathlib
import platform
import statistics
import sys

# Field, what it is, the bar as text, the bar as a test. Fields of one benchmark in the order of the page.
ROWS = {
    "lookup": [
        ("us_256", "look-up of 256 resident keys, random prompts, other work in between, µs",
         "<= 25 (4 KiB pages), <= 15 (huge pages)",
         lambda v, all_: v <= (15 if all_["huge_pages"] else 25)),
        ("us_256_p99", "the same, p99, µs", "", None),
        ("us_256_hashed", "the same with hashing 256 x 256 tokens, µs", "<= 60", lambda v, _: v <= 60),
        ("us_1", "one key at random, µs", "< 1", lambda v, _: v < 1),
        ("us_1_after_work", "one key directly after other work, code and session cold too, µs", "", None),
        ("us_1_hot", "one key, hot, µs", "< 0.1", lambda v, _: v < 0.1),
        ("limit", "limit: 512 independent random line reads, µs", "", None),
        ("redis_us_256", "256 pipelined Redis EXISTS in turns, µs", "", None),
        ("redis_ratio", "times faster than Redis", ">= 10", lambda v, _: v >= 10),
        ("entries", "entries of the index", "", None),
        ("huge_pages", "index on huge pages", "", None),
    ],
    "lease": [
        ("ns_per_chunk", "lease + release of looked-up chunks, 256 at a time, ns a chunk", "< 50",
         lambda v, _: v < 50),
        ("limit", "limit: the bare stores, fence and loads, ns a chunk", "", None),
    ],
    "load": [
        ("ours", "load, 2 MiB chunks, copied out, verify = never, GB/s", "", None),
        ("limit", "limit: faster of cold memcpy and non-temporal copy, GB/s", "", None),
        ("ratio", "ours / limit", ">= 0.95", lambda v, _: v >= 0.95),
        ("ratio_verify", "the same with verify = always", ">= 0.85", lambda v, _: v >= 0.85),
        ("cpu_s_per_gb", "CPU seconds a GB, both processes", "<= 0.20", lambda v, _: v <= 0.20),
        ("memcpy_gbps", "plain memcpy, GB/s", "", None),
        ("non_temporal_gbps", "plain non-temporal copy, GB/s", "", None),
    ],
    "store": [
        ("ours", "store, 2 MiB chunks, checksum, 8 grants in flight, into a full pool, GB/s", "", None),
        ("limit", "limit: plain cold memcpy, GB/s", "", None),
        ("ratio", "ours / limit", ">= 1.0", lambda v, _: v >= 1.0),
        ("cpu_s_per_gb", "CPU seconds a GB, both processes", "", None),
        ("non_temporal_gbps", "plain non-temporal copy, GB/s", "", None),
    ],
    "memory": [
        ("ours", "daemon memory besides the pool, MiB", "<= 32 MiB + 192 B a chunk",
         lambda v, all_: v <= all_["limit"]),
        ("limit", "the bar at this number of chunks, MiB", "", None),
        ("chunks", "chunks", "", None),
        ("bytes_per_chunk", "bytes a chunk", "", None),
        ("empty_mib", "without chunks, MiB", "", None),
    ],
    "idle": [
        ("ours", "idle daemon with 8 attached idle clients, % of a core", "< 0.5", lambda v, _: v < 0.5),
    ],
    "nvme-read": [
        ("chunk_bytes", "nvme read and checked, chunks of, bytes", "", None),
        ("ours", "depth 8, GB/s", "", None),
        ("limit", "limit: bare io_uring loop, GB/s", "", None),
        ("ratio", "ours / limit at depth 8", ">= 0.95 (64 KiB: >= 0.85)",
         lambda v, all_: v >= (0.95 if all_["chunk_bytes"] > 1 << 20 else 0.85)),
        ("by_depth.1.ratio", "the same at depth 1", ">= 0.78 (2 MiB)",
         lambda v, all_: v >= 0.78 or all_["chunk_bytes"] < 1 << 20),
        ("by_depth.32.ratio", "the same at depth 32", ">= 0.95 (64 KiB: >= 0.85)",
         lambda v, all_: v >= (0.95 if all_["chunk_bytes"] > 1 << 20 else 0.85)),
        ("cpu_s_per_gb", "CPU seconds a GB besides the checksum", "<= 0.03 (2 MiB)",
         lambda v, all_: v <= 0.03 or all_["chunk_bytes"] < 1 << 20),
        ("raw_cpu_s_per_gb", "of the bare loop", "", None),
        ("checksum_cpu_s_per_gb", "of the checksum", "", None),
    ],
    "nvme-write": [
        ("chunk_bytes", "nvme written and recorded, chunks of, bytes", "", None),
        ("ours", "depth 8, GB/s", "", None),
        ("limit", "limit: bare io_uring loop, GB/s", "", None),
        ("ratio", "ours / limit at depth 8", ">= 0.9", lambda v, _: v >= 0.9),
        ("by_depth.1.ratio", "the same at depth 1", "", None),
        ("by_depth.32.ratio", "the same at depth 32", ">= 0.9", lambda v, _: v >= 0.9),
        ("write_amplification", "bytes written for each byte of payload", "<= 1.01 (64 KiB: <= 1.07)",
         lambda v, all_: v <= (1.01 if all_["chunk_bytes"] > 1 << 20 else 1.07)),
        ("cpu_s_per_gb", "CPU seconds a GB", "", None),
        ("raw_cpu_s_per_gb", "of the bare loop", "", None),
    ],
}


def first_of(path, key):
    for line in pathlib.Path(path).read_text().splitlines():
        if line.startswith(key):
            return line.split(":", 1)[1].strip()
    return "unknown"


def machine():
    memory = int(first_of("/proc/meminfo", "MemTotal").split()[0]) / (1 << 20)
    thp = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")
    pages = thp.read_text().split("[")[1].split("]")[0] if thp.exists() else "unknown"
    load = os.getloadavg()
    kernel = ".".join(platform.release().split(".")[:2])
    return (f"{first_of('/proc/cpuinfo', 'model name')}, {os.cpu_count()} cores, {memory:.0f} GiB, "
            f"Linux {kernel}, transparent huge pages {pages}, load average at the end "
            f"{load[0]:.1f} / {load[1]:.1f} / {load[2]:.1f}")


def show(value):
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def own_row(folder):
    """Ours in the shape of a peer's result."""
    load, store, lookup = (json.loads((folder / f"ours-{name}.json").read_text())
                           for name in ("load", "store", "lookup"))
    return {"peer": "kvtier", "how": "shared memory, checked stores, loads with verify = never",
            "chunk_bytes": load["chunk_bytes"], "get_gbps": load["ours"], "put_gbps": store["ours"],
            "cpu_get": load["cpu_s_per_gb"], "cpu_put": store["cpu_s_per_gb"],
            "lookup_us": {"1": lookup["us_1_hot"], "256": lookup["us_256"]}}


def limit_row(folder):
    load, store = (json.loads((folder / f"ours-{name}.json").read_text()) for name in ("load", "store"))
    return (f"| limit | plain copies on one core | {load['chunk_bytes'] >> 20} MiB | {show(load['limit'])} | "
            f"{show(store['limit'])} | - | - | - |")


def peers_page(folder):
    rows = [own_row(folder)] + [json.loads((folder / f"{name}.json").read_text())
                                for name in ("redis", "mooncake", "lmcache") if (folder / f"{name}.json").exists()]
    missing = [name for name in ("redis", "mooncake", "lmcache") if not (folder / f"{name}.json").exists()]
    out = ["# Peers", "",
           "Written by `make bench-peers` (tools/scripts/bench_peers.sh); see [../benchmarks.md](../benchmarks.md). "
           "CPU is of client and servers. Drivers are Python (tools/bench/peers), systems are measured one after the "
           "other, not in turns. Look-ups of kvtier: 1 key hot; 256 random of a million with other work in between. "
           "Of the others: the same few hundred keys again and again, which is easier; Redis in our conditions and in "
           "turns with us stands in [kvtier.md](kvtier.md).", "",
           f"Machine: {machine()}.", "",
           "| system | how | chunk | get GB/s | put GB/s | CPU s/GB get | CPU s/GB put | look-up µs (keys) |",
           "| --- | --- | --- | --- | --- | --- | --- | --- |", limit_row(folder)]
    for row in rows:
        lookups = ", ".join(f"{show(value)} ({keys})" for keys, value in row["lookup_us"].items())
        out.append(f"| {row['peer']} | {row['how']} | {row['chunk_bytes'] >> 20} MiB | {show(row['get_gbps'])} | "
                   f"{show(row['put_gbps'])} | {show(row['cpu_get'])} | {show(row['cpu_put'])} | {lookups} |")
    if missing:
        out += ["", f"Not measured in this run (left out, not to be had, or not started): {', '.join(missing)}."]
    return out


def groups_of(folder, name):
    """The runs of a benchmark, by its variant: lookup.1, lookup.2 are runs; lookup-huge is a variant."""
    groups = {}
    for file in sorted(folder.glob(f"{name}*.json")):
        groups.setdefault(file.name.split(".")[0], []).append(json.loads(file.read_text()))
    return groups.values()


def value_of(run, field):
    """A field, or one inside others: by_depth.1.ratio."""
    for part in field.split("."):
        run = run.get(part) if isinstance(run, dict) else None
    return run


def over_runs(values):
    """Median of the runs, and how it is shown: with the range where it was several."""
    known = [value for value in values if value is not None]
    if not known:
        return None, "-"
    if isinstance(known[0], bool) or len(known) == 1 or min(known) == max(known):
        return known[0], show(known[0])
    middle = statistics.median(known)
    return middle, f"{show(middle)} ({show(min(known))} to {show(max(known))}, {len(known)} runs)"


def own_page(folder):
    out = ["# Benchmarks", "",
           "Written by `make bench` (tools/scripts/bench.sh); what each number means is in "
           "[../benchmarks.md](../benchmarks.md).", "", f"Machine: {machine()}.", "",
           "| what | measured | must reach | |", "| --- | --- | --- | --- |"]
    for name, rows in ROWS.items():
        for group in groups_of(folder, name):
            for field, what, bar, test in rows:
                values = [value_of(run, field) for run in group]
                value, shown = over_runs(values)
                verdict = ""
                if test is not None and value is not None:
                    verdict = "reached" if test(value, group[0]) else "**missed**"
                    missed = sum(1 for one, run in zip(values, group) if one is None or not test(one, run))
                    if verdict == "reached" and missed:
                        verdict += f", not in {missed} of {len(group)} runs"
                out.append(f"| {what} | {shown} | {bar} | {verdict} |")
    return out


def main():
    peers = sys.argv[1] == "--peers"
    folder, target = pathlib.Path(sys.argv[-2]), pathlib.Path(sys.argv[-1])
    out = peers_page(folder) if peers else own_page(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("\n".join(out) + "\n")
    print(f"written: {target}")


if __name__ == "__main__":
    main()
