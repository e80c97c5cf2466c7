// A holder process as a keeper: finds the one that listens at a path, or starts it. See holder.hpp.
// Core thread. If the holder dies, nothing is kept any more and the daemon goes on; the next start
// is cold.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "daemon/keep/fd_keeper.hpp"
#include "daemon/keep/hold_protocol.hpp"

namespace kvtier::daemon {

struct HolderPlace {
  std::string path;  // of the holder's socket
  uint64_t keep_for_ns = 0;
};

// The holder's socket of the daemon that serves this attach socket.
std::string holder_path(const std::string& attach_socket);

class HolderKeeper final : public FdKeeper {
 public:
  // Waits up to 3 s for the daemon before to end. Errors: permission (it still runs), system,
  // invalid_argument (the path does not fit).
  static Result<std::unique_ptr<FdKeeper>> open(const HolderPlace& place);
  // Over a connection that exists (for tests).
  static Result<std::unique_ptr<FdKeeper>> over(Fd socket);

  const char* kind() const override { return "holder"; }
  std::vector<KeptFd> take() override;
  Status keep(const std::string& name, const Fd& fd) override;
  void forget(const std::string& name) override;
  void tend() override;
  std::string trouble() const override;
  size_t kept() const override { return names_.size(); }

 private:
  explicit HolderKeeper(Fd socket) : socket_(std::move(socket)) {}
  Status ask_for_everything();

  Fd socket_;
  size_t fds_max_ = 0;
  std::vector<KeptFd> taken_;
  std::set<std::string> names_;
  std::vector<std::string> to_forget_;
  bool lost_ = false;
};

// Ends the holder at the path and gives back what it holds; waits for it. Not found: there is none.
// Errors: not_found, permission (a daemon runs on it), system.
Status end_holder(const std::string& path);

}  // namespace kvtier::daemon
