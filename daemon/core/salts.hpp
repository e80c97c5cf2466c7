// The secret of each tenant's keys: 32 random bytes kept in a file of the state directory, so that
// keys mean the same after a restart. Core thread, at a tenant's first use only.
#pragma once

#include <string>

#include "kvtier/result.hpp"
#include "kvtier/wire/key.hpp"

namespace kvtier::daemon {

// The key secret grown from the tenant's salt; a new salt is made (and kept, if `directory` is not
// empty) when there is none. Errors: system (unreadable, of the wrong size, cannot be written).
Result<wire::KeySecret> tenant_secret(const std::string& directory, const std::string& tenant);

}  // namespace kvtier::daemon
