// Ctrl-C as a flag: while an InterruptFlag lives, SIGINT and SIGTERM set it once; a second signal
// does what it did before. One at a time in a process.
#pragma once

#include <csignal>

#include <atomic>

namespace kvtier::tools {

class InterruptFlag {
 public:
  InterruptFlag();
  ~InterruptFlag();
  InterruptFlag(const InterruptFlag&) = delete;
  InterruptFlag& operator=(const InterruptFlag&) = delete;

  const std::atomic<bool>& flag() const;

 private:
  struct sigaction before_int_ = {};
  struct sigaction before_term_ = {};
};

}  // namespace kvtier::tools
