// What it would cost a GPU to compute KV that was found instead: a yardstick for a replay's table,
// not a measurement. Pure; any thread.
//
// Source of the formula: computing positions [s, e) takes (alpha (e - s) + beta (e^2 - s^2) / 2) /
// G, with alpha = 2 P FLOPs a token (P active parameters), beta = 4 L Hq dh FLOPs a token and
// context position, G the FLOP/s that prefill achieves.
#pragma once

#include <cstdint>

namespace kvtier::tools {

struct ModelCost {
  const char* name;
  double parameters;
  double layers;
  double query_heads;
  double head_dim;
  uint64_t kv_bytes_per_token;
  double flops_achieved;  // a second
};

// Llama-3-8B in bf16 on one H100 SXM (989 TFLOP/s dense), prefill at half of that peak.
inline constexpr ModelCost kLlama8bOnH100 = {
    "Llama-3-8B in bf16 on an H100 at half its peak", 8.03e9, 32, 32, 128, 131072, 989e12 / 2};

// Seconds for the first `tokens` positions of a prompt.
constexpr double recompute_seconds(const ModelCost& model, double tokens) {
  const double alpha = 2 * model.parameters;
  const double beta = 4 * model.layers * model.query_heads * model.head_dim;
  return (alpha * tokens + beta * tokens * tokens / 2) / model.flops_achieved;
}

}  // namespace kvtier::tools
