// The shared memory of a tenant in the hands of a client without manners: its segments, writable,
// and which slot holds which chunk now. One thread. Never a client library: raw wire.
#pragma once

#include <map>
#include <span>
#include <string>

#include "kvtier/wire/lookup.hpp"
#include "tests/daemon/session/raw_client.hpp"

namespace kvtier::faults {

class TenantMemory {
 public:
  // Attaches; fails the test if it cannot.
  explicit TenantMemory(const std::string& socket);

  daemon::RawClient& client() { return client_; }
  wire::PublishedView view() const { return wire::PublishedView::of(client_.published()); }

  // Where the chunk lies now, whatever its space; empty when it is not resident.
  wire::Place place_of(ChunkKey key);
  // Its slot, header first; writable. Empty when it is not resident.
  std::span<std::byte> slot_of(ChunkKey key);
  // All segments of the tenant, mapped writable.
  std::vector<std::span<std::byte>> segments();

 private:
  std::span<std::byte> segment(uint32_t number);

  mutable daemon::RawClient client_;
  std::map<uint32_t, daemon::Mapping> mapped_;
};

}  // namespace kvtier::faults
