// The daemon under measurement: one of the benchmark's own, or a running one; its sessions and what
// it costs. One thread.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

#include "kvtier/kvtier.hpp"
#include "tools/bench/bench.hpp"
#include "tools/cli/spawn.hpp"

namespace kvtier::tools {

struct BenchPool {
  uint64_t chunks = 0;  // that must be resident at once
  uint32_t tokens_per_chunk = 256;
  uint64_t chunk_bytes = 0;
  uint64_t index_entries = 0;  // 0: by the capacity
  bool evicts = false;         // exactly the capacity of `chunks`: stores evict
  std::string more_config;     // sections that are not written otherwise
};

class BenchDaemon {
 public:
  // Errors: out_of_memory (the pool does not fit this machine), and those of spawning.
  static Result<std::unique_ptr<BenchDaemon>> start(const BenchOptions& options,
                                                    const BenchPool& pool);

  // An attached session. Errors: as Session::open and wait_attached.
  Result<std::unique_ptr<Session>> attach(Verify verify) const;

  pid_t pid() const { return pid_; }
  double cpu_seconds() const;
  uint64_t capacity_bytes() const { return capacity_bytes_; }

 private:
  BenchDaemon() = default;

  std::unique_ptr<SpawnedDaemon> spawned_;
  std::string socket_;
  pid_t pid_ = 0;
  uint64_t capacity_bytes_ = 0;
};

// CPU seconds of this process so far, all threads, user and system.
double own_cpu_seconds();

// The daemon's and this process's CPU time from its construction on.
class CpuMeter {
 public:
  explicit CpuMeter(const BenchDaemon& daemon) : daemon_(daemon), before_(now()) {}
  double seconds() const { return now() - before_; }

 private:
  double now() const { return own_cpu_seconds() + daemon_.cpu_seconds(); }
  const BenchDaemon& daemon_;
  double before_;
};

// The spec that benchmarks store under; chunks of different runs never meet.
SpaceSpec bench_space(const BenchPool& pool);

// How many chunks fit the memory that is free, keeping a quarter of it; at most `wanted`.
uint64_t chunks_that_fit(uint64_t wanted, const BenchPool& pool);

}  // namespace kvtier::tools
