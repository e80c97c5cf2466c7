// A folder of a test's own under the current directory (tmpfs has no direct I/O), gone at the end.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

namespace kvtier::daemon {

class TemporaryFolder {
 public:
  TemporaryFolder() : path_((std::filesystem::current_path() / "nvme-test-XXXXXX").string()) {
    if (::mkdtemp(path_.data()) == nullptr) std::abort();
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace kvtier::daemon
