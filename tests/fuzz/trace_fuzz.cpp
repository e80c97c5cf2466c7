// Fuzz target: any bytes as a trace file. It ends within its limits, gives requests that survive
// being written and read again, or says what is wrong.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tools/trace/trace_line.hpp"
#include "tools/trace/trace_source.hpp"
#include "tools/trace/trace_statistics.hpp"

namespace kvtier::tools {
namespace {

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "%s\n", what);
  std::abort();
}

// Small limits, so that small inputs reach them; few requests, so that a tiny file that unpacks to
// many does not take all the time.
constexpr TraceFileOptions kOptions{
    .line_bytes_max = 4096, .hash_ids_max = 64, .window_log_max = 20};
constexpr int kRequestsMax = 512;

void read_all(const char* path) {
  auto source = open_trace(path, kOptions);
  if (!source.ok()) return require(source.error().message()[0] != '\0', "an error without a text");
  TraceStatistics statistics;
  TraceRequest request;
  TraceRequest again;
  for (int i = 0; i < kRequestsMax; ++i) {
    auto more = (*source)->next(request);
    if (!more.ok()) return require(std::strlen(more.error().message()) > 10, "no text");
    if (!*more) return;
    require(request.hash_ids.size() <= kOptions.hash_ids_max, "too many ids");
    require(request.block_tokens != 0, "no tokens per block");
    require((*source)->progress() <= 1, "progress beyond the end");
    const std::string line = format_trace_line(request);
    require(parse_trace_line(line, kOptions, again).ok(), "cannot read what it wrote");
    require(again == request, "reads something else than it wrote");
    require(statistics.add(request).ok(), "statistics");
  }
}

}  // namespace
}  // namespace kvtier::tools

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  using kvtier::tools::require;
  static const int kFile = memfd_create("trace", MFD_CLOEXEC);
  require(kFile >= 0 && ftruncate(kFile, 0) == 0, "memfd");
  require(pwrite(kFile, data, bytes, 0) == static_cast<ssize_t>(bytes), "pwrite");
  char path[32];
  std::snprintf(path, sizeof path, "/proc/self/fd/%d", kFile);
  kvtier::tools::read_all(path);
  return 0;
}
