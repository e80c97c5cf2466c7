// What every tier below host memory offers (device arena, nvme, remote store): room, asynchronous
// movement of whole slots — header and payload, the same bytes as in a host slot — and forgetting.
// Adding a tier means implementing this and a row in the configuration.
//
// Core thread only. Nothing here waits: begin_*() hands a transfer over, poll() brings its result.
// A tier never interprets the bytes; the caller checks header and checksum of whatever comes back,
// so a tier may lose, mix up or damage chunks without ever causing wrong bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kvtier/result.hpp"
#include "kvtier/wire/key.hpp"
#include "kvtier/wire/types.hpp"

namespace kvtier::daemon {

// A chunk's place inside a tier: 1 + the number of a slot of that tier, at most slots_max().
// Numbers are handed out from the bottom and used again, so callers keep what they know of slots in
// vectors that grow with the highest place seen (slots_max() is for the smallest slots: far too
// many to reserve). 0 is none.
using TierPlace = uint32_t;

// What identifies a chunk's bytes. A tier records it beside the bytes and hands it back after a
// restart; the caller compares it with the header of every chunk that it reads.
struct TierChunk {
  ChunkKey key;
  wire::Fingerprint space;  // fingerprint of the space
  uint64_t payload_bytes = 0;
  uint64_t checksum = 0;  // root of the payload's checksum tree
  uint32_t header_bytes = 0;
  uint32_t tokens = 0;  // tokens per chunk of the space
  uint32_t position = 0;
  bool operator==(const TierChunk&) const = default;

  // What is moved: header and payload, in whole pages.
  uint64_t bytes() const { return wire::round_up(header_bytes + payload_bytes, wire::kPageBytes); }
};

struct TierCapacity {
  uint64_t capacity_bytes = 0;
  uint64_t used_bytes = 0;    // slots that hold chunks, are being written or not yet free again
  uint64_t queued_bytes = 0;  // of transfers under way
  bool in_service = true;     // false: every begin_*() is refused until it recovers
};

// Writes `data` (chunk.bytes() long, not to be changed before its completion) to a new place.
struct TierWrite {
  uint64_t ticket;  // the caller's, comes back with the completion
  uint32_t tenant;
  TierChunk chunk;
  std::span<const std::byte> data;
};

// Reads chunk.bytes() at `place` into `target`.
struct TierRead {
  uint64_t ticket;
  TierPlace place;
  std::span<std::byte> target;
};

struct TierCompletion {
  uint64_t ticket = 0;
  Code code = Code::kOk;  // kOk, kSystem (an error of the device), kCorrupt, kNotFound
  TierPlace place = 0;    // of a read, and of a write that succeeded
  uint64_t bytes = 0;
  double seconds = 0;  // from begin to end
  // The transfer was given up (code is not kOk), but the device may still write into a read's
  // target or read a write's data: that memory must not be used for anything else until a second
  // completion of the same ticket comes, without this. That one only returns the memory.
  bool memory_in_use = false;
};

// A chunk that was there before this process: TierPlace, whose, and what it is.
struct TierRecord {
  TierPlace place = 0;
  uint32_t tenant = 0;
  TierChunk chunk;
};

// One device of a tier, for operators. Counters since the start of this process.
struct TierDevice {
  std::string name;    // its path
  std::string state;   // starting, ok, out_of_service (probed back in), failed (until a restart)
  std::string reason;  // why it is not ok, or ""
  uint64_t capacity_bytes = 0;
  uint64_t used_bytes = 0;
  uint64_t prepared_bytes = 0;  // written once at creation, so that first writes are not slow
  uint64_t prepare_bytes = 0;   // of how many
  uint64_t reads = 0, writes = 0, read_bytes = 0, write_bytes = 0;
  uint64_t read_errors = 0, write_errors = 0, timeouts = 0;
  uint64_t times_out_of_service = 0;
  double read_seconds = 0, write_seconds = 0;  // sums over transfers, from submission to end
  uint64_t queued_reads = 0, queued_writes = 0, in_flight = 0;
  uint64_t chunk_write_bytes = 0;    // headers and payloads in it
  uint64_t prepare_write_bytes = 0;  // of write_bytes: zeros written ahead of the first use
  // What may still be written now; UINT64_MAX: no budget.
  uint64_t budget_second_bytes_left = UINT64_MAX;
  uint64_t budget_day_bytes_left = UINT64_MAX;

