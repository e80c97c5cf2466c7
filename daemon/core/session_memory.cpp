// Laying out a session's memory. Core thread.
#include "daemon/core/session_memory.hpp"

#include <bit>
#include <utility>

namespace kvtier::daemon {

struct SessionMemory::Parts {
  uint64_t submissions, completions, cells, touches, arguments, bytes;
};

SessionMemory::Parts SessionMemory::parts_of(const SessionLayout& layout) {
  uint64_t offset = 0;
  const auto part = [&offset](uint64_t bytes) {
    const uint64_t begin = offset;
    offset += wire::round_up(bytes, wire::kPageBytes);
    return begin;
  };
  part(wire::kSessionHeaderBytes);
  Parts parts = {};
  parts.submissions = part(sizeof(wire::Submission) * uint64_t{layout.submission_entries});
  parts.completions = part(sizeof(wire::Completion) * uint64_t{layout.completion_entries});
  parts.cells = part(sizeof(uint64_t) * uint64_t{layout.lease_cells});
  parts.touches = part(sizeof(uint64_t) * uint64_t{layout.touch_entries});
  parts.arguments = part(layout.argument_bytes);
  parts.bytes = offset;
  return parts;
}

void SessionMemory::point_at(const Parts& parts) {
  std::byte* base = memory_.mapping.data();
  header_ = reinterpret_cast<wire::SessionHeader*>(base);
  submissions_ = reinterpret_cast<const wire::Submission*>(base + parts.submissions);
  completions_ = reinterpret_cast<wire::Completion*>(base + parts.completions);
  cells_ = reinterpret_cast<const std::atomic<uint64_t>*>(base + parts.cells);
  touches_ = reinterpret_cast<const std::atomic<uint64_t>*>(base + parts.touches);
  arguments_ = base + parts.arguments;
}

Result<SessionMemory> SessionMemory::create(const SessionLayout& layout, uint32_t session,
                                            uint64_t epoch) {
  const Parts parts = parts_of(layout);
  // Behind the parts of the layout, so that their places are those of every version.
  constexpr uint64_t kPlanBytes = sizeof(wire::PlanCell) * kPlanEntries;
  Result<Memfd> memory =
      create_memfd({"kvtier-session", parts.bytes + wire::round_up(kPlanBytes, wire::kPageBytes)});
  if (!memory.ok()) return memory.error();

  SessionMemory result;
  result.layout_ = layout;
  result.memory_ = std::move(memory).value();
  result.point_at(parts);
  result.plans_ =
      reinterpret_cast<const wire::PlanCell*>(result.memory_.mapping.data() + parts.bytes);
  wire::SessionHeader* header = result.header_;
  header->version = wire::kProtocolVersion;
  header->session = session;
  header->bytes = result.memory_.mapping.bytes();
  header->epoch = epoch;
  header->submissions_offset = parts.submissions;
  header->completions_offset = parts.completions;
  header->cells_offset = parts.cells;
  header->touches_offset = parts.touches;
  header->args_offset = parts.arguments;
  header->args_bytes = layout.argument_bytes;
  header->plans_offset = parts.bytes;
  header->plan_entries = kPlanEntries;
  header->submission_entries = layout.submission_entries;
  header->completion_entries = layout.completion_entries;
  header->touch_entries = layout.touch_entries;
  header->cells_max = layout.lease_cells;
  header->magic = wire::kSessionMagic;
  return result;
}

Result<SessionMemory> SessionMemory::adopt(Fd fd, const SessionLayout& layout) {
  const bool powers = std::has_single_bit(layout.submission_entries) &&
                      std::has_single_bit(layout.completion_entries) &&
                      std::has_single_bit(layout.touch_entries);
  if (!powers || layout.lease_cells > wire::kLeaseCellsMax ||
      layout.argument_bytes > (uint64_t{1} << 40)) {
    return Error(Code::kCorrupt, "the layout of a session's memory is none");
  }
  const Parts parts = parts_of(layout);
  Result<Memfd> memory = adopt_memfd(std::move(fd), parts.bytes, Pages::kSmall);
  if (!memory.ok()) return memory.error();
  SessionMemory result;
  result.layout_ = layout;
  result.memory_ = std::move(memory).value();
  result.point_at(parts);
  return result;
}

}  // namespace kvtier::daemon
