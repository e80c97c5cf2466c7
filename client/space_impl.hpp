// Inside of Space, and the few lines that begin each of its calls.
#pragma once

#include <span>
#include <type_traits>

#include "client/guarded.hpp"
#include "client/key_chain.hpp"
#include "client/session_core.hpp"

namespace kvtier {
namespace client {

// Room for what a look-up finds, on the stack and not initialised: setting kilobytes to zero would
// cost a short look-up more than the looking. find_prefix() writes what it says it filled.
template <size_t kCount>
class FoundChunks {
 public:
  wire::FoundChunk* data() { return reinterpret_cast<wire::FoundChunk*>(bytes_); }
  wire::FoundChunk& operator[](size_t i) { return data()[i]; }
  std::span<wire::FoundChunk> span() { return {data(), kCount}; }

 private:
  static_assert(std::is_trivially_copyable_v<wire::FoundChunk>);
  alignas(wire::FoundChunk) std::byte bytes_[kCount * sizeof(wire::FoundChunk)];
};

}  // namespace client

struct Space::Impl {
  std::shared_ptr<client::SessionCore> core;
  client::SpaceRecord* record;

  // The attachment and this space in it. Either is empty when there is none now.
  struct Opened {
    client::AttachmentRef attachment;
    const client::OpenedSpace* space = nullptr;
    explicit operator bool() const { return space != nullptr; }
  };
  Opened open() const {
    Opened opened;
    opened.attachment = core->attached();
    if (opened.attachment) {
      opened.space = opened.attachment->spaces[record->number].load(std::memory_order_acquire);
    }
    return opened;
  }

  // Whether the chain is for spaces like this one.
  bool fits(const KeyChain& chain) const {
    return chain.impl() == nullptr || chain.impl()->group == record->group;
  }
  static Error wrong_chain() {
    return {Code::kInvalidArgument, "the key chain was derived for another model or chunk size"};
  }
  // Whether its keys mean anything to the daemon that is attached now.
  static bool current(const KeyChain& chain, const client::Attachment& attachment) {
    return chain.impl() == nullptr || chain.impl()->secret_id == attachment.secret_id;
  }
  static Error stale_chain() {
    return {Code::kUnavailable,
            "the tenant's secret changed with a restart of the daemon; derive the keys again"};
  }
};

}  // namespace kvtier
