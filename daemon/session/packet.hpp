// One message on an attach socket, received or sent. Core thread. Never waits: a peer that does not
// read is reported. No request has fds; what arrives anyway comes out, to be closed elsewhere.
#pragma once

#include <array>
#include <cstddef>
#include <cstring>
#include <span>
#include <vector>

#include "daemon/memory/fd.hpp"
#include "kvtier/wire/messages.hpp"

namespace kvtier::daemon {

enum class Received : uint8_t {
  kMessage,
  kNothing,  // not yet
  kEnd,      // the peer has closed its side, or sent an empty message, which reads the same
};

struct Packet {
  alignas(8) std::array<std::byte, wire::kMessageBytesMax> bytes;
  size_t size = 0;          // as sent; more than bytes.size() if the rest was cut off
  bool fds_lost = false;    // there were more fds than fit; the kernel closed them
  std::vector<Fd> strange;  // fds that came along

  // The first sizeof(T) bytes; the caller has compared the size.
  template <typename T>
  T as() const {
    static_assert(sizeof(T) <= wire::kMessageBytesMax);
    T value;
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  }
};

Received receive_packet(const Fd& socket, Packet* packet);

// False: the peer reads nothing, or is gone. `fds` stay the caller's.
bool send_packet(const Fd& socket, std::span<const std::byte> bytes, std::span<const int> fds);

// Where the kernel can (6.16), senders of fds to this socket get an error, so that none arrive.
void refuse_fds(const Fd& socket);

}  // namespace kvtier::daemon
