// Curves into advice. Pure.
#include "tools/advise/advice.hpp"

#include <algorithm>
#include <cmath>

#include "daemon/policy/curve_windows.hpp"
#include "tools/cli/daemon_link.hpp"
#include "tools/cli/output.hpp"

namespace kvtier::tools {

namespace {

using daemon::CurveReading;
using daemon::CurveSum;

constexpr double kGiB = 1024.0 * 1024 * 1024;
constexpr double kStepsMax = 8;
constexpr double kGrowthMax = 4;  // what is told: up to so many times the present size
// Independent prompts, loads or reports from which a number is trusted. A rate between 0 and 1 of
// 1000 independent prompts has a standard error of 0.016 at most.
constexpr double kHigh = 1000, kMedium = 100, kLow = 10;
constexpr double kWorthSaying = 0.005;  // of the tokens

Trust trust_in(double observations) {
  if (observations >= kHigh) return Trust::kHigh;
  if (observations >= kMedium) return Trust::kMedium;
  return observations >= kLow ? Trust::kLow : Trust::kNone;
}

// One tenant's curve, and how the tiers are shared now.
struct TenantCurve {
  CurveReading reading;
  double host_share = 0, lower_share = 0;
};

struct Sizes {
  double host_chunks = 0, lower_chunks = 0;  // that the tiers can hold
};

class Adviser {
 public:
  Adviser(const Json& curves, const Json& status, const std::string& window);
  Advice make();

 private:
  // All tenants' hits, when each tenant keeps its present share of tiers of these sizes. What lies
  // below lies there in addition to being in host memory, so the larger of the two tells.
  CurveSum hits(const Sizes& sizes, bool with_lower) const;
  void advise_size(const Json& tier, bool is_lower);
  void advise_loads(const Json& tier);
  void advise_budget();
  void say_sizes(const TierSizes& sizes);

