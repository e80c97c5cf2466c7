// What it would cost a GPU to compute KV that was found instead: a yardstick for a replay's table
// and a simulation's, not a measurement. Pure; any thread.
//
// Source of the formula: computing positions [s, e) takes (alpha (e - s) + beta (e^2 - s^2) / 2) /
// G, with alpha = 2 P FLOPs a token (P active parameters), beta FLOPs a token and context position:
// 2 L Hq (dqk + dv), which is 4 L Hq dh where keys and values are as wide; G the FLOP/s that
// prefill achieves.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace kvtier::tools {

struct ModelCost {
  const char* id;     // as options name it
  const char* name;   // with what it is assumed to run on
  double parameters;  // active ones
  double layers;
  double query_heads;
  double key_dim;
  double value_dim;
  uint64_t kv_bytes_per_token;
  double flops_achieved;  // a second
};

// One H100 SXM: 989 TFLOP/s dense in bf16.
inline constexpr double kH100Flops = 989e12;

// Shapes are from the models' published configurations; bytes are 2 x layers x KV heads x head dim
// x 2, and for multi-head latent attention layers x (512 + 64) x 2, one tensor.
inline constexpr ModelCost kLlama8bOnH100 = {"llama-3-8b",
                                             "Llama-3-8B in bf16 on an H100 at half its peak",
                                             8.03e9,
                                             32,
                                             32,
                                             128,
                                             128,
                                             131072,
                                             kH100Flops / 2};
inline constexpr std::array kModels = {
    kLlama8bOnH100,
    ModelCost{"llama-3-70b", "Llama-3-70B in bf16 on eight H100 at half their peak", 70.6e9, 80, 64,
              128, 128, 327680, 8 * kH100Flops / 2},
    // Keys of 128 + 64 and values of 128 a head when not absorbed, as prefill computes them.
    ModelCost{"deepseek-v3", "DeepSeek-V3 (MLA) in bf16 on eight H100 at 0.4 of their peak", 37e9,
              61, 128, 192, 128, 70272, 8 * kH100Flops * 0.4},
};

// The first one for a name that is none.
constexpr const ModelCost& model_cost(std::string_view id) {
  for (const ModelCost& model : kModels) {
    if (id == model.id) return model;
  }
  return kModels[0];
}

// Seconds for the first `tokens` positions of a prompt.
constexpr double recompute_seconds(const ModelCost& model, double tokens) {
  const double alpha = 2 * model.parameters;
  const double beta = 2 * model.layers * model.query_heads * (model.key_dim + model.value_dim);
  return (alpha * tokens + beta * tokens * tokens / 2) / model.flops_achieved;
}

}  // namespace kvtier::tools
