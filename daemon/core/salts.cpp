// Tenants' salts on disk: DIRECTORY/salts/NAME, 32 bytes, mode 0600, written beside and renamed.
#include "daemon/core/salts.hpp"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>

#include "daemon/memory/fd.hpp"

namespace kvtier::daemon {

namespace {

constexpr size_t kSaltBytes = 32;

// Tenants' names come from the configuration or are "uid-N"; anything else would be a path.
bool is_file_name(const std::string& name) {
  return !name.empty() && name[0] != '.' && name.find('/') == std::string::npos;
}

Status write_salt(const std::string& path, const uint8_t (&salt)[kSaltBytes]) {
  const std::string beside = path + ".new";
  const Fd file(::open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file) return Error::system(errno, ("creating " + beside).c_str());
  if (::write(file.get(), salt, sizeof salt) != sizeof salt || ::fsync(file.get()) != 0) {
    return Error::system(errno, ("writing " + beside).c_str());
  }
  if (::rename(beside.c_str(), path.c_str()) != 0) {
    return Error::system(errno, ("renaming to " + path).c_str());
  }
  return {};
}

}  // namespace

Result<wire::KeySecret> tenant_secret(const std::string& directory, const std::string& tenant) {
  uint8_t salt[kSaltBytes];
  bool found = false;
  const std::string folder = directory + "/salts";
  const std::string path = folder + "/" + tenant;
  if (!directory.empty()) {
    if (!is_file_name(tenant)) {
      return Error::format(Code::kInvalidArgument, "the tenant name '%s' cannot be a file name",
                           tenant.c_str());
    }
    if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) {
      return Error::system(errno, ("creating " + folder).c_str());
    }
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (file) {
      uint8_t more = 0;
      if (::read(file.get(), salt, sizeof salt) != sizeof salt ||
          ::read(file.get(), &more, 1) != 0) {
        return Error::format(Code::kSystem,
                             "%s is not a salt of %zu bytes: move it away to start without what "
                             "was stored under it",
                             path.c_str(), kSaltBytes);
      }
      found = true;
    } else if (errno != ENOENT) {
      return Error::system(errno, ("opening " + path).c_str());
    }
  }
  if (!found) {
    if (::getrandom(salt, sizeof salt, 0) != sizeof salt) {
      return Error::system(errno, "getrandom for a salt");
    }
    if (!directory.empty()) {
      const Status written = write_salt(path, salt);
      if (!written.ok()) return written.error();
    }
  }
  wire::KeySecret secret;
  static_assert(sizeof secret.bytes == XXH3_SECRET_DEFAULT_SIZE);
  // Stretches the salt over the whole secret; the salt cannot be computed back from keys alone by
  // anything cheaper than guessing, and clients of the tenant may know it anyway.
  if (XXH3_generateSecret(secret.bytes, sizeof secret.bytes, salt, sizeof salt) != XXH_OK) {
    return Error(Code::kSystem, "XXH3_generateSecret refused the salt");
  }
  return secret;
}

}  // namespace kvtier::daemon
