// The manifest: what a new daemon must know to make sense of the memory that was kept for it. One
// memfd that only daemons map: tables of tenants, spaces, segments and sessions. Core thread.
//
// Write order (docs/protocol.md section 8): a row's words, its check, then its state (release); to
// erase a row its state goes first. A daemon may be killed at any instruction, but its stores take
// effect in program order for whoever maps the memory afterwards, so a row whose state says so is
// whole. The check is there against damage: a row that fails it makes the start cold.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "daemon/memory/memfd.hpp"
#include "kvtier/wire/messages.hpp"
#include "kvtier/wire/types.hpp"

namespace kvtier::daemon {

inline constexpr uint64_t kManifestMagic = 0x3130'494e'414d'564bULL;  // "KVMANI01"
// Together with the slot table's: another one, and the start is cold.
inline constexpr uint64_t kManifestLayout = 1;

enum class RowState : uint32_t {
  kEmpty = 0,
  kUsed = 1,
  kEnding = 2,  // of a session: its slots are being taken back
};

struct RowHead {
  std::atomic<RowState> state;
  uint32_t reserved;
  uint64_t check;  // XXH3-64 of what follows
};
static_assert(sizeof(RowHead) == 16);

struct TenantRow {
  static constexpr const char* kWhat = "tenant";
  RowHead head;
  uint32_t number;
  uint32_t reserved;
  uint64_t secret_check;  // XXH3-64 of the key secret: another salt, and no key can match
  char name[128];
};
static_assert(sizeof(TenantRow) == 160);

struct SpaceRow {
  static constexpr const char* kWhat = "space";
  RowHead head;
  uint32_t tenant;
  uint32_t number;
  uint32_t id;
  uint32_t group;
  wire::SpaceSpecWire spec;
};
static_assert(sizeof(SpaceRow) == 480);

struct SegmentRow {
  static constexpr const char* kWhat = "segment";
  RowHead head;
  uint32_t tenant;
  uint32_t number;
  uint64_t uid;
  uint64_t slot_bytes;
  uint64_t accounted_bytes;
  uint64_t bytes;  // of the memfd
  uint32_t first;  // slot id
  uint32_t slots;
  uint32_t huge;  // 1: huge pages
  uint32_t reserved;
};
static_assert(sizeof(SegmentRow) == 72);

struct SessionRow {
  static constexpr const char* kWhat = "session";
  RowHead head;
  uint64_t epoch;
  uint32_t id;
  uint32_t tenant;
  int32_t pid;
  uint32_t uid;
  uint32_t read_only;
  uint32_t submission_entries;
  uint32_t completion_entries;
  uint32_t lease_cells;
  uint32_t touch_entries;
  uint32_t reserved;
  uint64_t argument_bytes;
  uint64_t attached_ns;
  char name[wire::kNameBytes];
};
static_assert(sizeof(SessionRow) == 144);

inline constexpr uint32_t kTenantRowsMax = 1024;
inline constexpr uint32_t kSpaceRowsMax = 1u << 16;
inline constexpr uint32_t kSegmentRowsMax = 1u << 14;
inline constexpr uint32_t kSessionRowsMax = 1u << 13;  // twice daemon.sessions_max: old and new

struct ManifestHeader {
  uint64_t magic;
  uint64_t layout;
  uint64_t slot_layout;  // of the slot table
  uint64_t bytes;
  std::atomic<uint64_t> epoch;    // of the last daemon
  std::atomic<uint64_t> orderly;  // 1: it stopped in order
  std::atomic<uint64_t> next_uid;
  std::atomic<uint32_t> next_session;
  // Rows at and above it were never used: of tenants, spaces, segments, sessions. Raised before the
  // row is written. (Reading an untouched row of sparse memory would cost a page.)
  std::atomic<uint32_t> high_water[4];
  uint32_t reserved;
};
static_assert(sizeof(ManifestHeader) == 80);

// One table of the manifest, with the numbers of its free rows. The rows are in shared memory.
template <typename Row>
class RowTable {
 public:
  RowTable() = default;
  RowTable(Row* rows, uint32_t rows_max, std::atomic<uint32_t>* high_water)
      : rows_(rows), rows_max_(rows_max), high_water_(high_water) {}

  // Finds out which rows are free; false if one is damaged.
  bool read();
  // The row's number; UINT32_MAX: the table is full. `row` comes without a head.
  uint32_t add(const Row& row);
  void set_state(uint32_t number, RowState state) {
    rows_[number].head.state.store(state, std::memory_order_release);
  }
  void erase(uint32_t number) {
    set_state(number, RowState::kEmpty);
    free_.push_back(number);
  }
  const Row& operator[](uint32_t number) const { return rows_[number]; }
  // Used and ending rows, in the order of their numbers.
  std::vector<uint32_t> used() const;

 private:
  Row* rows_ = nullptr;
  uint32_t rows_max_ = 0;
  std::atomic<uint32_t>* high_water_ = nullptr;
  std::vector<uint32_t> free_;
};

class Manifest {
 public:
  // Errors: system, out_of_memory.
  static Result<std::unique_ptr<Manifest>> create(uint64_t slot_layout, uint64_t epoch);
  // One that an earlier daemon wrote. Errors: incompatible, corrupt (with what was found), system.
  static Result<std::unique_ptr<Manifest>> adopt(Fd fd, uint64_t slot_layout);

  ManifestHeader& header() { return *header_; }
  const Fd& fd() const { return memory_.fd; }

  RowTable<TenantRow> tenants;
  RowTable<SpaceRow> spaces;
  RowTable<SegmentRow> segments;
  RowTable<SessionRow> sessions;

 private:
  Manifest() = default;
  void place_tables();

  Memfd memory_;
  ManifestHeader* header_ = nullptr;
};

}  // namespace kvtier::daemon
