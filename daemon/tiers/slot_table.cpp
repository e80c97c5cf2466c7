// Creating the slot table and handing out runs of ids, first fit. Core thread.
#include "daemon/tiers/slot_table.hpp"

#include <algorithm>
#include <iterator>
#include <new>

namespace kvtier::daemon {

Result<std::unique_ptr<SlotTable>> SlotTable::create(uint64_t slots_max, uint64_t epoch) {
  std::unique_ptr<SlotTable> table(new (std::nothrow) SlotTable);
  if (table == nullptr) return Error(Code::kOutOfMemory, "no memory for a slot table");
  Result<Memfd> memory =
      create_memfd({"kvtier-slots", wire::kPageBytes + slots_max * sizeof(SlotRecord)});
  if (!memory.ok()) return memory.error();
  table->memory_ = std::move(memory).value();
  table->slots_max_ = std::min<uint64_t>(slots_max, kNoSlot);
  std::byte* base = table->memory_.mapping.data();
  auto* header = reinterpret_cast<SlotTableHeader*>(base);
  header->layout = kSlotTableLayout;
  header->epoch = epoch;
  header->slots_max = table->slots_max_;
  header->magic = kSlotTableMagic;
  table->records_ = reinterpret_cast<SlotRecord*>(base + wire::kPageBytes);
  return table;
}

Result<std::unique_ptr<SlotTable>> SlotTable::adopt(Fd fd, uint64_t epoch) {
  std::unique_ptr<SlotTable> table(new (std::nothrow) SlotTable);
  if (table == nullptr) return Error(Code::kOutOfMemory, "no memory for a slot table");
  Result<Memfd> memory = adopt_memfd(std::move(fd), wire::kPageBytes, Pages::kSmall);
  if (!memory.ok()) return memory.error();
  table->memory_ = std::move(memory).value();
  std::byte* base = table->memory_.mapping.data();
  auto* header = reinterpret_cast<SlotTableHeader*>(base);
  if (header->magic != kSlotTableMagic || header->layout != kSlotTableLayout) {
    return Error::format(Code::kIncompatible,
                         "the slot table has layout %llu; this version has %llu",
                         static_cast<unsigned long long>(header->layout),
                         static_cast<unsigned long long>(kSlotTableLayout));
  }
  const uint64_t room = (table->memory_.mapping.bytes() - wire::kPageBytes) / sizeof(SlotRecord);
  if (header->slots_max == 0 || header->slots_max > room || header->slots_max > kNoSlot) {
    return Error::format(Code::kCorrupt, "the slot table says %llu slots and has room for %llu",
                         static_cast<unsigned long long>(header->slots_max),
                         static_cast<unsigned long long>(room));
  }
  table->slots_max_ = header->slots_max;
  header->epoch = epoch;
  table->records_ = reinterpret_cast<SlotRecord*>(base + wire::kPageBytes);
  return table;
}

bool SlotTable::keep_runs(std::vector<std::pair<SlotId, uint32_t>> runs) {
  std::sort(runs.begin(), runs.end());
  high_water_ = 0;
  runs_.clear();
  for (const auto& [first, count] : runs) {
    if (count == 0 || first < high_water_ || first > slots_max_ || count > slots_max_ - first) {
      return false;
    }
    if (first > high_water_) runs_.emplace(high_water_, first - high_water_);
    high_water_ = first + count;
  }
  return true;
}

std::optional<SlotId> SlotTable::take_run(uint32_t count) {
  for (auto run = runs_.begin(); run != runs_.end(); ++run) {
    if (run->second < count) continue;
    const SlotId first = run->first;
    const uint32_t left = run->second - count;
    runs_.erase(run);
    if (left > 0) runs_.emplace(first + count, left);
    return first;
  }
  if (slots_max_ - high_water_ < count) return std::nullopt;
  const SlotId first = high_water_;
  high_water_ += count;
  return first;
}

void SlotTable::give_back_run(SlotId first, uint32_t count) {
  auto [run, inserted] = runs_.emplace(first, count);
  if (!inserted) return;
  const auto next = std::next(run);
  if (next != runs_.end() && run->first + run->second == next->first) {
    run->second += next->second;
    runs_.erase(next);
  }
  if (run != runs_.begin()) {
    const auto before = std::prev(run);
    if (before->first + before->second == run->first) {
      before->second += run->second;
      runs_.erase(run);
    }
  }
}

}  // namespace kvtier::daemon
