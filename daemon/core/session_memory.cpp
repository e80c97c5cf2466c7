// Laying out a session's memory. Core thread.
#include "daemon/core/session_memory.hpp"

#include <utility>

namespace kvtier::daemon {

Result<SessionMemory> SessionMemory::create(const SessionLayout& layout, uint32_t session,
                                            uint64_t epoch) {
  uint64_t offset = 0;
  const auto part = [&offset](uint64_t bytes) {
    const uint64_t begin = offset;
    offset += wire::round_up(bytes, wire::kPageBytes);
    return begin;
  };
  part(wire::kSessionHeaderBytes);
  const uint64_t submissions = part(sizeof(wire::Submission) * layout.submission_entries);
  const uint64_t completions = part(sizeof(wire::Completion) * layout.completion_entries);
  const uint64_t cells = part(sizeof(uint64_t) * layout.lease_cells);
  const uint64_t touches = part(sizeof(uint64_t) * layout.touch_entries);
  const uint64_t arguments = part(layout.argument_bytes);

  Result<Memfd> memory = create_memfd({"kvtier-session", offset});
  if (!memory.ok()) return memory.error();

  SessionMemory result;
  result.layout_ = layout;
  result.memory_ = std::move(memory).value();
  std::byte* base = result.memory_.mapping.data();
  auto* header = reinterpret_cast<wire::SessionHeader*>(base);
  header->version = wire::kProtocolVersion;
  header->session = session;
  header->bytes = result.memory_.mapping.bytes();
  header->epoch = epoch;
  header->submissions_offset = submissions;
  header->completions_offset = completions;
  header->cells_offset = cells;
  header->touches_offset = touches;
  header->args_offset = arguments;
  header->args_bytes = layout.argument_bytes;
  header->submission_entries = layout.submission_entries;
  header->completion_entries = layout.completion_entries;
  header->touch_entries = layout.touch_entries;
  header->cells_max = layout.lease_cells;
  header->magic = wire::kSessionMagic;
  result.header_ = header;
  result.submissions_ = reinterpret_cast<const wire::Submission*>(base + submissions);
  result.completions_ = reinterpret_cast<wire::Completion*>(base + completions);
  result.cells_ = reinterpret_cast<const std::atomic<uint64_t>*>(base + cells);
  result.touches_ = reinterpret_cast<const std::atomic<uint64_t>*>(base + touches);
  result.arguments_ = base + arguments;
  return result;
}

}  // namespace kvtier::daemon
