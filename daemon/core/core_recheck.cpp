// Chunks that were kept over a restart are checked against header and checksum: by every load until
// then, and here, on workers, a bounded number of bytes a second, the last used first. Core thread,
// except the bodies of jobs.
#include <algorithm>
#include <cstring>
#include <memory>

#include "daemon/core/core.hpp"
#include "daemon/log/log.hpp"
#include "daemon/memory/guard.hpp"
#include "kernels/checksum.hpp"
#include "kvtier/wire/chunk_header.hpp"
#include "kvtier/wire/header_checksum.hpp"

namespace kvtier::daemon {

namespace {
constexpr uint64_t kBatchBytesMax = 8 * wire::MiB;
constexpr size_t kBatchChunksMax = 512;
constexpr uint64_t kBatchesMax = 64;  // under way; the job queue is others', too
constexpr uint64_t kSecondNs = 1'000'000'000;
}  // namespace

struct Core::RecheckBatch {
  struct Item {
    SlotId slot;
    uint32_t generation;
    const std::byte* data;
    uint32_t header_bytes;
    uint64_t payload_bytes;
    uint64_t checksum;
    ChunkKey key;
    bool sound = false;
  };
  std::vector<Item> items;
  uint64_t bytes = 0;

  void run() {
    for (Item& item : items) {
      bool sound = false;
      const bool readable = guarded(item.data, item.header_bytes + item.payload_bytes, [&] {
        wire::ChunkHeader header;
        std::memcpy(&header, item.data, sizeof header);
        sound =
            header.magic == wire::kChunkMagic && header.key == item.key &&
            header.generation == item.generation && header.header_bytes == item.header_bytes &&
            header.header_checksum == wire::header_checksum_of(item.data, item.header_bytes) &&
            (header.flags & wire::kHeaderHasChecksum) != 0 && header.checksum == item.checksum &&
            kernels::hash_only(item.data + item.header_bytes, item.payload_bytes) == item.checksum;
      });
      item.sound = readable && sound;
    }
  }
};

void Core::recheck_some() {
  const uint64_t now = clock_.now_ns();
  const uint64_t passed_ns = std::min(now - std::exchange(rechecked_ns_, now), kSecondNs);
  if (rechecks_.empty()) return;
  uint64_t budget = config_.verify.background_rate / 1000 * (passed_ns / 1'000'000);
  while (!rechecks_.empty() && budget > 0 && rechecks_under_way_ < kBatchesMax) {
    auto batch = std::make_shared<RecheckBatch>();
    while (!rechecks_.empty() && batch->bytes < std::min(kBatchBytesMax, budget) &&
           batch->items.size() < kBatchChunksMax) {
      const Recheck next = rechecks_.back();
      rechecks_.pop_back();
      const SlotRecord& record = host_->slots()[next.slot];
      if (record.generation != next.generation ||
          record.state.load(std::memory_order_relaxed) != SlotState::kValid) {
        continue;  // gone since
      }
      const Space* space = find_space(tenant_of(next.slot), record.space);
      if (space == nullptr) continue;
      batch->items.push_back({next.slot, next.generation, host_->data(next.slot),
                              space->header_bytes, record.payload_bytes, record.checksum,
                              record.key});
      batch->bytes += record.payload_bytes;
    }
    if (batch->items.empty()) return;
    Job job;
    job.work = [batch] { batch->run(); };
    job.done = [this, batch] { rechecked(*batch); };
    if (!executor_.submit(std::move(job))) {
      for (const RecheckBatch::Item& item : batch->items) {
        rechecks_.push_back({item.slot, item.generation});
      }
      return;
    }
    for (const RecheckBatch::Item& item : batch->items) ++notes(item.slot).holds;
    ++rechecks_under_way_;
    budget -= std::min(budget, batch->bytes);
  }
}

void Core::rechecked(const RecheckBatch& batch) {
  --rechecks_under_way_;
  for (const RecheckBatch::Item& item : batch.items) {
    SlotNotes& note = notes(item.slot);
    --note.holds;
    const SlotRecord& record = host_->slots()[item.slot];
    if (record.generation != item.generation ||
        record.state.load(std::memory_order_relaxed) != SlotState::kValid) {
      continue;  // dropped meanwhile; the sweep of retired slots frees it
    }
    Tenant& tenant = tenant_of(item.slot);
    if (item.sound) {
      ++counters_.rechecked;
      const uint32_t flags = tenant.index->facts(note.entry).flags;
      tenant.index->set_flags(note.entry, flags & ~wire::kCheckOnLoad);
      continue;
    }
    ++counters_.recheck_failed;
    ++counters_.quarantined;
    log_event(LogCode::kChunkCorrupt, "tenant {}: a chunk kept over the restart is not what it was",
              tenant.name);
    quarantine(tenant, item.slot);
  }
}

}  // namespace kvtier::daemon
