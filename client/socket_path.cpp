// Where the attach socket is when nobody says it. Reads the environment; any thread that is not
// changing it.
#include <unistd.h>

#include <cstdlib>

#include "kvtier/kvtier.hpp"

namespace kvtier {
namespace {

// Set and not empty; a setuid program is not told where to go by whoever starts it.
std::string variable(const char* name) {
  const char* value = ::secure_getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

}  // namespace

std::string default_socket_path() {
  if (std::string path = variable("KVTIER_SOCKET"); !path.empty()) return path;
  const std::string system = "/run/kvtier/kvtier.sock";
  if (::access(system.c_str(), F_OK) == 0) return system;
  if (const std::string folder = variable("XDG_RUNTIME_DIR"); !folder.empty()) {
    return folder + "/kvtier/kvtier.sock";
  }
  std::string folder = variable("TMPDIR");
  if (folder.empty()) folder = "/tmp";
  return folder + "/kvtier-" + std::to_string(::geteuid()) + "/kvtier.sock";
}

}  // namespace kvtier
