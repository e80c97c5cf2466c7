// A trace file as a stream of requests. Owned by the thread that reads it; holds one line at a
// time; never skips a line that it cannot read (blank ones excepted).
#include <cinttypes>
#include <string_view>
#include <utility>

#include "tools/trace/line_reader.hpp"
#include "tools/trace/trace_line.hpp"
#include "tools/trace/trace_source.hpp"

namespace kvtier::tools {
namespace {

bool blank(std::string_view line) {
  return line.find_first_not_of(" \t\r") == line.npos;
}

class TraceFile final : public TraceSource {
 public:
  TraceFile(std::string path, const TraceFileOptions& options, LineReader lines)
      : path_(std::move(path)), options_(options), lines_(std::move(lines)) {}

  // Reads the first request ahead; a file without one is refused.
  Status begin() {
    Result<bool> found = read(first_);
    if (!found.ok()) return found.error();
    if (*found) {
      first_waits_ = true;
      return {};
    }
    const char* what = lines_.had_bytes() ? "holds no request" : "is empty";
    return Error::format(Code::kInvalidArgument,
                         "%s: the file %s; expected one JSON object a line with timestamp, "
                         "input_length, output_length and hash_ids",
                         shown_path(path_).c_str(), what);
  }

  Result<bool> next(TraceRequest& request) override {
    if (!std::exchange(first_waits_, false)) return read(request);
    request = std::move(first_);
    return true;
  }

  std::string description() const override { return path_; }
  bool generated() const override { return false; }
  double progress() const override { return lines_.progress(); }

 private:
  Result<bool> read(TraceRequest& request) {
    if (!failure_.ok()) return failure_.error();
    Result<bool> found = read_line(request);
    if (!found.ok()) failure_ = found.error();
    return found;
  }

  Result<bool> read_line(TraceRequest& request) {
    std::string_view line;
    do {
      Result<bool> found = lines_.next(line);
      if (!found.ok()) return found.error();
      if (!*found) return false;
    } while (blank(line));
    Status parsed = parse_trace_line(line, options_, request);
    if (parsed.ok()) return true;
    return Error::format(Code::kInvalidArgument, "%s:%" PRIu64 ": %s%s", shown_path(path_).c_str(),
                         lines_.line_number(), parsed.error().message(),
                         lines_.line_ended() ? "" : "; the last line has no end: truncated?");
  }

  std::string path_;
  TraceFileOptions options_;
  LineReader lines_;
  Status failure_;
  TraceRequest first_;
  bool first_waits_ = false;
};

}  // namespace

Result<std::unique_ptr<TraceSource>> open_trace(const std::string& path,
                                                const TraceFileOptions& options) {
  Result<LineReader> lines = LineReader::open(
      path, {.line_bytes_max = options.line_bytes_max, .window_log_max = options.window_log_max});
  if (!lines.ok()) return lines.error();
  auto trace = std::make_unique<TraceFile>(path, options, std::move(*lines));
  if (Status begun = trace->begin(); !begun.ok()) return begun.error();
  return std::unique_ptr<TraceSource>(std::move(trace));
}

}  // namespace kvtier::tools
