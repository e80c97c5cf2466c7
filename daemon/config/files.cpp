// Reading small text files and listing a folder; see files.hpp.
#include "daemon/config/files.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <system_error>

namespace kvtier::daemon {
namespace {

FileProblem problem(const char* what, const std::string& path, int number) {
  FileProblem result;
  result.message =
      std::string("cannot ") + what + " '" + path + "': " + std::generic_category().message(number);
  if (number == ENOENT) {
    result.help =
        "check the path; 'kvtier config default > " + path + "' writes a complete example";
  } else if (number == EACCES || number == EPERM) {
    result.help =
        "let uid " + std::to_string(geteuid()) + " read it, and enter the folders above it";
  } else if (number == EISDIR) {
    result.help = "name a file, not a folder";
  }
  return result;
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

}  // namespace

FileText read_text_file(const std::string& path, size_t bytes_max) {
  FileText result;
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
  if (file.get() < 0) {
    result.problem = problem("open", path, errno);
    return result;
  }
  char buffer[16384];
  while (true) {
    const ssize_t count = read(file.get(), buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      result.problem = problem("read", path, errno);
      return result;
    }
    if (count == 0) return result;
    result.text.append(buffer, static_cast<size_t>(count));
    if (result.text.size() > bytes_max) {
      result.problem = FileProblem{"'" + path + "' is larger than " + std::to_string(bytes_max) +
                                       " bytes: this is not a configuration",
                                   "check the path"};
      return result;
    }
  }
}

FolderFiles list_files(const std::string& folder, const std::string& ending, size_t files_max) {
  FolderFiles result;
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(opendir(folder.c_str()), closedir);
  if (!stream) {
    if (errno != ENOENT) result.problem = problem("list", folder, errno);
    return result;
  }
  while (const dirent* entry = readdir(stream.get())) {
    const std::string name = entry->d_name;
    if (name.front() == '.' || !name.ends_with(ending)) continue;
    if (result.paths.size() == files_max) {
      result.problem = FileProblem{"'" + folder + "' has more than " + std::to_string(files_max) +
                                       " files that end in " + ending,
                                   "put several entries into one file"};
      return result;
    }
    result.paths.push_back(folder + "/" + name);
  }
  std::sort(result.paths.begin(), result.paths.end());
  return result;
}

}  // namespace kvtier::daemon
