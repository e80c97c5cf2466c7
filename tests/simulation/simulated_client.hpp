// A client of the simulation: a process's half of the protocol (docs/protocol.md sections 3 to 5)
// over its own mappings of the real published, session and segment memory, as they stay with a
// process when the daemon is killed. It finds, leases, reads, checks and writes; what it asks of
// the daemon goes through the world. One thread.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "daemon/core/core.hpp"
#include "kvtier/wire/lookup.hpp"
#include "tests/simulation/content.hpp"

namespace kvtier::simulation {

using daemon::Fd;
using daemon::Mapping;
using daemon::Session;

// A mapping of somebody else's memory.
Mapping map_shared(const Fd& fd, uint64_t bytes, bool writable);

// The memory of one session, mapped by the process.
class SessionView {
 public:
  explicit SessionView(const Session& session);

  wire::SessionHeader& header() const {
    return *reinterpret_cast<wire::SessionHeader*>(map_.data());
  }
  std::atomic<uint64_t>& cell(uint32_t i) const {
    return reinterpret_cast<std::atomic<uint64_t>*>(map_.data() + header().cells_offset)[i];
  }
  void touch(wire::Place place) const;

 private:
  Mapping map_;
};

struct Held {  // a lease
  uint32_t cell = 0;
  wire::Place place;
  ChunkName name;
  bool check_on_load = false;
  uint64_t revocations = 0;  // of the session, before the lease
  const std::byte* slot = nullptr;
  std::vector<std::byte> seen;  // what was read when the lease was taken: header and payload
};

struct Writing {  // a grant
  wire::Place place;
  ChunkName name;
  std::byte* slot = nullptr;
};

// One attachment of a process. It outlives the daemon that made it.
struct Attachment {
  uint32_t session = 0;
  uint64_t epoch = 0;
  bool live = true;  // false: its daemon is gone, or it was ended
  std::unique_ptr<SessionView> memory;
  std::shared_ptr<Mapping> published;
  std::map<std::pair<uint32_t, uint64_t>, std::shared_ptr<Mapping>> segments;  // by number, uid
  std::vector<Held> held;
  std::vector<Writing> writing;
};

enum class LeaseOutcome : uint8_t { kAbsent, kLower, kHeld, kLost };

// Steps 1 to 7 of a lease. `segment_of` gives the process's mapping of a segment.
struct LeaseResult {
  LeaseOutcome outcome = LeaseOutcome::kAbsent;
  wire::FoundChunk found;
  uint64_t revocations = 0;
};
LeaseResult take_lease(const Attachment& attachment, uint32_t space_id, ChunkKey key,
                       uint32_t cell);

// The end of a load: the lease was neither revoked nor ended since.
bool load_holds(const Attachment& attachment, uint64_t revocations);

// What a client compares before it uses a chunk: the header says this name.
bool header_says(const std::byte* slot, const ChunkName& name, uint64_t payload_bytes);

}  // namespace kvtier::simulation
