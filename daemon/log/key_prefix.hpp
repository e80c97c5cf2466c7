// The part of a key that may be shown: 8 hex digits, enough to follow a chunk through the log, too
// few to look it up. Whole keys, token ids and salts never go into a message. Any thread.
#pragma once

#include <array>
#include <string_view>

#include "kvtier/wire/types.hpp"

namespace kvtier::daemon {

class KeyPrefix {
 public:
  explicit constexpr KeyPrefix(const ChunkKey& key) {
    for (size_t i = 0; i < text_.size(); ++i) {
      text_[i] = "0123456789abcdef"[(key.hi >> (60 - 4 * i)) & 15];
    }
  }
  constexpr std::string_view view() const { return {text_.data(), text_.size()}; }

 private:
  std::array<char, 8> text_{};
};

}  // namespace kvtier::daemon
