// The service manager's descriptor store as a keeper, see sd_notify(3) and
// sd_pid_notify_with_fds(3): datagrams with FDSTORE=1 and FDSTOREREMOVE=1. Its unit needs
// FileDescriptorStoreMax= of at least kKeptFdsMax. Core thread. A datagram that was sent has
// arrived: the manager reads it before it looks at the end of this process.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "daemon/keep/fd_keeper.hpp"

namespace kvtier::daemon {

class ServiceManagerKeeper final : public FdKeeper {
 public:
  struct Options {
    std::string socket;  // $NOTIFY_SOCKET
    size_t fds_max = kKeptFdsMax;
    std::vector<KeptFd> inherited;  // handed to this process at its start
  };
  // Errors: invalid_argument (no such socket), system.
  static Result<std::unique_ptr<FdKeeper>> open(Options options);

  const char* kind() const override { return "service-manager"; }
  std::vector<KeptFd> take() override;
  Status keep(const std::string& name, const Fd& fd) override;
  void forget(const std::string& name) override;
  void tend() override;
  std::string trouble() const override { return {}; }
  size_t kept() const override { return names_.size(); }

 private:
  ServiceManagerKeeper(Fd socket, Options options);
  // 0, or errno.
  int send(const std::string& text, const Fd* fd);

  Fd socket_;
  Options options_;
  std::set<std::string> names_;
  std::vector<std::string> to_forget_;  // the manager's queue was full
};

}  // namespace kvtier::daemon
