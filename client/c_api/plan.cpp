// The C side of planning and of what engines report for it.
#include <algorithm>
#include <cmath>

#include "client/c_api/support.hpp"

using namespace kvtier::c_api;

int32_t kvtier_plan(const kvtier_space* space, const kvtier_lookup_result* lookup, size_t first,
                    kvtier_plan_result* result) {
  kvtier_lookup_result given;
  if (space == nullptr || lookup == nullptr || !read_sized(lookup, &given)) {
    return KVTIER_INVALID_ARGUMENT;
  }
  kvtier::Lookup found;
  found.chunks = given.chunks;
  std::copy(std::begin(given.chunks_by_tier), std::end(given.chunks_by_tier), found.chunks_by_tier);
  const kvtier::Plan plan = space->space->plan(found, first);
  kvtier_plan_result made = {};
  made.load_chunks = plan.load_chunks;
  made.load_seconds = plan.load_seconds;
  made.recompute_seconds = plan.recompute_seconds;
  made.load_deadline_ns = plan.load_deadline.count();
  return write_sized(made, result) ? KVTIER_OK : KVTIER_INVALID_ARGUMENT;
}

int32_t kvtier_report_prefill(const kvtier_space* space, uint64_t tokens, uint64_t context,
                              double seconds, kvtier_error* error) {
  if (space == nullptr) return invalid("space is NULL", error);
  return end(space->space->report_prefill(tokens, context, seconds), error);
}

int32_t kvtier_plan_chain(const kvtier_space* space, const kvtier_chain* chain,
                          const kvtier_plan_options* options, kvtier_chain_plan* plan) {
  kvtier_plan_options given = {};
  if (space == nullptr || chain == nullptr || plan == nullptr ||
      (options != nullptr && !read_sized(options, &given)) ||
      given.restore > KVTIER_RESTORE_LAYERWISE || std::isnan(given.lambda)) {
    return KVTIER_INVALID_ARGUMENT;
  }
  kvtier::PlanOptions wanted;
  wanted.first = given.first;
  if (given.chunks_max != 0) wanted.chunks_max = given.chunks_max;
  wanted.tokens_behind = given.tokens_behind;
  wanted.overlap = static_cast<kvtier::Overlap>(given.restore);
  wanted.lambda = given.lambda;
  if (given.has_last != 0) wanted.last_load_chunks = given.last_load_chunks;
  if (given.request != nullptr) wanted.request = given.request;
  const kvtier::Plan made = space->space->plan(chain->chain, wanted);
  kvtier_chain_plan result = {};
  result.load_first = made.load_first;
  result.load_chunks = made.load_chunks;
  result.resident = made.resident;
  result.load_seconds = made.load_seconds;
  result.recompute_seconds = made.recompute_seconds;
  result.ttft_seconds = made.ttft_seconds;
  result.load_all_seconds = made.load_all_seconds;
  result.compute_all_seconds = made.compute_all_seconds;
  result.load_deadline_ns = made.load_deadline.count();
  result.id = made.id;
  return write_sized(result, plan) ? KVTIER_OK : KVTIER_INVALID_ARGUMENT;
}

void kvtier_plan_ended(const kvtier_space* space, const kvtier_chain_plan* plan, size_t loaded,
                       double seconds, uint32_t ended) {
  kvtier_chain_plan given = {};
  if (space == nullptr || plan == nullptr || !read_sized(plan, &given)) return;
  kvtier::Plan made;
  made.id = given.id;
  space->space->plan_ended(
      made,
      {.loaded = loaded, .seconds = seconds, .ended = static_cast<kvtier::MissReason>(ended)});
}

int32_t kvtier_report_model(const kvtier_space* space, double flops_token, double flops_pair,
                            double flops_per_s, kvtier_error* error) {
  if (space == nullptr) return invalid("space is NULL", error);
  return end(space->space->report_model(flops_token, flops_pair, flops_per_s), error);
}
