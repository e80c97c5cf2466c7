// A part of an engine's memory, as loads and stores take it. Plain data.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kvtier {

// Payload bytes are the fragments' bytes in the order of the list.
struct Fragment {
  std::byte* data;
  size_t bytes;
};
struct ConstFragment {
  const std::byte* data;
  size_t bytes;
};

}  // namespace kvtier
