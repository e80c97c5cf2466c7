// An engine of a test: one session, one space, prompts whose tokens and bytes follow from a number,
// so that every byte that comes back can be checked. One thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kvtier/kvtier.hpp"

namespace kvtier::faults {

struct ClientOptions {
  std::string socket;
  std::string name = "engine";
  std::string model = "faults";
  uint64_t chunk_bytes = 64 * wire::KiB;
  uint32_t tokens_per_chunk = 16;
  std::chrono::milliseconds call_deadline{5000};
  uint64_t salt = 0;  // bytes of equal prompts differ by it
};

// What came of one prompt.
struct ReadBack {
  size_t found = 0;   // chunks leased
  size_t loaded = 0;  // of these, said to be good
  size_t lower = 0;   // of these, brought from below by this call
  uint64_t wrong_bytes = 0;
  MissReason ended = MissReason::kNone;
  bool failed = false;  // a call ended with an error
};

class FaultClient {
 public:
  explicit FaultClient(const ClientOptions& options);

  bool wait_attached(std::chrono::milliseconds patience = std::chrono::seconds(20));
  Session& session() { return *session_; }
  Space& space() { return *space_; }
  void close();  // detaches

  KeyChain chain(uint64_t prompt, size_t chunks);
  // The bytes of a chunk of a prompt.
  std::vector<std::byte> bytes_of(uint64_t prompt, size_t chunk) const;
  uint64_t wrong_bytes(uint64_t prompt, size_t chunk, std::span<const std::byte> payload) const;

  // Outcomes by chunk; all kFailed when the call ended with an error.
  std::vector<StoreOutcome> store(uint64_t prompt, size_t chunks,
                                  std::chrono::milliseconds patience = std::chrono::seconds(10));
  // True when every chunk was stored.
  bool store_all(uint64_t prompt, size_t chunks);
  // Look-up, leases, loads with checks of every byte.
  ReadBack read(uint64_t prompt, size_t chunks);
  // The same by load_prefix(), wherever the chunks lie.
  ReadBack read_prefix(uint64_t prompt, size_t chunks,
                       std::chrono::milliseconds patience = std::chrono::seconds(10));
  Result<Match> match(uint64_t prompt, size_t chunks);
  ReadBack load(const Match& match, uint64_t prompt);

  // Grants for chunks [0, chunks); only those that were granted.
  std::vector<Grant> grants(uint64_t prompt, size_t chunks);
  // Writes the bytes of the prompt into them and commits.
  std::vector<StoreOutcome> commit(uint64_t prompt, std::span<Grant> grants);

 private:
  ClientOptions options_;
  std::unique_ptr<Session> session_;
  std::shared_ptr<Space> space_;
};

Clock::time_point in(std::chrono::milliseconds time);

}  // namespace kvtier::faults
