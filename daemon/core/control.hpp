// What operators may ask the core to do: the admin thread's only way in. Each call is carried out
// on the core thread between two turns; the caller waits for its answer with a deadline.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "daemon/core/curve_snapshot.hpp"
#include "daemon/core/snapshot.hpp"
#include "daemon/planner/plan_log.hpp"
#include "kvtier/result.hpp"

namespace kvtier::daemon {

enum class ChunkAction : uint8_t { kDrop, kPin, kUnpin };

// Implemented by the core; called only through Mailbox.
class Control {
 public:
  virtual ~Control() = default;
  virtual CoreSnapshot snapshot() = 0;
  // `key`: 32 hex digits, or a unique head of at least 8. Every tenant and shard that has it.
  virtual std::vector<ChunkSnapshot> show_chunk(const std::string& key) = 0;
  // Newest first, at most `count`.
  virtual std::vector<ChunkSnapshot> list_chunks(size_t count) = 0;
  // Number of chunks acted on. Errors: not_found, invalid_argument (bad key, ambiguous).
  virtual Result<uint64_t> act_on_chunk(const std::string& key, ChunkAction action,
                                        double pin_seconds) = 0;
  // Plans, newest first, at most `count`: see PlanLog::find.
  virtual std::vector<LoggedPlan> explain(const std::string& select, size_t count) = 0;
  // What tiers of other sizes would have hit, a row each tenant.
  virtual std::vector<CurveSnapshot> curves() = 0;
  // Ends a session; its leases and grants return when the client gives them up or ends.
  virtual Status kill_session(uint32_t session) = 0;
  // Drops every chunk of a tenant ("" for all) that nobody holds; number dropped.
  virtual Result<uint64_t> flush(const std::string& tenant) = 0;
  // Whether nothing that was flushed can come back any more, with a kill or a power cut.
  virtual bool flush_settled() = 0;
  // Begins a pass over all that lies below host memory, at this rate; 0 ends the one under way.
  // Errors: unsupported (no such tier).
  virtual Status scrub(uint64_t bytes_per_second) = 0;
  // Effective configuration as TOML and as name/value pairs; reload as SIGHUP does.
  virtual std::string config_text() = 0;
  virtual Result<std::vector<std::string>>
  reload_config() = 0;  // names changed; error says why not
};

// Runs functions on the core thread. post_wait() from other threads only.
class Mailbox {
 public:
  virtual ~Mailbox() = default;
  // Runs `call` on the core thread and waits. Errors: deadline (the core is busy or stuck), full.
  virtual Status post_wait(std::function<void(Control&)> call, uint64_t timeout_ns) = 0;
};

}  // namespace kvtier::daemon
