"""What the drivers of other systems share: processor time, medians, the shape of a result.

A driver prints one JSON object: {"peer", "how", "chunk_bytes", "get_gbps", "put_gbps", "cpu_get", "cpu_put",
"lookup_us": {"1": ..., "256": ...}}; CPU is of client and server, in seconds a GB.
"""
import os
import statistics
import time

GB = 1e9
TICK = os.sysconf("SC_CLK_TCK")


def cpu_of(pids):
    """User and system seconds of these processes and this one."""
    total = sum(os.times()[:2])
    for pid in pids:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        total += (int(fields[11]) + int(fields[12])) / TICK
    return total


class Rates:
    """GB/s and CPU seconds a GB of repeats of one operation."""

    def __init__(self, pids):
        self.pids, self.rates, self.cpu = pids, [], []

    def measure(self, payload_bytes, operation):
        cpu, begun = cpu_of(self.pids), time.perf_counter()
        operation()
        seconds = time.perf_counter() - begun
        self.rates.append(payload_bytes / seconds / GB)
        self.cpu.append((cpu_of(self.pids) - cpu) / (payload_bytes / GB))

    def median(self):
        return statistics.median(self.rates), statistics.median(self.cpu)


def median_us(calls, operation):
    times = []
    for number in range(calls):
        begun = time.perf_counter()
        operation(number)
        times.append((time.perf_counter() - begun) * 1e6)
    return statistics.median(times)
