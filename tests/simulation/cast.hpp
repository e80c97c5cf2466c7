// Who and what the simulation is about: spaces, processes, prefetches under way; and how a run says
// that a promise did not hold.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <iterator>
#include <list>
#include <string>
#include <utility>

#include "tests/simulation/content.hpp"
#include "tests/simulation/simulated_client.hpp"

namespace kvtier::simulation {

inline constexpr uint32_t kPrompts = 10;
inline constexpr uint32_t kChunksPerPromptMax = 8;
inline constexpr uint32_t kCells = 64;
inline constexpr uint32_t kTokensPerChunk = 4;

// Ends a run: what was promised and did not hold.
struct Failure {
  std::string text;
};

template <typename... Args>
[[noreturn]] void fail(fmt::format_string<Args...> text, Args&&... args) {
  throw Failure{fmt::format(text, std::forward<Args>(args)...)};
}

inline std::string text_of(const ChunkName& name) {
  return fmt::format("tenant {} space {} prompt {} chunk {}", name.tenant, name.space, name.prompt,
                     name.position);
}

struct SpaceShape {
  const char* model;
  uint32_t shard, shards;
  uint64_t payload_bytes;
};
// Two slot sizes, and a group of two shards.
inline constexpr SpaceShape kSpaces[] = {{"small", 0, 1, 3 * wire::KiB},
                                         {"large", 0, 1, 11 * wire::KiB},
                                         {"group", 0, 2, 4 * wire::KiB},
                                         {"group", 1, 2, 4 * wire::KiB}};
inline constexpr uint32_t kSpaceCount = std::size(kSpaces);

struct Process {
  uint32_t tenant = 0;  // number in the simulation, not the core's
  uint32_t uid = 0;
  int pid = 0;
  bool alive = true;
  std::list<Attachment> attachments;  // the last one is current if it is live
};

struct Asked {  // a prefetch whose answer is due
  ChunkName first;
  uint32_t count = 0;
  uint64_t deadline_ns = 0;
};

}  // namespace kvtier::simulation
