// Options of simulations as people write them. Pure.
#include "tools/simulate/settings.hpp"

#include <cmath>
#include <cstdlib>
#include <sstream>

namespace kvtier::tools {

std::vector<std::string> split_list(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::stringstream in(text);
  for (std::string part; std::getline(in, part, separator);) {
    if (!part.empty()) parts.push_back(part);
  }
  return parts;
}

// "9139" chunks, or "5%" of the trace's unique blocks, rounded down.
Result<uint64_t> chunks_of(const std::string& text, uint32_t unique) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  const bool share = end != nullptr && *end == '%';
  if (end == text.c_str() || (share ? end[1] : *end) != '\0' || !(value >= 0) || value > 1e15 ||
      (!share && value != std::floor(value))) {
    return Error::format(
        Code::kInvalidArgument,
        "'%s' is no number of chunks; give 9139, or 5%% of the trace's unique blocks",
        text.c_str());
  }
  // The smallest addend keeps 0.1 % of 1000 from being 0.999...
  return static_cast<uint64_t>(share ? value * unique / 100 + 1e-9 : value);
}

// "session-end=0.9" or "request-end=0.9" into options. Empty: no hints.
Status read_hints(const std::string& text, SimOptions& options) {
  if (text.empty()) return {};
  const size_t sign = text.find('=');
  const std::string name = text.substr(0, sign);
  char* end = nullptr;
  const double value = sign == std::string::npos ? -1 : std::strtod(text.c_str() + sign + 1, &end);
  const bool known = name == "session-end" || name == "request-end";
  if (!known || end == nullptr || *end != '\0' || !(value >= 0 && value <= 1)) {
    return Error::format(
        Code::kInvalidArgument,
        "--hints '%s' is unknown; give session-end=0.9 or request-end=0.9, a share from 0 to 1",
        text.c_str());
  }
  options.hints = name == "session-end" ? SimOptions::Hints::kBlocks : SimOptions::Hints::kSessions;
  options.hint_accuracy = value;
  return {};
}

Result<SimOptions> read_setting(const std::string& text, uint32_t unique) {
  SimOptions options;
  const std::vector<std::string> parts = split_list(text, ':');
  if (parts.empty()) return Error(Code::kInvalidArgument, "a setting begins with a policy");
  options.host = {parts[0], 0};
  std::string host = "5%", nvme = "0";
  for (size_t i = 1; i < parts.size(); ++i) {
    const size_t sign = parts[i].find('=');
    const std::string name = parts[i].substr(0, sign);
    const std::string value = sign == std::string::npos ? "" : parts[i].substr(sign + 1);
    char* end = nullptr;
    if (name == "host") {
      host = value;
    } else if (name == "nvme") {
      nvme = value;
    } else if (name == "hints") {
      if (Status status = read_hints(value, options); !status) return status.error();
    } else if (name == "writes" && !value.empty() &&
               (options.nvme_write_share = std::strtod(value.c_str(), &end)) >= 0 && *end == '\0') {
      continue;
    } else {
      return Error::format(Code::kInvalidArgument,
                           "'%s' is no setting; give host=5%%, nvme=50%%, writes=0.4 or "
                           "hints=session-end=0.9 behind the policy, with colons",
                           parts[i].c_str());
    }
  }
  const auto host_chunks = chunks_of(host, unique);
  if (!host_chunks) return host_chunks.error();
  const auto nvme_chunks = chunks_of(nvme, unique);
  if (!nvme_chunks) return nvme_chunks.error();
  options.host.chunks = *host_chunks;
  options.nvme = {parts[0], *nvme_chunks};
  return options;
}

}  // namespace kvtier::tools