  const Json& status_;
  Advice advice_;
  std::vector<TenantCurve> tenants_;
  Sizes now_;
  double host_chunk_bytes_ = 0, lower_chunk_bytes_ = 0;
  double written_ = 1;  // share of what leaves host memory that is written below
  CurveSum asked_;
};

Adviser::Adviser(const Json& curves, const Json& status, const std::string& window)
    : status_(status) {
  advice_.window = window;
  double host_chunks = 0, host_bytes = 0, lower_chunks = 0, lower_bytes = 0;
  for (const Json& one : list_of(curves, "curves")) {
    TenantCurve tenant;
    tenant.host_share = number_of(one, "host_chunks");
    tenant.lower_share = number_of(one, "lower_chunks");
    host_chunks += tenant.host_share;
    host_bytes += number_of(one, "host_bytes");
    lower_chunks += tenant.lower_share;
    lower_bytes += number_of(one, "lower_bytes");
    for (const Json& shown : list_of(one, "windows")) {
      if (text_of(shown, "window") != window) continue;
      CurveReading& reading = tenant.reading;
      reading.asked = {number_of(shown, "tokens_asked"), number_of(shown, "compute_seconds_asked")};
      for (const Json& point : list_of(shown, "points")) {
        reading.points.push_back({point.at(0), {point.at(1), point.at(2)}});
      }
      advice_.seconds = std::max(advice_.seconds, number_of(shown, "seconds"));
      advice_.prompts += count_of(shown, "prompts_sampled");
      asked_.tokens += reading.asked.tokens;
      asked_.seconds += reading.asked.seconds;
    }
    tenants_.push_back(std::move(tenant));
  }
  for (TenantCurve& tenant : tenants_) {
    tenant.host_share = host_chunks > 0 ? tenant.host_share / host_chunks : 0;
    tenant.lower_share = lower_chunks > 0 ? tenant.lower_share / lower_chunks : tenant.host_share;
  }
  advice_.tokens_asked = asked_.tokens;
  host_chunk_bytes_ = host_chunks > 0 ? host_bytes / host_chunks : 0;
  lower_chunk_bytes_ = lower_chunks > 0 ? lower_bytes / lower_chunks : host_chunk_bytes_;
}

CurveSum Adviser::hits(const Sizes& sizes, bool with_lower) const {
  CurveSum sum;
  for (const TenantCurve& tenant : tenants_) {
    const double host = tenant.host_share * sizes.host_chunks;
    const double below = with_lower ? tenant.lower_share * sizes.lower_chunks : 0;
    const CurveSum near = tenant.reading.hit(host);
    const CurveSum far = tenant.reading.hit(std::max(host, below));
    sum.tokens += near.tokens + written_ * (far.tokens - near.tokens);
    sum.seconds += near.seconds + written_ * (far.seconds - near.seconds);
  }
  return sum;
}

void Adviser::advise_size(const Json& tier, bool is_lower) {
  const double chunk_bytes = is_lower ? lower_chunk_bytes_ : host_chunk_bytes_;
  TierSizes sizes;
  sizes.tier = text_of(tier, "name");
  sizes.bytes = number_of(tier, "capacity_bytes");
  sizes.chunk_bytes = chunk_bytes;
  if (chunk_bytes <= 0 || asked_.tokens <= 0) {
    advice_.sizes.push_back(sizes);
    return;
  }
  sizes.trust = trust_in(static_cast<double>(advice_.prompts));
  const CurveSum before = hits(now_, true);
  sizes.hit_rate = before.tokens / asked_.tokens;
  sizes.tier_hit_rate = hits(now_, is_lower).tokens / asked_.tokens;
  double more = kGiB;
  for (int i = 0; i < kStepsMax && (i == 0 || more <= (kGrowthMax - 1) * sizes.bytes); ++i) {
    Sizes larger = now_;
    (is_lower ? larger.lower_chunks : larger.host_chunks) += more / chunk_bytes;
    const CurveSum then = hits(larger, true);
    SizeStep step;
    step.more_bytes = more;
    step.hit_rate = then.tokens / asked_.tokens;
    step.gain = step.hit_rate - sizes.hit_rate;
    step.tier_hit_rate = hits(larger, is_lower).tokens / asked_.tokens;
    step.gpu_seconds =
        advice_.seconds > 0 ? (then.seconds - before.seconds) / advice_.seconds * 3600 : 0;
    step.gain_error = 1.96 * std::sqrt(std::max(step.gain * (1 - step.gain), 0.0) /
                                       std::max(static_cast<double>(advice_.prompts), 1.0));
    sizes.steps.push_back(step);
    more *= i == 0 || sizes.bytes < 64 * kGiB ? 2 : 4;
  }
  say_sizes(sizes);
  advice_.sizes.push_back(std::move(sizes));
}

// The step that buys most a byte, if it is worth a sentence.
void Adviser::say_sizes(const TierSizes& sizes) {
  if (sizes.trust == Trust::kNone) return;
  const SizeStep* best = nullptr;
  for (const SizeStep& step : sizes.steps) {
    if (step.gain < kWorthSaying || step.gain < 2 * step.gain_error) continue;
    if (best == nullptr || step.gain / step.more_bytes > best->gain / best->more_bytes * 0.8) {
      best = &step;
    }
  }
  char text[256];
  if (best == nullptr) {
    std::snprintf(text, sizeof text, "more %s buys nothing that this traffic shows (%s confidence)",
                  sizes.tier.c_str(), trust_name(sizes.trust));
  } else {
    std::snprintf(
        text, sizeof text,
        "%s more %s gives %+.1f points of token hits (%.1f to %.1f %%) and saves %.0f GPU "
        "seconds an hour (%s confidence)",
        show_bytes(best->more_bytes).c_str(), sizes.tier.c_str(), 100 * best->gain,
        100 * sizes.hit_rate, 100 * best->hit_rate, best->gpu_seconds, trust_name(sizes.trust));
  }
  advice_.sentences.emplace_back(text);
}

void Adviser::advise_loads(const Json& tier) {
  const double usual = number_of(tier, "load_bandwidth_p50_bytes_per_second");
  const double slow = number_of(tier, "load_bandwidth_p10_bytes_per_second");
  if (usual <= 0) return;
  for (const Json& space : list_of(status_, "spaces")) {
    const double tokens = number_of(space, "tokens_per_chunk");
    const double chunks = number_of(space, "chunks");
    const double bytes =
        chunks > 0 ? number_of(space, "payload_bytes") / chunks : number_of(space, "chunk_bytes");
    const double a = number_of(space, "prefill_seconds_per_token");
    const double b = number_of(space, "prefill_seconds_per_token_and_position");
    if (bytes <= 0 || tokens <= 0 || a <= 0) continue;
    LoadWorth worth;
    worth.tier = text_of(tier, "name");
    worth.tenant = text_of(space, "tenant");
    worth.model = text_of(space, "model");
    worth.load_seconds = bytes / usual;
    worth.load_seconds_slow = slow > 0 ? bytes / slow : worth.load_seconds;
    worth.compute_seconds = tokens * (a + b * tokens / 2);
    const double deeper = (worth.load_seconds / tokens - a) / std::max(b, 1e-30) - tokens / 2;
    worth.worth_from_tokens = worth.load_seconds <= worth.compute_seconds ? 0
                              : deeper < 1e7                              ? deeper
                                                                          : -1;
    worth.trust = std::min(trust_in(10 * number_of(tier, "load_samples")),
                           trust_in(10 * number_of(space, "prefill_samples")));
    char text[256];
    if (worth.worth_from_tokens != 0) {
      std::snprintf(text, sizeof text,
                    "loading from %s is slower than computing %s for %s (%s confidence)",
                    worth.tier.c_str(), printable(worth.model).c_str(),
                    worth.worth_from_tokens < 0
                        ? "prompts of any length: it is too slow to be worth loading from"
                        : (show_count(static_cast<uint64_t>(worth.worth_from_tokens)) +
                           " tokens of context and less")
                              .c_str(),
                    trust_name(worth.trust));
      advice_.sentences.emplace_back(text);
    }
    advice_.loads.push_back(std::move(worth));
  }
}

void Adviser::advise_budget() {
  const Json counters = status_.contains("counters") ? status_["counters"] : Json::object();
  const double refused = number_of(counters, "dropped_budget");
  const double written = number_of(counters, "demoted");
  WriteBudget& budget = advice_.budget;
  budget.has_lower = true;
  budget.trust =
      std::min(trust_in(refused + written), trust_in(static_cast<double>(advice_.prompts)));
  if (refused + written <= 0 || asked_.tokens <= 0) return;
  budget.refused = refused / (refused + written);
  written_ = 1;
  const double all = hits(now_, true).tokens;
  written_ = 1 - budget.refused;
  budget.lost_hit_rate = (all - hits(now_, true).tokens) / asked_.tokens;
  if (budget.trust == Trust::kNone || budget.lost_hit_rate < kWorthSaying) return;
  char text[256];
  std::snprintf(
      text, sizeof text,
      "the write budget is tight: %.0f %% of what left host memory was not written, which "
      "costs up to %.1f points of token hits (%s confidence)",
      100 * budget.refused, 100 * budget.lost_hit_rate, trust_name(budget.trust));
  advice_.sentences.emplace_back(text);
}

Advice Adviser::make() {
  const Json& tiers = list_of(status_, "tiers");
  const auto chunks = [](const Json& tier, double chunk_bytes) {
    const double by_bytes = chunk_bytes > 0 ? number_of(tier, "capacity_bytes") / chunk_bytes : 0;
    const double limit = number_of(tier, "capacity_chunks");  // null, which is 0: none
    return limit > 0 ? std::min(limit, by_bytes) : by_bytes;
  };
  for (const Json& tier : tiers) {
    if (text_of(tier, "name") == "host") now_.host_chunks = chunks(tier, host_chunk_bytes_);
    if (text_of(tier, "name") == "nvme") now_.lower_chunks = chunks(tier, lower_chunk_bytes_);
  }
  if (now_.lower_chunks > 0) advise_budget();
  for (const Json& tier : tiers) {
    const std::string name = text_of(tier, "name");
    if (text_of(tier, "state") == "off") continue;
    if (name == "host" || name == "nvme") advise_size(tier, name == "nvme");
  }
  for (const Json& tier : tiers) advise_loads(tier);
  return std::move(advice_);
}

}  // namespace

const char* trust_name(Trust trust) {
  switch (trust) {
    case Trust::kNone:
      return "no";
    case Trust::kLow:
      return "low";
    case Trust::kMedium:
      return "medium";
    case Trust::kHigh:
      return "high";
  }
  return "no";
}

Advice make_advice(const Json& curves, const Json& status, const std::string& window) {
  return Adviser(curves, status, window).make();
}

}  // namespace kvtier::tools
