// Hands out the session's lease cells. Any thread; one short lock a batch, no allocation.
//
// Invariant (protocol.md, section 4): cells_high_water is above a cell before the cell is written.
// Cells are taken from a stack with the lowest numbers on top, so the daemon's scan stays short.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>

#include "kvtier/wire/session.hpp"

namespace kvtier::client {

class LeaseCells {
 public:
  // Throws bad_alloc.
  LeaseCells(wire::SessionHeader* header, std::atomic<uint64_t>* cells, uint32_t cells_max)
      : header_(header),
        cells_(cells),
        free_(std::make_unique<uint32_t[]>(cells_max)),
        free_count_(cells_max),
        high_water_(header->cells_high_water.load(std::memory_order_relaxed)) {
    for (uint32_t i = 0; i < cells_max; ++i) free_[i] = cells_max - 1 - i;
  }

  // Up to `count` empty cells into `out`; how many there were.
  uint32_t take(uint32_t count, uint32_t* out) {
    const std::lock_guard lock(mutex_);
    const uint32_t taken = count < free_count_ ? count : free_count_;
    uint32_t above = high_water_;
    for (uint32_t i = 0; i < taken; ++i) {
      out[i] = free_[--free_count_];
      if (out[i] >= above) above = out[i] + 1;
    }
    if (above != high_water_) {
      high_water_ = above;
      header_->cells_high_water.store(above, std::memory_order_release);
    }
    return taken;
  }

  // Cells come back after clear().
  void give(const uint32_t* cells, uint32_t count) {
    const std::lock_guard lock(mutex_);
    for (uint32_t i = count; i > 0; --i) free_[free_count_++] = cells[i - 1];
  }

  // Release (M), though it is the fence that makes the lease: a relaxed store would end the release
  // sequence of the cell's last clear(), and the daemon could miss that lease's reads.
  void write(uint32_t cell, wire::Place place) {
    cells_[cell].store(place.word(), std::memory_order_release);
  }
  // Ends the lease; reads of the payload come before it.
  void clear(uint32_t cell) { cells_[cell].store(0, std::memory_order_release); }

 private:
  wire::SessionHeader* header_;
  std::atomic<uint64_t>* cells_;
  std::mutex mutex_;
  std::unique_ptr<uint32_t[]> free_;
  uint32_t free_count_;
  uint32_t high_water_;
};

}  // namespace kvtier::client
