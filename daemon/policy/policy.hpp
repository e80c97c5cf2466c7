// Which chunk of a tier goes next: the interface of the eviction policies. Five calls. The core
// thread calls; a policy never touches chunks, slots or memory itself, it only orders their ids.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "daemon/memory/slot_id.hpp"
#include "kvtier/result.hpp"
#include "kvtier/wire/types.hpp"

namespace kvtier::daemon {

struct ChunkFacts {
  ChunkKey key;
  uint32_t position;  // in its chain
  uint32_t tokens;
  uint64_t bytes;
};

enum class Removal : uint8_t { kEvicted, kDropped };

// Says which slots must be left out for now: leased, pinned, held by a transfer.
class VictimFilter {
 public:
  virtual ~VictimFilter() = default;
  virtual bool may_evict(SlotId slot) const = 0;
};

class Policy {
 public:
  virtual ~Policy() = default;

  // A chunk came into the tier; it counts as used now.
  virtual void inserted(SlotId slot, const ChunkFacts& facts) = 0;
  // A resident chunk was used. Paths arrive tail to head, so heads end up more recent than tails.
  virtual void touched(SlotId slot, uint32_t position) = 0;
  // It left: by eviction (a policy may remember its key), or dropped for another reason.
  virtual void removed(SlotId slot, Removal how) = 0;
  // Up to out.size() chunks in the order they should go, none that the filter refuses; returns how
  // many. They stay resident until removed(). Looks at no more than a bounded number of candidates.
  virtual size_t victims(std::span<SlotId> out, const VictimFilter& filter) = 0;
  // Advice about a resident chunk: kSoon keeps it longer, kNever makes it go first.
  enum class Outlook : uint8_t { kNever, kSoon };
  virtual void hinted(SlotId slot, Outlook outlook) = 0;

  // Hits expected of a resident chunk per use of the tier, where the policy knows: what a tier
  // below is asked to hold first. Negative: it does not know.
  virtual float worth(SlotId) const { return -1; }
};

// By its configured name. Errors: not_found with the names there are.
Result<std::unique_ptr<Policy>> make_policy(std::string_view name);

// Names in the order of documentation, separated by ", ".
const char* policy_names();

}  // namespace kvtier::daemon
