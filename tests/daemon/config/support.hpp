// Helpers of the configuration tests: rows as fields, folders that vanish, searches in problems.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "daemon/config/load.hpp"

namespace kvtier::daemon {

// A folder of the test's own, removed at the end.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "kvtier-test-XXXXXX").string();
    path_ = mkdtemp(pattern.data()) != nullptr ? pattern : "";
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::string path(const std::string& name) const { return path_ + "/" + name; }
  std::string write(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories(std::filesystem::path(path(name)).parent_path());
    std::ofstream(path(name), std::ios::binary) << text;
    return path(name);
  }

 private:
  std::string path_;
};

inline std::string read_all(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// Compares a generated document with the one in the tree; KVTIER_UPDATE=1 writes it instead.
inline void expect_document(const std::string& relative, const std::string& text) {
  const std::string path = std::string(KVTIER_SOURCE_DIR) + "/" + relative;
  if (getenv("KVTIER_UPDATE") != nullptr) std::ofstream(path, std::ios::binary) << text;
  EXPECT_EQ(read_all(path), text) << relative << " is out of date: run this test with "
                                  << "KVTIER_UPDATE=1 in the environment";
}

inline ConfigOutcome parse(const std::string& text) {
  return parse_config_text(text, "k.toml");
}

inline std::string rendered(const ConfigOutcome& outcome) {
  return render_problems(outcome.problems, Color::kNever);
}

}  // namespace kvtier::daemon
