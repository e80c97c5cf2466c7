// The service manager's side: telling it how we are, and taking over sockets that it made. Plain
// environment variables and datagrams, see sd_notify(3) and sd_listen_fds(3); no library.
#pragma once

#include <string>
#include <vector>

#include "daemon/memory/fd.hpp"

namespace kvtier::daemon {

// "READY=1\nSTATUS=..."; does nothing without a service manager. Never waits. Any thread.
void tell_service_manager(const std::string& text);

// Sockets that were handed over to this process; once, at the start.
std::vector<Fd> take_inherited_sockets();

}  // namespace kvtier::daemon
