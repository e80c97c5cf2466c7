// What a daemon and a holder process say to each other: one fixed-size message a packet of a
// SOCK_SEQPACKET socket, at most one descriptor beside it. Holders outlive daemons, so version 1
// stays as it is. docs/protocol.md, section 8.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>

#include "daemon/memory/fd.hpp"
#include "kvtier/result.hpp"

namespace kvtier::daemon {

inline constexpr uint32_t kHoldMagic = 0x3148'564b;  // "KVH1"

enum class HoldOp : uint32_t {
  kTake = 1,    // daemon: I am the daemon now; give me everything
  kKeep = 2,    // daemon: name and a descriptor
  kForget = 3,  // daemon: name
  kEnd = 4,     // anybody of the same user: give everything back and end
  kItem = 5,    // holder: name and a descriptor
  kDone = 6,    // holder: that was all; value: the most it takes
  kBusy = 7,    // holder: the daemon before still runs; value: its process id
};

struct HoldMessage {
  uint32_t magic;
  HoldOp op;
  uint64_t value;
  char name[56];  // zero-terminated
};
static_assert(sizeof(HoldMessage) == 72);

HoldMessage hold_message(HoldOp op, const std::string& name = "", uint64_t value = 0);

// 0, or errno. `fd` may be negative. Never waits with MSG_DONTWAIT in `flags`.
int send_hold(const Fd& socket, const HoldMessage& message, int fd, int flags);

enum class HoldReceived : uint8_t { kMessage, kNothing, kEnd };
// One packet; kNothing when there is none (flags MSG_DONTWAIT, or a receive time-out). A packet
// that is none of ours reads as kEnd. `fd` is empty if none came, or none could be taken.
HoldReceived receive_hold(const Fd& socket, HoldMessage* message, Fd* fd, int flags);

}  // namespace kvtier::daemon
