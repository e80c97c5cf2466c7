// What may be asked of load_prefix() and restore(): consecutive chunks of a chain. Pure.
#pragma once

#include <span>

#include "kvtier/kvtier.hpp"

namespace kvtier::client {

// Errors: invalid_argument.
inline Status consecutive(const KeyChain& chain, std::span<const LoadTarget> targets) {
  for (size_t i = 0; i < targets.size(); ++i) {
    if (targets[i].chunk == targets[0].chunk + i && targets[i].chunk < chain.size()) continue;
    return Error::format(Code::kInvalidArgument,
                         "target %zu is chunk %zu; due are consecutive chunks of a chain of %zu", i,
                         targets[i].chunk, chain.size());
  }
  return {};
}

}  // namespace kvtier::client
