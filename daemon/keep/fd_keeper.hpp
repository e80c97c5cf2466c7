// Who holds the daemon's memory while no daemon runs: takes duplicates of file descriptors under
// names, and hands all of them to the next daemon. Core thread. Two bodies: the service manager's
// store and a holder process; knows nothing of what the descriptors are. Never waits for long: a
// keeper that cannot take one more right now says so, and the caller tries again later.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "daemon/memory/fd.hpp"
#include "kvtier/result.hpp"

namespace kvtier::daemon {

// FileDescriptorStoreMax= of the unit; the holder takes no more either.
inline constexpr size_t kKeptFdsMax = 4096;
inline constexpr size_t kKeptNameBytesMax = 55;

// Every name begins with this, so that sockets of the service manager are not mistaken for memory.
inline constexpr const char* kKeptPrefix = "kvt.";

struct KeptFd {
  std::string name;
  Fd fd;
};

class FdKeeper {
 public:
  virtual ~FdKeeper() = default;

  // "service-manager", "holder"; for operators.
  virtual const char* kind() const = 0;
  // What the daemon before left; once, before anything is kept. It stays kept until forgotten.
  virtual std::vector<KeptFd> take() = 0;
  // When this returns without an error, the next daemon gets a duplicate of `fd` whatever becomes
  // of this process. Names are unique. Errors: full (as many as there may be, or the keeper is
  // behind: try again later), system.
  virtual Status keep(const std::string& name, const Fd& fd) = 0;
  // The next daemon does not get it. Unknown names are ignored.
  virtual void forget(const std::string& name) = 0;
  // Sends what could not be sent yet; once in a while.
  virtual void tend() = 0;
  // Why nothing is kept any more; empty while all is well.
  virtual std::string trouble() const = 0;
  virtual size_t kept() const = 0;
};

}  // namespace kvtier::daemon
