// One attachment to one incarnation of the daemon: everything that is mapped, and the ways to use
// it. Made by the maintenance thread, used by any thread that holds an AttachmentRef, torn down
// when the last one goes (every Match and Grant holds one). It never attaches again: a daemon that
// comes back is another Attachment, and what this one mapped stays valid until then.
#pragma once

#include <array>
#include <atomic>
#include <memory>

#include "client/attach.hpp"
#include "client/lease_cells.hpp"
#include "client/life_count.hpp"
#include "client/plan_log.hpp"
#include "client/ring.hpp"
#include "client/segments.hpp"
#include "client/touch_log.hpp"
#include "kvtier/wire/lookup.hpp"

namespace kvtier::client {

class SessionCore;

// A space as this attachment's daemon knows it.
struct OpenedSpace {
  uint32_t id = 0;
  uint32_t number = 0;  // in the published table
  uint32_t header_bytes = 0;
  uint32_t group = 0;
  uint64_t slot_bytes = 0;
  uint32_t shards = 1;
  // Ids of the other shards' spaces; known once all were seen. Ids are never reused.
  std::atomic<bool> siblings_known{false};
  std::array<std::atomic<uint32_t>, wire::kShardsMax> siblings = {};
};

class Attachment {
 public:
  // Throws bad_alloc.
  Attachment(AttachedMemory memory, std::shared_ptr<SessionCore> core, bool read_only, int kick_fd);

  wire::SessionHeader& header() const {
    return *reinterpret_cast<wire::SessionHeader*>(session_memory_.data());
  }
  void count(wire::Counter counter, uint64_t number) const {
    header().counters[static_cast<size_t>(counter)].fetch_add(number, std::memory_order_relaxed);
  }
  uint64_t revocations() const { return header().revocations.load(std::memory_order_acquire); }
  // The check at the end of a load (protocol.md, section 4): bytes read before this call were what
  // the leases said, if nothing was revoked since `revocations_before`.
  Status check(uint64_t revocations_before) const;

  const uint64_t epoch;
  const uint32_t session;
  const uint32_t verify_default;
  const wire::KeySecret secret;
  const uint64_t secret_id;  // a hash of it: keys of another secret are of no use here

 private:
  Mapping published_;
  Mapping session_memory_;

 public:
  const wire::PublishedView view;
  ControlChannel control;
  LeaseCells cells;
  TouchLog touches;
  PlanLog plans;
  Ring ring;
  Segments segments;
  std::atomic<bool> ended{false};  // the socket's end of file was seen
  // By the number of the space in the session; null until opened here.
  std::array<std::atomic<OpenedSpace*>, wire::kSpacesMax> spaces = {};

  const Mapping& published() const { return published_; }

  // For the core's lists.
  std::shared_ptr<SessionCore> core;
  Attachment* next = nullptr;

  ~Attachment();
};

// A counted place for attachments, never freed before the core, so that a thread may try to hold
// one that is just ending.
struct AttachmentSlot {
  LifeCount life;
  Attachment* attachment = nullptr;  // while alive
};

// Holds an attachment. Move-only.
class AttachmentRef {
 public:
  AttachmentRef() = default;
  explicit AttachmentRef(AttachmentSlot* held) : slot_(held) {}
  AttachmentRef(AttachmentRef&& other) noexcept : slot_(std::exchange(other.slot_, nullptr)) {}
  AttachmentRef& operator=(AttachmentRef&& other) noexcept {
    if (this != &other) {
      reset();
      slot_ = std::exchange(other.slot_, nullptr);
    }
    return *this;
  }
  AttachmentRef(const AttachmentRef&) = delete;
  AttachmentRef& operator=(const AttachmentRef&) = delete;
  ~AttachmentRef() { reset(); }

  AttachmentRef another() const {
    slot_->life.acquire();
    return AttachmentRef(slot_);
  }
  explicit operator bool() const { return slot_ != nullptr; }
  Attachment* operator->() const { return slot_->attachment; }
  Attachment& operator*() const { return *slot_->attachment; }
  Attachment* get() const { return slot_ == nullptr ? nullptr : slot_->attachment; }
  void reset();
  // In a forked child: forgets it and touches nothing.
  void leak() { slot_ = nullptr; }

 private:
  AttachmentSlot* slot_ = nullptr;
};

}  // namespace kvtier::client
