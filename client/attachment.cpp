#include "client/attachment.hpp"

#include "client/session_core.hpp"

namespace kvtier::client {
namespace {

template <typename T>
T* at(const Mapping& mapping, uint64_t offset) {
  return reinterpret_cast<T*>(mapping.data() + offset);
}

uint64_t id_of(const wire::KeySecret& secret) {
  return XXH3_64bits(secret.bytes, sizeof secret.bytes);
}

}  // namespace

Attachment::Attachment(AttachedMemory memory, std::shared_ptr<SessionCore> owner, bool read_only,
                       int kick_fd)
    : epoch(memory.epoch),
      session(memory.session),
      verify_default(memory.verify_default),
      secret(memory.secret),
      secret_id(id_of(memory.secret)),
      published_(std::move(memory.published)),
      session_memory_(std::move(memory.session_memory)),
      view(wire::PublishedView::of(published_.data())),
      control(std::move(memory.socket), memory.version),
      cells(&header(), at<std::atomic<uint64_t>>(session_memory_, header().cells_offset),
            header().cells_max),
      touches(&header(), at<std::atomic<uint64_t>>(session_memory_, header().touches_offset),
              header().touch_entries),
      plans(&header(), at<wire::PlanCell>(session_memory_, header().plans_offset),
            header().plan_entries),
      ring(
          {
              .header = &header(),
              .submissions = at<wire::Submission>(session_memory_, header().submissions_offset),
              .completions = at<wire::Completion>(session_memory_, header().completions_offset),
              .arguments = at<std::byte>(session_memory_, header().args_offset),
              .submission_eventfd = std::move(memory.submission_eventfd),
              .completion_eventfd = std::move(memory.completion_eventfd),
          },
          kick_fd),
      segments(view, &control, read_only ? Access::kRead : Access::kReadWrite, kick_fd),
      core(std::move(owner)) {}

Attachment::~Attachment() {
  for (auto& space : spaces) delete space.load(std::memory_order_relaxed);
}

Status Attachment::check(uint64_t revocations_before) const {
  std::atomic_thread_fence(std::memory_order_acquire);  // E
  const wire::SessionHeader& words = header();
  if (words.revocations.load(std::memory_order_relaxed) != revocations_before) {
    return Error(Code::kRevoked, "a lease of this session was revoked; recompute");
  }
  if (view.header->epoch.load(std::memory_order_relaxed) != epoch ||
      words.ended.load(std::memory_order_relaxed) != 0 || ended.load(std::memory_order_relaxed)) {
    return Error(Code::kUnavailable, "the daemon ended this session or stopped; recompute");
  }
  return {};
}

void AttachmentRef::reset() {
  if (slot_ == nullptr) return;
  AttachmentSlot* slot = std::exchange(slot_, nullptr);
  if (slot->life.release()) SessionCore::last_released(slot);
}

}  // namespace kvtier::client
