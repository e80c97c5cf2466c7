// The slot table: what is durable in host memory. One memfd that only the daemon maps, 64 bytes a
// slot; index, lists and policy state are caches of it. Core thread. Write orders: docs/protocol.md
// section 8.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "daemon/memory/memfd.hpp"
#include "daemon/memory/slot_id.hpp"
#include "kvtier/wire/types.hpp"

namespace kvtier::daemon {

enum class SlotState : uint32_t {
  kUnused = 0,  // belongs to no segment, or not populated yet
  kFree = 1,
  kGranted = 2,      // a client writes it
  kFilling = 3,      // a tier writes it
  kValid = 4,        // holds a chunk
  kRetired = 5,      // unpublished, somebody may still read it
  kQuarantined = 6,  // its bytes were wrong; not used again in this epoch
};

struct alignas(64) SlotRecord {
  std::atomic<SlotState> state;
  uint32_t generation;  // of the current or last use, 0 before the first
  ChunkKey key;
  uint64_t payload_bytes;
  uint64_t checksum;
  uint32_t space;
  uint32_t session;  // the grant's
  uint32_t position;
  uint32_t flags;                     // kRecordHasChecksum
  std::atomic<uint64_t> last_use_ns;  // CLOCK_MONOTONIC; coarse, for the policy after a restart
};
static_assert(sizeof(SlotRecord) == 64);
inline constexpr uint32_t kRecordHasChecksum = 1u << 0;

// At the start of the memfd. Another layout id, and a restart is cold.
struct SlotTableHeader {
  uint64_t magic;
  uint64_t layout;
  uint64_t epoch;
  uint64_t slots_max;
};
inline constexpr uint64_t kSlotTableMagic = 0x3130'544f'4c53'564bULL;  // "KVSLOT01"
inline constexpr uint64_t kSlotTableLayout = 2;

class SlotTable {
 public:
  // Room for slots_max slots; the memory is sparse.
  static Result<std::unique_ptr<SlotTable>> create(uint64_t slots_max, uint64_t epoch);

  // The table of the daemon before. Errors: incompatible, corrupt (with what was found), system.
  static Result<std::unique_ptr<SlotTable>> adopt(Fd fd, uint64_t epoch);
  // After adopt(): runs that segments have, in any order. False: two overlap, or one is out of
  // bounds.
  bool keep_runs(std::vector<std::pair<SlotId, uint32_t>> runs);

  // A run of `count` unused ids for a segment; none when the table is full.
  std::optional<SlotId> take_run(uint32_t count);
  void give_back_run(SlotId first, uint32_t count);

  SlotRecord& operator[](SlotId slot) { return records_[slot]; }
  const SlotRecord& operator[](SlotId slot) const { return records_[slot]; }

  uint64_t slots_max() const { return slots_max_; }
  // Ids at and above it were never given out.
  SlotId high_water() const { return high_water_; }
  const Memfd& memory() const { return memory_; }

 private:
  SlotTable() = default;

  Memfd memory_;
  SlotRecord* records_ = nullptr;
  uint64_t slots_max_ = 0;
  SlotId high_water_ = 0;
  std::map<SlotId, uint32_t> runs_;  // given back: first -> count, merged
};

}  // namespace kvtier::daemon
