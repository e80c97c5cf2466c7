// See manifest.hpp.
#include "daemon/keep/manifest.hpp"

#include <cstring>
#include <new>

#include "kvtier/wire/key.hpp"

namespace kvtier::daemon {
namespace {

template <typename Row>
uint64_t check_of(const Row& row) {
  const auto* bytes = reinterpret_cast<const std::byte*>(&row) + sizeof(RowHead);
  return XXH3_64bits(bytes, sizeof(Row) - sizeof(RowHead));
}

struct Layout {
  uint64_t tenants, spaces, segments, sessions, bytes;
};

constexpr Layout layout_of_tables() {
  Layout layout = {};
  uint64_t offset = wire::kPageBytes;
  const auto part = [&offset](uint64_t bytes) {
    const uint64_t begin = offset;
    offset += wire::round_up(bytes, wire::kPageBytes);
    return begin;
  };
  layout.tenants = part(sizeof(TenantRow) * kTenantRowsMax);
  layout.spaces = part(sizeof(SpaceRow) * kSpaceRowsMax);
  layout.segments = part(sizeof(SegmentRow) * kSegmentRowsMax);
  layout.sessions = part(sizeof(SessionRow) * kSessionRowsMax);
  layout.bytes = offset;
  return layout;
}

}  // namespace

template <typename Row>
bool RowTable<Row>::read() {
  free_.clear();
  const uint32_t rows = high_water_->load(std::memory_order_acquire);
  if (rows > rows_max_) return false;
  for (uint32_t i = 0; i < rows; ++i) {
    const RowState state = rows_[i].head.state.load(std::memory_order_acquire);
    if (state == RowState::kEmpty) {
      free_.push_back(i);
      continue;
    }
    if (state != RowState::kUsed && state != RowState::kEnding) return false;
    if (rows_[i].head.check != check_of(rows_[i])) return false;
  }
  return true;
}

template <typename Row>
uint32_t RowTable<Row>::add(const Row& row) {
  uint32_t number = high_water_->load(std::memory_order_relaxed);
  if (!free_.empty()) {
    number = free_.back();
    free_.pop_back();
  } else if (number < rows_max_) {
    high_water_->store(number + 1, std::memory_order_release);
  } else {
    return UINT32_MAX;
  }
  Row& target = rows_[number];
  std::memcpy(reinterpret_cast<std::byte*>(&target) + sizeof(RowHead),
              reinterpret_cast<const std::byte*>(&row) + sizeof(RowHead),
              sizeof(Row) - sizeof(RowHead));
  target.head.check = check_of(target);
  set_state(number, RowState::kUsed);
  return number;
}

template <typename Row>
std::vector<uint32_t> RowTable<Row>::used() const {
  std::vector<uint32_t> numbers;
  const uint32_t rows = high_water_->load(std::memory_order_relaxed);
  for (uint32_t i = 0; i < rows; ++i) {
    if (rows_[i].head.state.load(std::memory_order_relaxed) != RowState::kEmpty) {
      numbers.push_back(i);
    }
  }
  return numbers;
}

template class RowTable<TenantRow>;
template class RowTable<SpaceRow>;
template class RowTable<SegmentRow>;
template class RowTable<SessionRow>;

void Manifest::place_tables() {
  constexpr Layout kLayout = layout_of_tables();
  std::byte* base = memory_.mapping.data();
  header_ = reinterpret_cast<ManifestHeader*>(base);
  tenants = {reinterpret_cast<TenantRow*>(base + kLayout.tenants), kTenantRowsMax,
             &header_->high_water[0]};
  spaces = {reinterpret_cast<SpaceRow*>(base + kLayout.spaces), kSpaceRowsMax,
            &header_->high_water[1]};
  segments = {reinterpret_cast<SegmentRow*>(base + kLayout.segments), kSegmentRowsMax,
              &header_->high_water[2]};
  sessions = {reinterpret_cast<SessionRow*>(base + kLayout.sessions), kSessionRowsMax,
              &header_->high_water[3]};
}

Result<std::unique_ptr<Manifest>> Manifest::create(uint64_t slot_layout, uint64_t epoch) {
  std::unique_ptr<Manifest> manifest(new (std::nothrow) Manifest);
  if (manifest == nullptr) return Error(Code::kOutOfMemory, "no memory for a manifest");
  Result<Memfd> memory = create_memfd({"kvtier-manifest", layout_of_tables().bytes});
  if (!memory.ok()) return memory.error();
  manifest->memory_ = std::move(memory).value();
  manifest->place_tables();
  ManifestHeader& header = *manifest->header_;
  header.layout = kManifestLayout;
  header.slot_layout = slot_layout;
  header.bytes = layout_of_tables().bytes;
  header.epoch.store(epoch, std::memory_order_relaxed);
  header.next_session.store(1, std::memory_order_relaxed);
  header.next_uid.store(1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  header.magic = kManifestMagic;
  return manifest;
}

Result<std::unique_ptr<Manifest>> Manifest::adopt(Fd fd, uint64_t slot_layout) {
  std::unique_ptr<Manifest> manifest(new (std::nothrow) Manifest);
  if (manifest == nullptr) return Error(Code::kOutOfMemory, "no memory for a manifest");
  Result<Memfd> memory = adopt_memfd(std::move(fd), wire::kPageBytes, Pages::kSmall);
  if (!memory.ok()) return memory.error();
  manifest->memory_ = std::move(memory).value();
  // The header first: another layout says nothing of the tables.
  const auto& header = *reinterpret_cast<ManifestHeader*>(manifest->memory_.mapping.data());
  if (header.magic != kManifestMagic) {
    return Error::format(Code::kCorrupt, "the manifest begins with %016llx",
                         static_cast<unsigned long long>(header.magic));
  }
  if (header.layout != kManifestLayout || header.slot_layout != slot_layout) {
    return Error::format(
        Code::kIncompatible,
        "it was kept by another version: layout %llu.%llu, this one reads %llu.%llu",
        static_cast<unsigned long long>(header.layout),
        static_cast<unsigned long long>(header.slot_layout),
        static_cast<unsigned long long>(kManifestLayout),
        static_cast<unsigned long long>(slot_layout));
  }
  if (header.bytes != layout_of_tables().bytes ||
      manifest->memory_.mapping.bytes() != header.bytes) {
    return Error::format(Code::kCorrupt, "the manifest has %llu bytes, due are %llu",
                         static_cast<unsigned long long>(manifest->memory_.mapping.bytes()),
                         static_cast<unsigned long long>(layout_of_tables().bytes));
  }
  manifest->place_tables();
  const auto damaged = [](const char* what) {
    return Error::format(Code::kCorrupt, "a %s row of the manifest is damaged", what);
  };
  if (!manifest->tenants.read()) return damaged(TenantRow::kWhat);
  if (!manifest->spaces.read()) return damaged(SpaceRow::kWhat);
  if (!manifest->segments.read()) return damaged(SegmentRow::kWhat);
  if (!manifest->sessions.read()) return damaged(SessionRow::kWhat);
  return manifest;
}

}  // namespace kvtier::daemon
