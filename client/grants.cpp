// Grant, Space::reserve and Space::commit.
#include <algorithm>

#include "client/grant_impl.hpp"
#include "client/reserve.hpp"
#include "kernels/checksum.hpp"

namespace kvtier {

using client::guarded;

Grant::Grant() = default;
Grant::~Grant() {
  if (impl_ == nullptr) return;
  if (impl_->forked()) {
    (void)impl_.release();  // the parent's slot; nothing here may be touched
    return;
  }
  abort();
}
Grant::Grant(Grant&&) noexcept = default;
Grant& Grant::operator=(Grant&& other) noexcept {
  if (this != &other) {
    Grant old(std::move(*this));
    impl_ = std::move(other.impl_);
  }
  return *this;
}

bool Grant::held() const {
  return impl_ != nullptr && !impl_->forked() && impl_->held();
}
size_t Grant::chunk() const {
  return impl_ == nullptr ? 0 : impl_->chunk;
}
std::span<std::byte> Grant::payload() const {
  if (!held()) return {};
  return impl_->payload;
}
void Grant::abort() {
  if (!held()) return;
  impl_->attachment->ring.abort_grant(impl_->place.word());
  impl_->done();
}

namespace {

Status check_chunks(const KeyChain& chain, std::span<const size_t> chunks) {
  for (const size_t chunk : chunks) {
    if (chunk >= chain.size()) {
      return Error::format(Code::kInvalidArgument, "chunk %zu of a chain of %zu", chunk,
                           chain.size());
    }
  }
  return {};
}

void count_reserved(const client::Attachment& attachment, std::span<const Reservation> made) {
  uint64_t present = 0;
  uint64_t refused = 0;
  for (const Reservation& one : made) {
    if (one.outcome == StoreOutcome::kPresent) ++present;
    if (one.outcome != StoreOutcome::kPresent && one.outcome != StoreOutcome::kStored) ++refused;
  }
  if (present != 0) attachment.count(wire::Counter::kStoresPresent, present);
  if (refused != 0) attachment.count(wire::Counter::kStoresRefused, refused);
}

}  // namespace

Result<std::vector<Reservation>> Space::reserve(const KeyChain& chain,
                                                std::span<const size_t> chunks,
                                                Clock::time_point deadline) const {
  if (impl_->core->forked()) return client::forked_error();
  if (!impl_->fits(chain)) return Impl::wrong_chain();
  if (Status status = check_chunks(chain, chunks); !status) return status.error();
  if (impl_->core->options().read_only) {
    return Error(Code::kPermission, "the session is read-only; it gets no grants");
  }
  return guarded<std::vector<Reservation>>([&]() -> Result<std::vector<Reservation>> {
    std::vector<Reservation> all;
    if (chunks.empty()) return all;
    const Impl::Opened opened = impl_->open();
    if (!opened) return impl_->core->refusal_of(*impl_->record).error();
    if (!Impl::current(chain, *opened.attachment)) return Impl::stale_chain();
    all.reserve(chunks.size());
    while (all.size() < chunks.size()) {
      size_t taken = 0;
      auto asked = client::Reserving::ask(*impl_, opened, *chain.impl(), chunks.subspan(all.size()),
                                          deadline, &taken);
      if (!asked) return asked.error();
      auto made = asked->take(deadline);
      if (!made) return made.error();
      count_reserved(*opened.attachment, *made);
      for (Reservation& one : *made) all.push_back(std::move(one));
    }
    return all;
  });
}

Result<std::vector<StoreOutcome>> Space::commit(std::span<Grant> grants,
                                                std::span<const uint64_t> checksums,
                                                Clock::time_point deadline) const {
  if (impl_->core->forked()) return client::forked_error();
  if (!checksums.empty() && checksums.size() != grants.size()) {
    return Error::format(Code::kInvalidArgument, "%zu checksums for %zu grants", checksums.size(),
                         grants.size());
  }
  for (const Grant& grant : grants) {
    if (!grant.held()) return Error(Code::kInvalidArgument, "a grant is not held any more");
  }
  kernels::stores_done();  // whatever the engine wrote with streaming stores is in the slot first
  return guarded<std::vector<StoreOutcome>>([&]() -> Result<std::vector<StoreOutcome>> {
    std::vector<StoreOutcome> outcomes(grants.size(), StoreOutcome::kFailed);
    std::array<client::Committing::Item, wire::kBatchChunksMax> items;
    for (size_t begin = 0; begin < grants.size();) {
      client::AttachmentRef attachment = grants[begin].impl_->attachment.another();
      size_t count = 0;
      while (begin + count < grants.size() && count < items.size() &&
             grants[begin + count].impl_->attachment.get() == attachment.get()) {
        const size_t i = begin + count;
        items[count] = {grants[i].impl_->place, checksums.empty() ? 0 : checksums[i],
                        !checksums.empty()};
        ++count;
      }
      client::Attachment* const counted = attachment.get();
      const client::AttachmentRef held = attachment.another();
      auto asked = client::Committing::ask(std::move(attachment), {items.data(), count}, deadline);
      if (!asked && begin == 0) return asked.error();
      if (!asked) return outcomes;  // these grants and the ones behind are still held
      const std::span<StoreOutcome> part = std::span(outcomes).subspan(begin, count);
      (void)asked->take(part, deadline);  // an error leaves kFailed
      uint64_t stored = 0;
      for (size_t i = 0; i < count; ++i) {
        if (part[i] != StoreOutcome::kFailed) ++stored;
        grants[begin + i].impl_->done();
      }
      counted->count(wire::Counter::kStores, stored);
      counted->count(wire::Counter::kStoreBytes, stored * impl_->record->spec.chunk_bytes);
      if (stored < count) counted->count(wire::Counter::kStoresFailed, count - stored);
      begin += count;
    }
    return outcomes;
  });
}

}  // namespace kvtier
