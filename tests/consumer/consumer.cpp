// A program of somebody else, built against the installed package: what an engine does when no
// daemon runs. Prints the library's version and leaves with 0 if everything degrades to "recompute"
// in time.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <kvtier/kvtier.hpp>
#include <vector>

namespace {

int refuse(const char* what) {
  std::fprintf(stderr, "consumer: %s\n", what);
  return 1;
}

}  // namespace

int main() {
  const auto begin = kvtier::Clock::now();
  kvtier::SessionOptions options;
  options.socket = "/nonexistent/kvtier.sock";
  options.name = "consumer";
  auto session = kvtier::Session::open(options);
  if (!session.ok()) return refuse("open() must succeed without a daemon");

  const auto status = session.value()->wait_attached(begin + std::chrono::milliseconds(50));
  if (status.ok()) return refuse("wait_attached() succeeded, but there is no daemon");

  kvtier::SpaceSpec spec;
  spec.model = "consumer";
  spec.layout = "flat-1";
  spec.tokens_per_chunk = 16;
  spec.chunk_bytes = 4096;
  auto space = session.value()->open_space(spec);
  if (!space.ok()) return refuse("open_space() must work without a daemon");

  // Keys need the tenant's secret, so there are none: the engine recomputes.
  const std::vector<uint32_t> tokens(64, 7);
  auto chain = space.value()->derive({.tokens = tokens});
  if (chain.ok()) return refuse("derive() made keys without a tenant's secret");
  if (chain.error().code() != kvtier::Code::kUnavailable) {
    return refuse("derive() must answer unavailable");
  }
  const auto match = space.value()->match(kvtier::KeyChain());
  if (match.ok() && match.value().chunks() != 0) return refuse("a match without a daemon");
  if (kvtier::Clock::now() - begin > std::chrono::seconds(5)) return refuse("a call hung");

  std::printf("kvtier %s: no daemon, so everything is recomputed (%s)\n", kvtier::version(),
              chain.error().message());
  return 0;
}
