// Ending what clients of the daemon before still do, before anything of its memory is used again.
// Core thread, at the start.
#pragma once

#include <string>
#include <vector>

#include "daemon/keep/ledger.hpp"

namespace kvtier::daemon {

// Stores epoch 0 into every published memory that was kept, so that no load of before ends well,
// and takes them out of `kept`; returns their names. docs/protocol.md, section 6: a fence (T) and
// the scan of the old lease cells come after this.
std::vector<std::string> close_published(KeptFds& kept);

}  // namespace kvtier::daemon
