// Tells a process from its forked children: a page that the kernel wipes in a child
// (MADV_WIPEONFORK) holds one word. Reading it is one load; any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "kvtier/result.hpp"

namespace kvtier::client {

class ForkGuard {
 public:
  // Errors: system, out_of_memory.
  static Result<std::unique_ptr<ForkGuard>> create();
  ~ForkGuard();
  ForkGuard(const ForkGuard&) = delete;
  ForkGuard& operator=(const ForkGuard&) = delete;

  // True in a child of the process that made it. Children must not touch anything else.
  bool forked() const { return alive_->load(std::memory_order_relaxed) == 0; }

 private:
  explicit ForkGuard(void* page);
  std::atomic<uint64_t>* alive_;
};

}  // namespace kvtier::client
