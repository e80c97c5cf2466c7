// What an I/O of the nvme tier was for, in one word: a kind and a number. Pure.
#pragma once

#include <cstdint>

namespace kvtier::daemon::nvme {

enum class CookieKind : uint8_t {
  kTransfer,    // number of the transfer
  kDescriptor,  // of the segment
  kPrepare,     // of the segment
  kHeader,      // of the header read
};

constexpr uint64_t make_cookie(CookieKind kind, uint64_t number) {
  return (static_cast<uint64_t>(kind) << 56) | number;
}
constexpr CookieKind cookie_kind(uint64_t cookie) {
  return static_cast<CookieKind>(cookie >> 56);
}
constexpr uint64_t cookie_number(uint64_t cookie) {
  return cookie & ((uint64_t{1} << 56) - 1);
}

}  // namespace kvtier::daemon::nvme
