// What a daemon holds: sessions, slots, segments, descriptors, memory. What must be the same before
// and after a load, with no client attached, and flat during one. One thread.
#pragma once

#include <nlohmann/json.hpp>

#include "tests/faults/fault_daemon.hpp"

namespace kvtier::faults {

struct Footprint {
  uint64_t sessions = 0, granted = 0, retired = 0, quarantined = 0, segments = 0, bytes = 0;
  double fds = 0, rss = 0;

  static Footprint of(const FaultDaemon& daemon) {
    const nlohmann::json tier = daemon.ask("/v1/tiers/host");
    Footprint print;
    print.sessions = daemon.sessions();
    print.granted = tier.at("granted_slots");
    print.retired = tier.at("retired_slots");
    print.quarantined = tier.at("quarantined_slots");
    print.segments = tier.at("segments");
    print.bytes = tier.at("allocated_bytes");
    print.fds = daemon.metric("kvtier_process_open_fds");
    print.rss = daemon.metric("kvtier_process_resident_memory_bytes{kind=\"anonymous\"}");
    return print;
  }
  bool nothing_held() const {
    return sessions == 0 && granted == 0 && retired == 0 && quarantined == 0;
  }
  // A segment has two descriptors, one of them read-only.
  double fds_besides_segments() const { return fds - 2 * static_cast<double>(segments); }
  nlohmann::json json() const {
    return {{"sessions", sessions}, {"granted_slots", granted},        {"retired_slots", retired},
            {"segments", segments}, {"segment_bytes", bytes},          {"open_fds", fds},
            {"rss_anonymous", rss}, {"quarantined_slots", quarantined}};
  }
};

}  // namespace kvtier::faults
