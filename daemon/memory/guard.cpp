// The SIGBUS handler behind guarded(). Runs on the faulting thread; touches only that thread's
// scope.
#include "daemon/memory/guard.hpp"

#include <csignal>

namespace kvtier::daemon {

namespace {

struct sigaction previous_action;

void on_fault(int signal, siginfo_t* info, void* context) {
  detail::FaultScope* scope = detail::current_fault_scope();
  const auto* address = static_cast<const std::byte*>(info->si_addr);
  for (; scope != nullptr; scope = scope->outer) {
    if (address >= scope->begin && address < scope->end) siglongjmp(scope->resume, 1);
  }
  if ((previous_action.sa_flags & SA_SIGINFO) != 0) {
    previous_action.sa_sigaction(signal, info, context);
    return;
  }
  // The default action: returning repeats the faulting access under it.
  ::sigaction(SIGBUS, &previous_action, nullptr);
}

}  // namespace

namespace detail {
FaultScope*& current_fault_scope() {
  // initial-exec: a lazy allocation of thread storage inside a signal handler would not be safe.
  [[gnu::tls_model("initial-exec")]] static thread_local FaultScope* scope = nullptr;
  return scope;
}
}  // namespace detail

void install_fault_guard() {
  struct sigaction action = {};
  action.sa_sigaction = on_fault;
  // Not masked while it runs: siglongjmp restores the mask of the guard anyway.
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigemptyset(&action.sa_mask);
  struct sigaction current = {};
  ::sigaction(SIGBUS, nullptr, &current);
  if ((current.sa_flags & SA_SIGINFO) != 0 && current.sa_sigaction == on_fault) return;
  previous_action = current;
  ::sigaction(SIGBUS, &action, nullptr);
}

}  // namespace kvtier::daemon
