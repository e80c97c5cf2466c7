// Where kvtier's programs look for the daemon. Any thread.
#pragma once

#include <string>

namespace kvtier::tools {

// $KVTIER_SOCKET, else /run/kvtier/kvtier.sock when it exists, else $XDG_RUNTIME_DIR/kvtier, else
// the user's folder under the temporary directory.
std::string default_attach_socket();

// admin.sock in the same folder.
std::string admin_socket_beside(const std::string& attach_socket);

std::string folder_of(const std::string& path);

}  // namespace kvtier::tools
