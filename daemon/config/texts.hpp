// Names, paths and addresses: which texts an option takes. Pure functions, any thread.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

#include "daemon/config/options.hpp"

namespace kvtier::daemon {

inline constexpr size_t kSocketPathBytesMax = 107;  // sockaddr_un holds 108 with the end

// Whether a text option takes this text, by its kind; empty is always taken.
std::optional<ValueProblem> check_text(const OptionRow& row, std::string_view text);

}  // namespace kvtier::daemon
