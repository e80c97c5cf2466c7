// The judgements of kvtier doctor, a row each, over facts that were gathered. Pure, any thread.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "tools/cli/doctor/facts.hpp"

namespace kvtier::tools {

enum class Verdict : uint8_t {
  kOk,
  kNote,      // good to know; nothing is worse for it than it must be
  kDegraded,  // works worse than it should, or not at all
};
const char* verdict_name(Verdict verdict);

struct Finding {
  Verdict verdict = Verdict::kOk;
  std::string found;
  std::string remedy;  // never empty for kDegraded
};

struct CheckRow {
  std::string_view name;  // stable, for scripts
  Finding (*judge)(const Facts& facts);
};
std::span<const CheckRow> check_rows();

}  // namespace kvtier::tools
