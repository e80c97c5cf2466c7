// Where the daemon's sockets and state lie; see paths.hpp.
#include "daemon/config/paths.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "daemon/config/texts.hpp"

namespace kvtier::daemon {
namespace {

constexpr const char* kSystemDirectory = "/run/kvtier";
constexpr const char* kSystemState = "/var/lib/kvtier";

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && value[0] == '/' ? value : "";
}

bool is_folder(const std::string& path) {
  struct stat found;
  return !path.empty() && stat(path.c_str(), &found) == 0 && S_ISDIR(found.st_mode);
}

// systemd separates several directories by colons.
std::string first_of(const std::string& list) {
  return list.substr(0, list.find(':'));
}

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::string runtime_folder(const Environment& environment) {
  if (!environment.runtime_directory.empty()) return first_of(environment.runtime_directory);
  if (environment.uid == 0) return kSystemDirectory;
  if (!environment.xdg_runtime_directory.empty()) {
    return environment.xdg_runtime_directory + "/kvtier";
  }
  const std::string& temporary = environment.temporary_directory;
  return (temporary.empty() ? "/tmp" : temporary) + "/kvtier-" + std::to_string(environment.uid);
}

Status check_socket(const std::string& path, const char* option) {
  if (path.size() <= kSocketPathBytesMax) return {};
  return Error::format(Code::kInvalidArgument,
                       "the socket path has %zu bytes, at most %zu fit: %.100s...; set %s to a "
                       "shorter one",
                       path.size(), kSocketPathBytesMax, path.c_str(), option);
}

Status make_folder(const std::string& path, mode_t mode) {
  if (path.size() > 1) {
    const std::string parent = folder_of(path);
    if (!is_folder(parent)) {
      if (Status made = make_folder(parent, 0755); !made) return made;
    }
  }
  if (mkdir(path.c_str(), mode) == 0 || errno == EEXIST) return {};
  return Error::system(errno, ("cannot create the folder " + path).c_str());
}

// Whoever may write into the folder could put another socket in the daemon's place.
Status check_folder(const std::string& path) {
  struct stat found;
  if (lstat(path.c_str(), &found) != 0) {
    return Error::system(errno, ("cannot look at the folder " + path).c_str());
  }
  if (!S_ISDIR(found.st_mode)) {
    return Error::format(Code::kPermission, "%s is not a folder: remove it or name another",
                         path.c_str());
  }
  if (found.st_uid != geteuid() && found.st_uid != 0) {
    return Error::format(Code::kPermission,
                         "%s belongs to uid %u, not to uid %u: name a folder of "
                         "your own",
                         path.c_str(), found.st_uid, geteuid());
  }
  const bool shared = (found.st_mode & (S_IWGRP | S_IWOTH)) != 0;
  if (shared && (found.st_mode & S_ISVTX) == 0) {
    return Error::format(Code::kPermission,
                         "others may write into %s (mode %04o): chmod go-w it, "
                         "or name another folder",
                         path.c_str(), found.st_mode & 07777u);
  }
  return {};
}

Status prepare(const std::string& folder, mode_t mode) {
  if (Status made = make_folder(folder, mode); !made) return made;
  return check_folder(folder);
}

}  // namespace

Environment environment_of_process() {
  Environment environment;
  environment.uid = geteuid();
  environment.runtime_directory = variable("RUNTIME_DIRECTORY");
  environment.state_directory = variable("STATE_DIRECTORY");
  environment.xdg_runtime_directory = variable("XDG_RUNTIME_DIR");
  environment.temporary_directory = variable("TMPDIR");
  return environment;
}

Result<DaemonPaths> choose_paths(const Config& config, const Environment& environment) {
  DaemonPaths paths;
  paths.socket = config.daemon.socket;
  if (paths.socket.empty()) paths.socket = runtime_folder(environment) + "/kvtier.sock";
  const std::string folder = folder_of(paths.socket);
  paths.admin_socket = config.daemon.admin_socket;
  if (paths.admin_socket.empty()) paths.admin_socket = folder + "/admin.sock";
  paths.state_directory = config.daemon.state_directory;
  if (paths.state_directory.empty()) paths.state_directory = first_of(environment.state_directory);
  if (paths.state_directory.empty()) {
    const bool system = environment.uid == 0 && config.daemon.socket.empty();
    paths.state_directory = system ? kSystemState : folder + "/state";
  }
  if (Status fits = check_socket(paths.socket, "daemon.socket"); !fits) return fits.error();
  if (Status fits = check_socket(paths.admin_socket, "daemon.admin_socket"); !fits) {
    return fits.error();
  }
  if (paths.socket == paths.admin_socket) {
    return Error::format(Code::kInvalidArgument,
                         "clients and administrators cannot share one socket: %s; set "
                         "daemon.admin_socket to another path",
                         paths.socket.c_str());
  }
  return paths;
}

Status prepare_directories(const DaemonPaths& paths) {
  const std::string folder = folder_of(paths.socket);
  // Other users reach the system's socket through its folder; the socket's own mode decides.
  const mode_t mode = folder == kSystemDirectory ? 0755 : 0700;
  if (Status ready = prepare(folder, mode); !ready) return ready;
  if (Status ready = prepare(folder_of(paths.admin_socket), mode); !ready) return ready;
  return prepare(paths.state_directory, 0700);
}

}  // namespace kvtier::daemon
