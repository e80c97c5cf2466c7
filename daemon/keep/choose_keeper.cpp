// See choose_keeper.hpp.
#include "daemon/keep/choose_keeper.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "daemon/keep/holder_keeper.hpp"
#include "daemon/keep/service_manager_keeper.hpp"
#include "daemon/log/log.hpp"

namespace kvtier::daemon {
namespace {

std::string variable(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? std::string() : text;
}

// $FDSTORE says it from systemd 254 on; before, the unit says it with KVTIER_KEEP.
bool manager_has_store(const KeeperChoice& choice) {
  if (variable("NOTIFY_SOCKET").empty()) return false;
  return !choice.inherited.empty() || std::strtoul(variable("FDSTORE").c_str(), nullptr, 10) > 0 ||
         variable("KVTIER_KEEP") == "service-manager";
}

Result<std::unique_ptr<FdKeeper>> open_manager(std::vector<KeptFd> inherited) {
  ServiceManagerKeeper::Options options;
  options.socket = variable("NOTIFY_SOCKET");
  options.inherited = std::move(inherited);
  const unsigned long room = std::strtoul(variable("FDSTORE").c_str(), nullptr, 10);
  if (room > 0) options.fds_max = std::min<size_t>(options.fds_max, room);
  return ServiceManagerKeeper::open(std::move(options));
}

// Memory that the other keeper has from an earlier configuration is not held for ever.
void give_back(std::vector<KeptFd> inherited) {
  if (inherited.empty()) return;
  log_event(LogCode::kKeptUnknown,
            "the service manager kept {} descriptors, which this configuration does not want; "
            "given back",
            inherited.size());
  std::vector<std::string> names;
  for (const KeptFd& one : inherited) names.push_back(one.name);
  Result<std::unique_ptr<FdKeeper>> manager = open_manager(std::move(inherited));
  if (!manager.ok()) return;
  for (const std::string& name : names) (*manager)->forget(name);
}

}  // namespace

Result<std::unique_ptr<FdKeeper>> choose_keeper(KeeperChoice choice) {
  const std::string path = holder_path(choice.attach_socket);
  const bool automatic = choice.mode == KeepMode::kAuto;
  if (automatic) {
    choice.mode = manager_has_store(choice) ? KeepMode::kServiceManager : KeepMode::kHolder;
  }
  if (choice.mode == KeepMode::kServiceManager) return open_manager(std::move(choice.inherited));
  give_back(std::move(choice.inherited));
  if (choice.mode == KeepMode::kHolder) {
    Result<std::unique_ptr<FdKeeper>> holder =
        HolderKeeper::open({.path = path, .keep_for_ns = choice.keep_for_ns});
    if (holder.ok() || !automatic || holder.code() == Code::kPermission) return holder;
    log_event(LogCode::kKeeperTrouble, "{}; host memory will not survive a restart",
              holder.error().message());
    return std::unique_ptr<FdKeeper>();
  }
  [[maybe_unused]] const Status ended = end_holder(path);
  return std::unique_ptr<FdKeeper>();
}

}  // namespace kvtier::daemon
