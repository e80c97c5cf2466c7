// Visits every state of a model, nearest first, so that a counterexample is a shortest one.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/model/program.hpp"

namespace kvtier::model {

struct Exploration {
  std::string violation;           // empty: the property holds in all states
  std::vector<std::string> trace;  // what led to it, one line a step
  uint64_t states = 0;
  uint64_t steps = 0;
  uint32_t depth = 0;
};

// Throws std::logic_error when the model exceeds a limit: an exploration is never cut short.
Exploration explore(const Model& model);

}  // namespace kvtier::model
