// The nvme tier as configured: slabs opened or made, metadata beside the daemon's other state.
#pragma once

#include <memory>
#include <string>

#include "daemon/config/config.hpp"
#include "daemon/memory/clock.hpp"
#include "daemon/tiers/tier.hpp"

namespace kvtier::daemon {

// Waits for the devices (superblocks and descriptors are read, new slabs preallocated): before
// service begins. Null when nvme.capacity is 0. A path that cannot be used is a failed device of
// the tier, told in its notices, unless nvme.required: then its error is this function's. What was
// on the slabs is found afterwards: Tier::recovering(). `clock` outlives the tier. Errors:
// unavailable (another kvtierd has the metadata), system; the path's with nvme.required.
Result<std::unique_ptr<Tier>> make_nvme_tier(const Config& config,
                                             const std::string& state_directory,
                                             const Clock& clock);

}  // namespace kvtier::daemon
