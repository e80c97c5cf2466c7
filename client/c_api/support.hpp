// The C ABI's handles, and the conversions all of its functions use. Nothing here throws through C.
#pragma once

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "client/deadline.hpp"
#include "client/guarded.hpp"
#include "kvtier/kvtier.h"
#include "kvtier/kvtier.hpp"

struct kvtier_session {
  std::unique_ptr<kvtier::Session> session;
};
struct kvtier_space {
  std::shared_ptr<kvtier::Space> space;
};
struct kvtier_chain {
  kvtier::KeyChain chain;
};
struct kvtier_match {
  kvtier::Match match;
};
struct kvtier_prefetching {
  kvtier::Prefetch prefetch;
};
struct kvtier_grant {
  kvtier::Grant grant;
};

namespace kvtier::c_api {

inline int32_t fail(const Error& found, kvtier_error* error) {
  if (error != nullptr) std::snprintf(error->message, sizeof error->message, "%s", found.message());
  return static_cast<int32_t>(found.code());
}
inline int32_t invalid(const char* what, kvtier_error* error) {
  return fail({Code::kInvalidArgument, what}, error);
}
inline int32_t end(const Status& status, kvtier_error* error) {
  return status ? KVTIER_OK : fail(status.error(), error);
}

inline Clock::time_point deadline(int64_t timeout_ns) {
  if (timeout_ns < 0) return Clock::time_point::max();
  return client::after(std::chrono::nanoseconds(timeout_ns));
}

// body() returns a code; what it throws becomes one.
template <typename Body>
int32_t guard(kvtier_error* error, Body&& body) {
  Result<int32_t> result = client::guarded<int32_t>([&]() -> Result<int32_t> { return body(); });
  return result ? *result : fail(result.error(), error);
}

// Copies a structure that may be of an older or newer header than this library's.
template <typename T>
Status read_sized(const T* given, T* copy) {
  *copy = T{};
  if (given == nullptr) return {};
  if (given->size < sizeof(size_t)) {
    return Error(Code::kInvalidArgument, "a structure's size is not set");
  }
  if (given->size > sizeof(T)) {
    const auto* bytes = reinterpret_cast<const unsigned char*>(given);
    for (size_t i = sizeof(T); i < given->size; ++i) {
      if (bytes[i] != 0) {
        return Error::format(Code::kUnsupported,
                             "a structure of a newer header uses a field this library (%s) lacks",
                             KVTIER_VERSION);
      }
    }
  }
  std::memcpy(copy, given, std::min(given->size, sizeof(T)));
  return {};
}

// Fills the caller's structure as far as it goes. False when its size is not set.
template <typename T>
bool write_sized(const T& made, T* given) {
  if (given == nullptr || given->size < sizeof(size_t)) return false;
  const size_t size = given->size;
  std::memcpy(given, &made, std::min(size, sizeof(T)));
  given->size = size;
  return true;
}

inline std::string text(const char* given, const char* otherwise) {
  return given == nullptr ? otherwise : given;
}

}  // namespace kvtier::c_api
