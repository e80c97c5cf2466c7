// Every order and every rule of docs/protocol.md that the model can change, and what it found.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tests/model/program.hpp"

namespace kvtier::model {

enum class Found {
  kViolation,  // some scenario of the protocol fails without it
  kNothing,    // the model does not tell the changed protocol from the full one
};

struct Change {
  std::string protocol;
  std::string name;             // as in the scenarios: an order, or a rule
  std::optional<Order> weaker;  // of the order; none: the rule is broken
  Found found;
  std::string meaning;  // what the order or rule is for; with kNothing: why the model sees nothing

  std::string label() const;  // "lease: R as acq_rel"
};

const std::vector<Change>& changes();

}  // namespace kvtier::model
