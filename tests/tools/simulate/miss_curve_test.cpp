// The curve of live traffic against the exact one, on recorded traffic.
#include "daemon/policy/miss_curve.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <string>

#include "tests/tools/trace/trace_test_support.hpp"
#include "tools/simulate/simulator.hpp"

namespace kvtier::tools {
namespace {

// How many blocks of the trace an LRU of each size hits: of each use the distinct blocks since.
std::vector<uint64_t> exact_hits(const SimTrace& trace) {
  std::vector<uint64_t> tree(trace.blocks.size() + 1);
  std::vector<uint64_t> last(trace.unique, UINT64_MAX);
  std::vector<uint64_t> hits(trace.unique + size_t{1});
  uint64_t now = 0, distinct = 0;
  const auto add = [&](uint64_t at, uint64_t weight) {
    for (uint64_t i = at + 1; i < tree.size(); i += i & (~i + 1)) tree[i] += weight;
  };
  for (const SimTrace::Request& request : trace.requests) {
    const auto blocks = trace.blocks_of(request);
    for (const uint32_t block : blocks) {
      if (last[block] == UINT64_MAX) continue;
      uint64_t before = 0;
      for (uint64_t i = last[block] + 1; i > 0; i &= i - 1) before += tree[i];
      ++hits[distinct - before + 1];
    }
    for (size_t i = blocks.size(); i-- > 0;) {
      uint64_t& at = last[blocks[i]];
      if (at == UINT64_MAX) {
        ++distinct;
      } else {
        add(at, ~uint64_t{0});
      }
      add(now, 1);
      at = now++;
    }
  }
  for (size_t size = 1; size < hits.size(); ++size) hits[size] += hits[size - 1];
  return hits;
}

struct Errors {
  double mean = 0, max = 0, max_at = 0;
};

// Over sizes from a 400th of the trace's blocks to all of them, as many to each doubling.
Errors errors(const SimTrace& trace, const std::vector<uint64_t>& exact,
              const daemon::CurveReading& reading) {
  Errors errors;
  size_t sizes = 0;
  for (double share = 1.0 / 400; share <= 1; share *= 1.0905, ++sizes) {
    const auto size = static_cast<uint64_t>(share * trace.unique);
    const double wanted =
        static_cast<double>(exact[size]) / static_cast<double>(trace.blocks.size());
    const double got = reading.hit(static_cast<double>(size)).tokens / reading.asked.tokens;
    const double error = std::abs(got - wanted);
    errors.mean += error;
    if (error > errors.max) {
      errors.max = error;
      errors.max_at = share;
    }
  }
  errors.mean /= static_cast<double>(sizes);
  return errors;
}

// Of telling alone, everything resident.
double seconds_a_use(const SimTrace& trace) {
  daemon::MissCurve curve;
  const std::clock_t began = std::clock();  // of the processor, others may run
  for (const SimTrace::Request& request : trace.requests) {
    const auto blocks = trace.blocks_of(request);
    for (size_t i = blocks.size(); i-- > 0;) {
      curve.used(0, {.key = {blocks[i], 0},
                     .position = static_cast<uint32_t>(i),
                     .was_resident = true,
                     .worth = {512, 1}});
    }
  }
  const double took = static_cast<double>(std::clock() - began) / CLOCKS_PER_SEC;
  return took / static_cast<double>(trace.blocks.size());
}

void check(const char* name, uint64_t seeds) {
  const std::string path = recorded_trace(name);
  if (path.empty())
    GTEST_SKIP() << "needs the recorded trace " << name << "; name its folder in KVTIER_TRACES";
  auto trace = read_sim_trace(path, UINT64_MAX);
  ASSERT_TRUE(trace.ok());
  // One window holds all of it.
  for (SimTrace::Request& request : trace->requests) request.timestamp_ms /= 10;
  const std::vector<uint64_t> exact = exact_hits(*trace);
  const uint64_t shares[] = {1, 5, 25};
  for (uint64_t run = 0; run < 3 * seeds; ++run) {
    const uint64_t share = shares[run % 3];
    daemon::MissCurve curve;
    SimOptions options;
    options.host = {"default", trace->unique * share / 100};
    options.seed = 1 + run / 3;  // which keys are sampled
    curve.set_reach(options.host.chunks);
    options.curve = &curve;
    ASSERT_TRUE(simulate(*trace, options).ok());
    const Errors found = errors(*trace, exact, curve.read(2, 0));
    EXPECT_LE(found.mean, 0.005) << share;
    EXPECT_LE(found.max, 0.015) << share << " at " << found.max_at;
    EXPECT_LE(curve.bytes(), 900 * 1024u);
    std::printf(
        "%s, tier of %2d %%: mean error %.4f, max %.4f (a tier of %.3f), %llu hot keys, %llu KiB\n",
        name, static_cast<int>(share), found.mean, found.max, found.max_at,
        static_cast<unsigned long long>(curve.hot_keys()),
        static_cast<unsigned long long>(curve.bytes() / 1024));
  }
  std::printf("%s: %.0f ns a use\n", name, 1e9 * seconds_a_use(*trace));
}

TEST(MissCurve, IsCloseToTheExactOneOnChat) {
  check("conversation.jsonl", 2);
}

TEST(MissCurve, IsCloseToTheExactOneOnAgents) {
#ifdef KVTIER_SANITIZED
  GTEST_SKIP() << "sanitizers: minutes over four million blocks; the chat trace runs the same code";
#endif
  check("agents.jsonl.zst", 1);
}

}  // namespace
}  // namespace kvtier::tools
