// See socket_path.hpp.
#include "tools/cli/socket_path.hpp"

#include "kvtier/kvtier.hpp"

namespace kvtier::tools {

std::string default_attach_socket() {
  return default_socket_path();
}

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::string admin_socket_beside(const std::string& attach_socket) {
  return folder_of(attach_socket) + "/admin.sock";
}

}  // namespace kvtier::tools
