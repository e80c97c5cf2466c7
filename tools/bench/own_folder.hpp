// A folder of a benchmark's own in --dir, for a slab; gone at the end. One thread.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <string>

#include "kvtier/result.hpp"

namespace kvtier::tools {

class OwnFolder {
 public:
  explicit OwnFolder(const std::string& where)
      : where_(where), path_(std::filesystem::absolute(where).string() + "/kvtier-bench-XXXXXX") {
    is_made_ = ::mkdtemp(path_.data()) != nullptr;
  }
  ~OwnFolder() {
    std::error_code ignored;
    if (is_made_) std::filesystem::remove_all(path_, ignored);
  }
  OwnFolder(const OwnFolder&) = delete;
  OwnFolder& operator=(const OwnFolder&) = delete;

  // Errors: invalid_argument.
  Status made() const {
    if (is_made_) return {};
    return Error::format(Code::kInvalidArgument, "no folder can be made in %.200s: see --dir",
                         where_.c_str());
  }
  const std::string& path() const { return path_; }

 private:
  std::string where_;
  std::string path_;
  bool is_made_ = false;
};

}  // namespace kvtier::tools
