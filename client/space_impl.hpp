// Inside of Space, and the few lines that begin each of its calls.
#pragma once

#include "client/guarded.hpp"
#include "client/key_chain.hpp"
#include "client/session_core.hpp"

namespace kvtier {

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
