// One line of a trace: JSON text to a TraceRequest and back. Pure; any thread. The only file here
// that knows the JSON library; it parses events (no tree), so a line costs its ids and no more.
#include "tools/trace/trace_line.hpp"

#include <array>
#include <cinttypes>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace kvtier::tools {
namespace {

using Json = nlohmann::json;

enum Field : size_t {
  kTimestamp,
  kInputLength,
  kOutputLength,
  kHashIds,
  kBlockTokens,
  kSession,
  kSessionEnd,
  kUnknown,  // and the number of known ones
};

struct FieldRow {
  const char* name;
  bool required;
  const char* expected;
};

constexpr std::array<FieldRow, kUnknown> kFields{{
    {"timestamp", true, "milliseconds from 0 on"},
    {"input_length", true, "an integer from 0 to 2^40"},
    {"output_length", true, "an integer from 0 to 2^40"},
    {"hash_ids", true, "an array of non-negative integers"},
    {"block_tokens", false, "an integer from 1 to 1048576"},
    {"session", false, "a string or a number"},
    {"session_end", false, "true or false"},
}};

constexpr uint64_t kBlockTokensMax = 1u << 20;
constexpr uint64_t kLengthMax = 1ull << 40;           // sums over any trace fit into 64 bits
constexpr double kTimestampEnd = 9007199254740992.0;  // 2^53: above it a double skips integers

// Receives the parser's events; returns false, with error_ set, to stop it.
class LineHandler {
 public:
  LineHandler(const TraceFileOptions& options, TraceRequest& request)
      : options_(options), request_(request) {}

  Status finish(bool parsed) const {
    if (!parsed) return error_;
    for (size_t i = 0; i < kUnknown; ++i) {
      if (kFields[i].required && !seen_[i]) {
        return Error::format(Code::kInvalidArgument, "%s: missing, expected %s", kFields[i].name,
                             kFields[i].expected);
      }
    }
    return {};
  }

  // Names and types of what follows are the JSON library's.
  bool null() { return ignored() || refuse("null"); }
  bool boolean(bool value) {
    if (ignored()) return true;
    if (field_ != kSessionEnd) return refuse(value ? "true" : "false");
    request_.session_end = value;
    return true;
  }
  bool number_integer(Json::number_integer_t value) {
    if (ignored()) return true;
    if (field_ == kSession) return set_session(std::to_string(value));
    return refuse_number(std::to_string(value));  // only negative ones come here
  }
  bool number_unsigned(Json::number_unsigned_t value) {
    if (field_ == kHashIds && depth_ == 2) [[likely]] {
      if (request_.hash_ids.size() >= options_.hash_ids_max) return refuse_count();
      request_.hash_ids.push_back(value);
      return true;
    }
    return ignored() || set_number(value);
  }
  bool number_float(Json::number_float_t value, const std::string& text) {
    if (ignored()) return true;
    if (field_ == kSession) return set_session(text);
    if (field_ != kTimestamp || !(value >= 0 && value < kTimestampEnd)) return refuse_number(text);
    request_.timestamp_ms = static_cast<uint64_t>(std::floor(value));
    return true;
  }
  bool string(std::string& value) {
    if (ignored()) return true;
    return field_ == kSession ? set_session(std::move(value)) : refuse("a string");
  }
  bool binary(Json::binary_t&) { return refuse("bytes"); }
  bool key(std::string& name) {
    if (depth_ != 1) return true;
    field_ = kUnknown;
    for (size_t i = 0; i < kUnknown; ++i) {
      if (name == kFields[i].name) field_ = static_cast<Field>(i);
    }
    if (field_ == kUnknown) return true;
    if (seen_[field_]) return fail("%s: given twice in one line", kFields[field_].name);
    seen_[field_] = true;
    return true;
  }
  bool start_object(size_t) {
    if (depth_ != 0 && !ignored()) return refuse("an object");
    return deeper();
  }
  bool start_array(size_t) {
    if (depth_ == 1 && field_ == kHashIds) return deeper();
    if (!ignored()) return refuse("an array");
    return deeper();
  }
  bool end_object() { return --depth_, true; }
  bool end_array() { return --depth_, true; }
  bool parse_error(size_t position, const std::string& token, const Json::exception& problem) {
    (void)token;
    // "[json.exception.parse_error.101] parse error at line 1, column 5: text": the text is enough.
    const char* text = problem.what();
    const char* colon = std::strstr(text, ": ");
    return fail("not a JSON object: %.150s (byte %zu of the line)",
                colon == nullptr ? text : colon + 2, position);
  }

