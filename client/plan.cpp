// Space::plan and plan_ended: load or recompute, and the record of it. In the engine's thread; no
// message and no system call, but for the rare probe of a tier that was declined long ago.
#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>

#include "client/space_impl.hpp"
#include "client/tiers.hpp"
#include "kvtier/wire/plan_record.hpp"

namespace kvtier {
namespace {

using wire::ChunkRun;
using wire::Found;

// A measurement this old says nothing of a tier that may have recovered.
constexpr uint64_t kProbeAgeNs = 500'000'000;
// As much as shows what the tier gives to a real load, several reads at once where chunks are
// small.
constexpr uint64_t kProbeBytes = 8 * wire::MiB;
constexpr size_t kProbeChunksMax = 16;
constexpr auto kProbeHold = std::chrono::seconds(2);
constexpr double kDeadlineMax = 3600;

// The resident chunks of a chain, in runs that lie alike.
struct Residents {
  std::vector<ChunkRun> runs;
  size_t chunks = 0;
  size_t first_lower = SIZE_MAX;  // counted from the first asked for
  bool ended = false;

  void add(Tier tier, uint64_t bytes) {
    if (tier != Tier::kHost && first_lower == SIZE_MAX) first_lower = chunks;
    ++chunks;
    if (!runs.empty() && runs.back().tier == tier && runs.back().stored_bytes == bytes) {
      ++runs.back().chunks;
    } else {
      runs.push_back({.chunks = 1, .tier = tier, .codec = 0, .stored_bytes = bytes});
    }
  }
  void add(const wire::PublishedView& view, const wire::FoundChunk& chunk) {
    if (ended) return;
    bool serves = chunk.found == Found::kHost;
    Tier tier = Tier::kHost;
    if (chunk.found == Found::kLower) tier = client::lower_tier(view, chunk.lower, &serves);
    ended = !serves;
    if (serves) add(tier, chunk.payload_bytes);
  }
};

void fill_record(const wire::PlanInput& input, const wire::PlanOutput& output,
                 wire::PlanRecord* record) {
  record->kind = static_cast<uint32_t>(wire::PlanRecordKind::kPlan);
  record->first = input.first;
  record->tokens_behind = input.tokens_behind;
  record->tokens_per_chunk = input.tokens_per_chunk;
  record->overlap = static_cast<uint32_t>(input.overlap);
  record->lambda = input.lambda;
  record->a = input.costs.space.a;
  record->b = input.costs.space.b;
  record->g = input.costs.space.g;
  record->compute_samples = input.costs.space.samples;
  for (size_t i = 0; i < wire::kTierCount; ++i) {
    const wire::TierCostNow& tier = input.costs.tiers[i];
    record->tiers[i] = {tier.bandwidth_bytes_per_s, tier.latency_s, tier.queued_bytes,
                        tier.samples};
  }
  for (size_t i = 0; i < input.runs.size(); ++i) {
    const ChunkRun& run = input.runs[i];
    wire::PlanRunRecord& shown = record->runs[std::min<size_t>(i, wire::kPlanRunsShown - 1)];
    shown.chunks += run.chunks;
    shown.tier = static_cast<uint8_t>(run.tier);
    shown.codec = run.codec;
    shown.stored_bytes = run.stored_bytes;
  }
  record->runs_count = static_cast<uint32_t>(input.runs.size());
  record->last_kept = input.has_last ? 1 : 0;
  record->load_begin = output.load_begin;
  record->load_end = output.load_end;
  record->resident = output.resident;
  record->load_seconds = output.load_seconds;
  record->recompute_seconds = output.recompute_seconds;
  record->ttft_seconds = output.ttft_seconds;
  record->load_all_seconds = output.load_all_seconds;
  record->compute_all_seconds = output.compute_all_seconds;
  record->deadline_seconds = output.deadline_seconds;
}

Plan plan_of(const wire::PlanOutput& output, size_t first) {
  Plan plan;
  plan.load_first = first + output.load_begin;
  plan.load_chunks = output.load_chunks();
  plan.resident = output.resident;
  plan.load_seconds = output.load_seconds;
  plan.recompute_seconds = output.recompute_seconds;
  plan.ttft_seconds = output.ttft_seconds;
  plan.load_all_seconds = output.load_all_seconds;
  plan.compute_all_seconds = output.compute_all_seconds;
  plan.load_deadline = std::chrono::nanoseconds(
      static_cast<int64_t>(std::min(output.deadline_seconds, kDeadlineMax) * 1e9));
  return plan;
}

// Reads what is asked of the space now; what the board does not say is assumed.
wire::PlanInput input_of(const Space::Impl& space, const Space::Impl::Opened& opened,
                         const PlanOptions& options) {
  wire::PlanInput input;
  if (!wire::read_board(*opened.attachment->view.board, opened.space->number, &input.costs)) {
    input.costs = {};
  }
  input.tokens_per_chunk = space.record->spec.tokens_per_chunk;
  input.layers = space.record->spec.layers;
  input.first = options.first;
  input.tokens_behind = options.tokens_behind;
  input.overlap = options.overlap;
  input.lambda = options.lambda;
  input.has_last = options.last_load_chunks != SIZE_MAX;
  input.last_load_chunks = options.last_load_chunks;
  return input;
}

void count_plan(const Space::Impl::Opened& opened, const wire::PlanOutput& output) {
  opened.attachment->count(
      output.load_chunks() > 0 ? wire::Counter::kPlansLoad : wire::Counter::kPlansRecompute, 1);
}

// The plan leaves lower chunks unloaded by a measurement that is old: asks for a few of them, so
// that the tier is measured while the engine computes. Nobody waits for the answer.
void probe(const Space::Impl& space, const Space::Impl::Opened& opened, const KeyChain& chain,
           const Residents& found, const wire::PlanInput& input, const wire::PlanOutput& output) {
  if (found.first_lower >= output.load_begin && found.first_lower < output.load_end) return;
  if (found.first_lower >= found.chunks) return;
  size_t count = 1;
  for (const ChunkRun& run : input.runs) {
    if (run.tier == Tier::kHost) continue;
    count = std::clamp<size_t>(kProbeBytes / std::max<uint64_t>(run.stored_bytes, 1), 1,
                               std::min<size_t>(run.chunks, kProbeChunksMax));
    const wire::TierCostNow& cost = input.costs.tiers[static_cast<size_t>(run.tier)];
    if (cost.measured_ns == 0 || input.costs.board_ns < cost.measured_ns + kProbeAgeNs) return;
    break;
  }
  const Clock::time_point now = Clock::now();
  if (!space.core->probe_due(now)) return;
  std::array<wire::KeyArg, kProbeChunksMax> keys;
  for (size_t i = 0; i < count; ++i) {
    keys[i].key = chain.keys()[input.first + found.first_lower + i];
  }
  client::Ring::Request request;
  request.op = wire::Op::kPrefetch;
  request.space = opened.space->id;
  request.count = static_cast<uint32_t>(count);
  request.a = static_cast<uint64_t>(
      std::chrono::nanoseconds((now + kProbeHold).time_since_epoch()).count());
  (void)opened.attachment->ring.post(request, keys.data(), count * sizeof keys[0]);
}

}  // namespace

Plan Space::plan(const KeyChain& chain, const PlanOptions& options) const {
  if (impl_->core->forked() || !impl_->fits(chain)) return {};
  const Impl::Opened opened = impl_->open();
  if (!opened || !Impl::current(chain, *opened.attachment)) return {};
  const auto made = client::guarded<Plan>([&]() -> Result<Plan> {
    wire::PlanInput input = input_of(*impl_, opened, options);
    const auto keys = chain.keys().subspan(std::min(options.first, chain.size()));
    Residents found;
    wire::visit_prefix(
        opened.attachment->view, keys.first(std::min(options.chunks_max, keys.size())),
        opened.space->id,
        [&](const wire::FoundChunk& chunk) { found.add(opened.attachment->view, chunk); });
    input.runs = found.runs;
    // What is missing of the chain lies behind the resident chunks, too.
    input.tokens_behind += uint64_t{input.tokens_per_chunk} * (keys.size() - found.chunks);
    const wire::PlanOutput output = wire::plan_load(input);
    count_plan(opened, output);
    probe(*impl_, opened, chain, found, input, output);
    Plan plan = plan_of(output, options.first);
    if (!opened.attachment->plans.kept()) return plan;
    wire::PlanRecord record = {};
    fill_record(input, output, &record);
    record.space = opened.space->id;
    record.id = plan.id = impl_->core->next_plan();
    record.at_ns =
        static_cast<uint64_t>(std::chrono::nanoseconds(Clock::now().time_since_epoch()).count());
    options.request.copy(record.request, sizeof record.request - 1);
    if (found.chunks > 0) {
      record.first_key = keys[0];
      record.last_key = keys[found.chunks - 1];
    }
    opened.attachment->plans.append(record);
    return plan;
  });
  return made ? *made : Plan();
}

Plan Space::plan(const Lookup& lookup, size_t first) const {
  if (impl_->core->forked()) return {};
  const Impl::Opened opened = impl_->open();
  if (!opened) return {};
  PlanOptions options;
  options.first = first;
  wire::PlanInput input = input_of(*impl_, opened, options);
  std::array<ChunkRun, wire::kTierCount> runs;  // where which chunk lies is not known: host first
  for (size_t i = 0; i < wire::kTierCount; ++i) {
    runs[i] = {.chunks = static_cast<uint32_t>(lookup.chunks_by_tier[i]),
               .tier = static_cast<Tier>(i),
               .codec = 0,
               .stored_bytes = impl_->record->spec.chunk_bytes};
  }
  input.runs = runs;
  const wire::PlanOutput output = wire::plan_load(input);
  count_plan(opened, output);
  return plan_of(output, first);
}

void Space::plan_ended(const Plan& plan, const PlanEnd& end) const {
  if (plan.id == 0 || impl_->core->forked()) return;
  const Impl::Opened opened = impl_->open();
  if (!opened) return;
  wire::PlanRecord record = {};
  record.kind = static_cast<uint32_t>(wire::PlanRecordKind::kEnd);
  record.space = opened.space->id;
  record.id = plan.id;
  record.at_ns =
      static_cast<uint64_t>(std::chrono::nanoseconds(Clock::now().time_since_epoch()).count());
  record.loaded = end.loaded;
  record.seconds = end.seconds;
  record.ended = static_cast<uint32_t>(end.ended);
  opened.attachment->plans.append(record);
}

}  // namespace kvtier
