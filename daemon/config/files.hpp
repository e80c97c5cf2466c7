// Reading small text files and listing a folder, with errors a person can act on. Only reads; any
// thread; may wait for the disk, so never on the core thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace kvtier::daemon {

struct FileProblem {
  std::string message;
  std::string help;
};

struct FileText {
  std::string text;
  std::optional<FileProblem> problem;
};
FileText read_text_file(const std::string& path, size_t bytes_max);

struct FolderFiles {
  std::vector<std::string> paths;  // by name
  std::optional<FileProblem> problem;
};
// The files of `folder` whose names end so and do not start with a dot. An absent folder has none.
FolderFiles list_files(const std::string& folder, const std::string& ending, size_t files_max);

}  // namespace kvtier::daemon
