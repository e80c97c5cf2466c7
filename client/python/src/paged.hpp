// An engine's paged KV memory: where a block's bytes lie. A payload of blocks b0, b1, ... is, block
// after block, each plane's bytes of it. Plain data, any thread.
#pragma once

#include <vector>

#include "client/python/src/common.hpp"

namespace kvtier::python {

struct Plane {
  uintptr_t address;      // of block 0
  uint64_t block_stride;  // bytes from one block to the next
  uint64_t bytes;         // of a block
};

struct PagedLayout {
  std::vector<Plane> planes;
  uint64_t blocks;  // in the memory
  uint64_t block_bytes = 0;

  PagedLayout(std::vector<Plane> all, uint64_t count);
  // Throws WrongUse for a block that is not there.
  std::vector<Fragment> fragments(const int64_t* first, size_t count) const;
};

// blocks: all chunks' blocks, in order. One list of fragments a chunk.
std::vector<std::vector<Fragment>> chunk_fragments(const PagedLayout& layout,
                                                   const std::vector<int64_t>& blocks,
                                                   size_t chunks);

}  // namespace kvtier::python