  // Bytes that went to the device for each byte of chunks; 0: none were written.
  double write_amplification() const {
    if (chunk_write_bytes == 0) return 0;
    return static_cast<double>(write_bytes - prepare_write_bytes) /
           static_cast<double>(chunk_write_bytes);
  }
};

// Something an operator should read once.
struct TierNotice {
  bool is_warning = false;
  std::string text;
};

class Tier {
 public:
  virtual ~Tier() = default;

  virtual wire::Tier kind() const = 0;
  virtual TierCapacity capacity() const = 0;
  virtual uint32_t slots_max() const = 0;

  // Slots of a tenant are apart on the medium too. `name` is what survives a restart; `number` is
  // what this process calls it. Before the first write of the tenant.
  virtual void know_tenant(uint32_t number, const std::string& name) = 0;

  // Errors: full (no free slot that fits: forget something of the tenant's and this size, then try
  // again later), deadline (the write budget is used up for now), unavailable (out of service, or
  // the queue is full: poll first). An error leaves nothing behind.
  virtual Status begin_write(const TierWrite& write) = 0;
  // Errors: not_found, invalid_argument (another size), unavailable.
  virtual Status begin_read(const TierRead& read) = 0;
  // The place holds nothing any more; its slot can be written again once that is recorded, which
  // may take a while. A read of it that is under way may still succeed.
  virtual void forget(TierPlace place) = 0;
  // All that was forgotten stays so, whatever becomes of process and machine, once settled() says
  // it of the number.
  virtual uint64_t settle() { return 0; }
  virtual bool settled(uint64_t) const { return true; }
  // Slots of this tenant and size that begin_write() will find, at once or when what was forgotten
  // has been recorded. Those of devices out of service do not count.
  virtual uint64_t room(uint32_t tenant, uint64_t chunk_bytes) const = 0;

  // begin_write() says full and the tenant has nothing of this size to forget, or too little of the
  // tier: places to forget, perhaps of another tenant or size, that together free space for this
  // one; how many. Call again for more of the same until room() says so. 0: there is none to give.
  virtual size_t make_room(uint32_t tenant, uint64_t chunk_bytes, std::span<TierPlace> out) = 0;

  // The largest slot that a chunk may need here.
  virtual uint64_t slot_bytes_max() const { return UINT64_MAX; }
  // Which of devices() a place lies on: each forgets its own oldest chunks, so that none of them is
  // written more than the others.
  virtual uint32_t device_of(TierPlace) const { return 0; }
  virtual bool serves(uint32_t) const { return capacity().in_service; }

  // Hands what was begun since the last call to the devices, at once: a device is told of several
  // transfers as fast as of one. poll() does it too; who begins transfers calls it in the same
  // turn.
  virtual void submit() {}
  // Results of finished transfers, at most out.size(); how many.
  virtual size_t poll(std::span<TierCompletion> out) = 0;
  // Readable when poll() has something; -1: poll once a turn.
  virtual int completion_fd() const = 0;
  // Once in a while: probes, budgets, time-outs.
  virtual void tick() = 0;

  // After a restart: chunks found, in pieces of at most out.size(); how many. recovering() until
  // all were handed over; names of tenants found come first, from recovered_tenants(), and are to
  // be made known before. A chunk the caller does not want is to be forgotten.
  virtual bool recovering() const = 0;
  virtual std::vector<std::string> recovered_tenants() = 0;
  virtual size_t recovered(std::span<TierRecord> out) = 0;

  // Memory in which most transfers begin or end (host segments): a tier may prepare it once instead
  // of for each transfer. Nothing under way may lie in memory that is unregistered. An error means
  // that it goes the longer way.
  virtual Status register_memory(std::span<std::byte>) { return {}; }
  virtual void unregister_memory(std::span<std::byte>) {}

  virtual std::vector<TierDevice> devices() const { return {}; }
  virtual std::vector<TierNotice> take_notices() { return {}; }
};

}  // namespace kvtier::daemon
