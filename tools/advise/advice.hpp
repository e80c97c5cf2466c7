// What an operator could change, and what it would buy: from the daemon's curves and its status,
// as their JSON says it. Pure; any thread. docs/advice.md has the arithmetic.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace kvtier::tools {

// How far a number can be trusted: by how many independent prompts, loads or reports are behind it.
enum class Trust : uint8_t { kNone, kLow, kMedium, kHigh };
const char* trust_name(Trust trust);

// A tier made larger.
struct SizeStep {
  double more_bytes = 0;
  double hit_rate = 0;       // in tokens, of all that is asked, from any tier
  double gain = 0;           // against what it is now
  double gain_error = 0;     // nineteen times of twenty less than this
  double gpu_seconds = 0;    // an hour
  double tier_hit_rate = 0;  // from this tier or faster ones
};
struct TierSizes {
  std::string tier;
  double bytes = 0;        // that it may hold
  double chunk_bytes = 0;  // on average
  double hit_rate = 0;     // by the curve, with tiers as they are
  double tier_hit_rate = 0;
  std::vector<SizeStep> steps;
  Trust trust = Trust::kNone;
};
// Loading from a tier against computing, in one space.
struct LoadWorth {
  std::string tier, tenant, model;
  double load_seconds = 0;       // a chunk, at the median bandwidth
  double load_seconds_slow = 0;  // at the bandwidth of the slowest tenth
  double compute_seconds = 0;    // a prompt's first chunk
  double worth_from_tokens = 0;  // context from which loading is faster; below 0: never
  Trust trust = Trust::kNone;
};
struct WriteBudget {
  bool has_lower = false;
  double refused = 0;        // share of the evicted chunks that were not written for the budget
  double lost_hit_rate = 0;  // in tokens
  Trust trust = Trust::kNone;
};
struct Advice {
  std::string window;
  double seconds = 0;  // that the window has been filled
  double tokens_asked = 0;
  uint64_t prompts = 0;
  std::vector<TierSizes> sizes;
  std::vector<LoadWorth> loads;
  WriteBudget budget;
  std::vector<std::string> sentences;  // the short of it
};

// `curves` is /v1/curves, `status` /v1/status, `window` a name of CurveWindows::kNames.
Advice make_advice(const nlohmann::ordered_json& curves, const nlohmann::ordered_json& status,
                   const std::string& window);

}  // namespace kvtier::tools
