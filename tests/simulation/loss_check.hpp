// Whether what a daemon had is still there: after a restart in order or by kill -9, what was valid
// in host memory at once, and what was recorded below when the tier has looked through its records;
// and while a daemon runs, all that nothing it counts has taken away. One thread.
//
// Promised is no more: of a power cut nothing survives for certain (nothing is ever flushed), a
// chunk whose record had not been written when the process died may be lost, and what an injected
// fault may have damaged below is not looked for.
#pragma once

#include <set>

#include "daemon/core/core.hpp"
#include "tests/simulation/content.hpp"
#include "tests/simulation/environment.hpp"

namespace kvtier::simulation {

// Of the chunks that were ever committed, those that the daemon's index names now.
struct Holding {
  std::set<ChunkName> host;  // with a checksum: others are promised to nobody before theirs is made
  std::set<ChunkName> below;  // perhaps in host memory, too
};

class LossCheck {
 public:
  explicit LossCheck(const Environment& environment) : environment_(environment) {}

  // Before and after a daemon ends, and when the next one has started.
  void ends(daemon::Core& core, const std::set<ChunkName>& committed);
  void ended(Ending ending);
  void started(daemon::Core& core, const std::set<ChunkName>& committed);
  // Now and then while a daemon runs.
  void look(daemon::Core& core, const std::set<ChunkName>& committed);

  uint64_t expected() const { return expected_; }  // chunks that had to be found, in all

 private:
  const Environment& environment_;
  Holding before_;             // at the end of the last daemon, or at the last look
  std::set<ChunkName> below_;  // to be found when the tier has recovered
  uint64_t departures_ = 0;    // at the last look
  uint64_t expected_ = 0;
};

}  // namespace kvtier::simulation
