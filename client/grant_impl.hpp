// Inside of Grant: an empty slot held for one chunk. One thread at a time.
#pragma once

#include "client/session_core.hpp"

namespace kvtier {

struct Grant::Impl {
  Impl(const client::ForkGuard& fork_guard, client::AttachmentRef held_attachment,
       client::Segments::Use segment_use)
      : guard(fork_guard), attachment(std::move(held_attachment)), use(std::move(segment_use)) {}

  bool held() const { return attachment && place.word() != 0; }
  bool forked() const { return attachment && guard.forked(); }
  // The slot is committed or given back: nothing is held any more.
  void done() {
    place = {};
    payload = {};
    use.end();
    attachment.reset();
  }

  const client::ForkGuard& guard;    // lives in the core, which the attachment keeps
  client::AttachmentRef attachment;  // destroyed last
  client::Segments::Use use;
  wire::Place place;
  size_t chunk = 0;
  std::span<std::byte> payload;
};

// Makes Grants from inside the library.
struct GrantAccess {
  static Grant make(std::unique_ptr<Grant::Impl> impl) {
    Grant grant;
    grant.impl_ = std::move(impl);
    return grant;
  }
};

}  // namespace kvtier
