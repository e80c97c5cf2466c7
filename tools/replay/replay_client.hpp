// One client of a replay: a session of its own that serves whole requests, one after the other, as
// an engine would: look up the longest resident prefix, load it, store what is missing tail to
// head, touch what was found. Owned by one thread. Keeps its leases while it stores, so that a
// request never evicts what it just hit.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kvtier/kvtier.hpp"
#include "tools/replay/replay_totals.hpp"
#include "tools/trace/trace_source.hpp"

namespace kvtier::tools {

struct ReplayClientOptions {
  std::string socket;
  std::string model;  // names the space, together with the chunk's shape
  std::string name;   // of the session, for operators
  uint64_t bytes_per_token = 128;
  uint64_t chunks_max = UINT64_MAX;  // of a request, stored at most: its head
  bool verify = false;
  bool drop = false;  // never wait for room
  std::chrono::milliseconds attach_timeout{5'000};
};

class ReplayClient {
 public:
  // Attached when it returns. Errors: as Session::open and wait_attached. `stop` set: calls that
  // wait for room return.
  static Result<std::unique_ptr<ReplayClient>> open(const ReplayClientOptions& options,
                                                    const std::atomic<bool>& stop);

  // Serves one request and counts. An error is one after which going on makes no sense: the shape
  // of the chunks is refused, or the daemon is gone. Everything else is counted.
  Status serve(const TraceRequest& request);

  const ReplayTotals& totals() const { return totals_; }

 private:
  struct Shape {
    std::shared_ptr<Space> space;
    uint32_t block_tokens = 0;
    uint64_t chunk_bytes = 0;
  };
  // One request under way.
  struct Path {
    const Shape& shape;
    std::span<const uint64_t> ids;
    KeyChain chain;
    Match match;
    size_t lower = 0;  // chunks that were on nvme at the look-up
    size_t hit = 0;
    bool touch_all = false;  // chunks behind the prefix were found present
  };

  ReplayClient(const ReplayClientOptions& options, const std::atomic<bool>& stop)
      : options_(options), stop_(stop) {}
  Result<const Shape*> shape_for(uint32_t block_tokens);
  Status find(Path& path);
  void load(Path& path);
  size_t load_batch(Path& path, size_t first, size_t count);
  Status store(Path& path);
  Result<size_t> store_batch(Path& path, std::span<const size_t> chunks);
  size_t copy_and_commit(Path& path, std::span<const size_t> chunks, std::vector<Reservation>& made,
                         size_t usable);
  bool wait_for_room(Path& path, StoreOutcome outcome, std::chrono::microseconds retry_after);
  void touch(Path& path);
  void fail(const char* what, const char* why, uint64_t calls = 1);
  Status lost(const char* what, const Error& error);

  const ReplayClientOptions options_;
  const std::atomic<bool>& stop_;
  std::unique_ptr<Session> session_;
  std::map<uint32_t, Shape> shapes_;  // by tokens of a block
  std::vector<uint32_t> tokens_;
  std::vector<std::byte> load_buffer_;
  std::vector<std::byte> store_buffer_;
  std::vector<Fragment> fragments_;
  std::vector<LoadTarget> targets_;
  uint64_t touches_logged_ = 0;  // since the daemon was last known to have taken them all
  uint64_t touches_dropped_ = 0;
  Clock::time_point full_since_{};  // no room since; the epoch: there was
  ReplayTotals totals_;
};

}  // namespace kvtier::tools
