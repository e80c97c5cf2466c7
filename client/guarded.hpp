// Turns what the standard library throws into an Error: nothing is thrown out of the library.
#pragma once

#include <new>

#include "kvtier/result.hpp"

namespace kvtier::client {

// body() returns a Result<T> (or an Error).
template <typename T, typename Body>
Result<T> guarded(Body&& body) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return Error(Code::kOutOfMemory, "no memory for this call in this process");
  } catch (...) {
    return Error(Code::kSystem, "unexpected failure inside the client library");
  }
}

inline Error forked_error() {
  return {Code::kForked, "the session belongs to the parent process; open one in this process"};
}
inline Error unattached_error() {
  return {Code::kUnavailable, "not attached to a daemon; recompute, attaching goes on by itself"};
}

}  // namespace kvtier::client
