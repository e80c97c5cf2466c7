// Touching memory that a client can take away. A client may punch holes into segments it maps
// writable; on huge pages with an empty reserve the next touch raises SIGBUS. Inside guarded() such
// a fault ends the body and is reported; anywhere else SIGBUS keeps its meaning.
#pragma once

#include <csetjmp>
#include <cstddef>
#include <cstdint>

namespace kvtier::daemon {

// Installs the SIGBUS handler, once, before threads start. Faults outside a guard go to the
// handler that was there before.
void install_fault_guard();

namespace detail {
// The innermost guard of this thread, or null.
struct FaultScope {
  sigjmp_buf resume;
  const std::byte* begin;
  const std::byte* end;
  FaultScope* outer;
};
FaultScope*& current_fault_scope();
}  // namespace detail

// Runs body(), which may touch [data, data + bytes) and must own nothing that needs a destructor
// (a fault leaves it by longjmp). False: a fault there ended it.
template <typename Body>
[[nodiscard]] bool guarded(const std::byte* data, uint64_t bytes, Body&& body) {
  detail::FaultScope*& current = detail::current_fault_scope();
  detail::FaultScope scope;
  scope.begin = data;
  scope.end = data + bytes;
  scope.outer = current;
  if (sigsetjmp(scope.resume, 1) != 0) {
    detail::current_fault_scope() = scope.outer;
    return false;
  }
  current = &scope;
  body();
  current = scope.outer;
  return true;
}

}  // namespace kvtier::daemon
