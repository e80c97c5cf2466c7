// Logging chunks as used without holding them. Any thread.
#pragma once

#include <span>

#include "client/attachment.hpp"

namespace kvtier::client {

// Logs those of keys [0, count) that are in host memory, tail to head; the number that did not fit.
uint64_t touch_resident(Attachment& attachment, std::span<const ChunkKey> keys, size_t count,
                        uint32_t space);

}  // namespace kvtier::client