 private:
  [[gnu::format(printf, 2, 3)]] bool fail(const char* format, ...) {
    char text[Error::kMessageBytesMax];
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    error_ = Error(Code::kInvalidArgument, text);
    return false;
  }

  // Whether the value at hand belongs to a field that the format does not know.
  bool ignored() const { return depth_ > 0 && field_ == kUnknown; }

  bool deeper() {
    if (depth_ >= kTraceLineDepthMax) {
      return fail("nested deeper than %d levels; a trace line is one flat object",
                  kTraceLineDepthMax);
    }
    ++depth_;
    return true;
  }

  bool refuse(const char* found) {
    if (depth_ == 0) return fail("found %s, expected one JSON object a line", found);
    if (field_ == kHashIds && depth_ >= 2) {
      return fail("hash_ids: found %s at position %zu, expected a non-negative integer", found,
                  request_.hash_ids.size());
    }
    return fail("%s: found %s, expected %s", kFields[field_].name, found, kFields[field_].expected);
  }
  bool refuse_number(const std::string& text) {
    char shown[64];
    const bool too_large = text.size() > 19 && text.find_first_not_of("0123456789") == text.npos;
    std::snprintf(shown, sizeof shown, "%.32s%s", text.c_str(),
                  too_large ? " (more than 64 bits)" : "");
    return refuse(shown);
  }
  bool refuse_count() {
    return fail("hash_ids: more than %" PRIu64 " ids in one request", options_.hash_ids_max);
  }

  bool set_number(uint64_t value) {
    switch (depth_ == 1 ? field_ : kUnknown) {
      case kTimestamp:
        request_.timestamp_ms = value;
        return true;
      case kInputLength:
        if (value > kLengthMax) return refuse_number(std::to_string(value));
        request_.input_length = value;
        return true;
      case kOutputLength:
        if (value > kLengthMax) return refuse_number(std::to_string(value));
        request_.output_length = value;
        return true;
      case kBlockTokens:
        if (value == 0 || value > kBlockTokensMax) return refuse_number(std::to_string(value));
        request_.block_tokens = static_cast<uint32_t>(value);
        return true;
      case kSession:
        return set_session(std::to_string(value));
      default:
        return refuse_number(std::to_string(value));
    }
  }
  bool set_session(std::string text) {
    if (text.size() > kSessionBytesMax) {
      return fail("session: %zu bytes long, at most %zu are allowed", text.size(),
                  kSessionBytesMax);
    }
    request_.session = std::move(text);
    return true;
  }

  const TraceFileOptions& options_;
  TraceRequest& request_;
  Error error_{Code::kInvalidArgument, "not a JSON object"};
  Field field_ = kUnknown;
  int depth_ = 0;
  std::array<bool, kUnknown> seen_{};
};

}  // namespace

Status parse_trace_line(std::string_view line, const TraceFileOptions& options,
                        TraceRequest& request) {
  request.hash_ids.clear();
  request.block_tokens = options.block_tokens_default;
  request.session.reset();
  request.session_end = false;
  LineHandler handler(options, request);
  const bool parsed = Json::sax_parse(line.data(), line.data() + line.size(), &handler);
  return handler.finish(parsed);
}

std::string format_trace_line(const TraceRequest& request) {
  std::string line = "{\"timestamp\":" + std::to_string(request.timestamp_ms) +
                     ",\"input_length\":" + std::to_string(request.input_length) +
                     ",\"output_length\":" + std::to_string(request.output_length) +
                     ",\"hash_ids\":[";
  for (size_t i = 0; i < request.hash_ids.size(); ++i) {
    if (i != 0) line += ',';
    line += std::to_string(request.hash_ids[i]);
  }
  line += "],\"block_tokens\":" + std::to_string(request.block_tokens);
  if (request.session) {
    const auto replace = Json::error_handler_t::replace;  // never throws on bad UTF-8
    line += ",\"session\":" + Json(*request.session).dump(-1, ' ', false, replace);
  }
  if (request.session_end) line += ",\"session_end\":true";
  line += '}';
  return line;
}

}  // namespace kvtier::tools
