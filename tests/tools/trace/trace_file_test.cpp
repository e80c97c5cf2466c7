// Trace files: plain and compressed ones give the same requests; every kind of broken file is
// refused with its place.
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/tools/trace/trace_test_support.hpp"
#include "tools/trace/trace_line.hpp"
#include "tools/trace/trace_statistics.hpp"

namespace kvtier::tools {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr const char* kLine =
    R"({"timestamp":1,"input_length":9,"output_length":1,"hash_ids":[3]})";

// Lines of growing length, many more bytes than one read.
std::string long_text(std::vector<TraceRequest>* requests) {
  std::string text;
  TraceRequest request;
  for (uint64_t i = 0; i < 600; ++i) {
    request.timestamp_ms = i;
    request.input_length = i * 512;
    request.session = std::to_string(i % 7);
    request.hash_ids.push_back(i * 0x9e3779b97f4a7c15);
    if (requests != nullptr) requests->push_back(request);
    text += format_trace_line(request) + "\n";
  }
  return text;
}

std::string error_of(std::string_view bytes, const TraceFileOptions& options = {}) {
  const TemporaryFile file(bytes);
  std::string error = "accepted";
  read_all(file.path(), &error, options);
  const size_t name = error.find(file.path());
  return name == std::string::npos ? error : error.replace(name, file.path().size(), "FILE");
}

TEST(TraceFile, ReadsPlainAndCompressedAlike) {
  std::vector<TraceRequest> expected;
  const std::string text = long_text(&expected);
  ASSERT_GT(text.size(), 3u << 20);
  for (const int window_log : {0, 10, 27}) {
    const TemporaryFile file(window_log == 0 ? text : compress(text, window_log));
    std::string error;
    EXPECT_EQ(read_all(file.path(), &error), expected) << window_log;
    EXPECT_EQ(error, "");
  }
}

TEST(TraceFile, ReadsSeveralFramesAsOneFile) {
  std::vector<TraceRequest> expected;
  const std::string text = long_text(&expected);
  const size_t middle = text.size() / 2;                             // inside a line
  const std::string skippable("\x50\x2a\x4d\x18\x03\0\0\0abc", 11);  // RFC 8878, 3.1.2
  const TemporaryFile file(compress(text.substr(0, middle)) + skippable + compress("") +
                           compress(text.substr(middle)));
  std::string error;
  EXPECT_EQ(read_all(file.path(), &error), expected);
  EXPECT_EQ(error, "");
}

TEST(TraceFile, SkipsBlankLinesAndReadsTheLastLineWithoutItsEnd) {
  const std::string line = kLine;
  const TemporaryFile file("\n" + line + "\r\n \t\n\n" + line);
  std::string error;
  EXPECT_EQ(read_all(file.path(), &error).size(), 2u);
  EXPECT_EQ(error, "");
}

TEST(TraceFile, KnowsWhereItIs) {
  const TemporaryFile file(long_text(nullptr));
  auto source = open_trace(file.path());
  ASSERT_TRUE(source.ok());
  EXPECT_EQ((*source)->description(), file.path());
  EXPECT_FALSE((*source)->generated());
  double before = -1;
  TraceRequest request;
  while (*(*source)->next(request)) {
    EXPECT_GE((*source)->progress(), before);
    before = (*source)->progress();
  }
  EXPECT_EQ((*source)->progress(), 1);
}

TEST(TraceFile, RefusesAFileThatIsNotThereOrNoFile) {
  EXPECT_EQ(open_trace("/nonexistent/a.jsonl").code(), Code::kNotFound);
  EXPECT_THAT(open_trace("/nonexistent/a.jsonl").error().message(),
              StartsWith("/nonexistent/a.jsonl: no such file"));
  EXPECT_EQ(open_trace("/").code(), Code::kSystem);
  EXPECT_THAT(open_trace("/").error().message(), HasSubstr("Is a directory"));
}

TEST(TraceFile, RefusesAFileWithoutARequest) {
  EXPECT_THAT(error_of(""), StartsWith("FILE: the file is empty; expected one JSON object a line"));
  EXPECT_THAT(error_of("\n \n"), StartsWith("FILE: the file holds no request; expected"));
  EXPECT_THAT(error_of(compress("")), StartsWith("FILE: the file holds no request; expected"));
}

TEST(TraceFile, NamesTheLineThatIsWrong) {
  const std::string line = kLine;
  EXPECT_EQ(error_of(line + "\n\n{\"timestamp\":1,\"hash_ids\":[0,\"a\"]}\n" + line),
            "FILE:3: hash_ids: found a string at position 1, expected a non-negative integer");
  EXPECT_THAT(error_of(line + "\n" + line.substr(0, 40)),
              testing::AllOf(StartsWith("FILE:2: not a JSON object"),
                             HasSubstr("the last line has no end: truncated?")));
}

TEST(TraceFile, RefusesALineBeyondTheLimitInBoundedMemory) {
  const std::string line = kLine;
  const TraceFileOptions options{.line_bytes_max = line.size()};
  EXPECT_EQ(error_of(line + "\n" + line, options), "accepted");
  EXPECT_THAT(error_of(line + "\n " + line, options),
              StartsWith("FILE:2: the line is longer than"));
  // 1 GiB of zeros in a few kilobytes: only the limit's worth may be unpacked.
  const std::string zeros = compress(std::string(64u << 20, '\0'));
  std::string bomb;
  for (int i = 0; i < 16; ++i) bomb += zeros;
  EXPECT_THAT(error_of(bomb, {.line_bytes_max = 1u << 20}),
              StartsWith("FILE:1: the line is longer than 1048576 bytes"));
}

TEST(TraceFile, SaysWhereACompressedFileIsCut) {
  const std::string packed = compress(long_text(nullptr));
  const std::string cut = error_of(packed.substr(0, packed.size() - 1));
  EXPECT_THAT(cut, StartsWith("FILE: truncated: the zstd stream ends inside a frame at compressed "
                              "byte " +
                              std::to_string(packed.size() - 1) + ", after line "));
  for (const size_t bytes : {size_t{4}, size_t{5}, packed.size() / 3, packed.size() / 2}) {
    EXPECT_THAT(error_of(packed.substr(0, bytes)),
                HasSubstr("compressed byte " + std::to_string(bytes) + ", after line "));
  }
}

TEST(TraceFile, RefusesADamagedCompressedFile) {
  std::string packed = compress(long_text(nullptr));
  const std::string whole = packed;
  packed[packed.size() - 2] ^= 0x20;  // in the frame's checksum
  EXPECT_THAT(error_of(packed), HasSubstr("the file is damaged"));
  EXPECT_THAT(error_of(whole + "garbage"), HasSubstr("the file is damaged"));
  EXPECT_THAT(error_of(compress(kLine, 20), {.window_log_max = 12}), HasSubstr("zstd: "));
}

TEST(TraceFile, NamesOtherCompressions) {
  EXPECT_THAT(error_of("\x1f\x8b\x08\x01"), HasSubstr("FILE: compressed with gzip or xz"));
  EXPECT_THAT(error_of(std::string("\xfd"
                                   "7zXZ\0",
                                   6)),
              HasSubstr("compress it with zstd"));
}

TEST(TraceFile, ShortensALongPathInMessages) {
  const std::string path = "/nonexistent/" + std::string(200, 'd') + "/trace.jsonl";
  const std::string message = open_trace(path).error().message();
  EXPECT_THAT(message, StartsWith("...ddd"));
  EXPECT_THAT(message, HasSubstr("/trace.jsonl: no such file; give the path of a trace"));
}

TEST(TraceStatistics, CountsWhatAnInfiniteCacheWouldHit) {
  TraceStatistics statistics;
  const auto add = [&](uint64_t time, uint64_t input, std::vector<uint64_t> ids) {
    TraceRequest request;
    request.timestamp_ms = time;
    request.input_length = input;
    request.output_length = 10;
    request.hash_ids = std::move(ids);
    ASSERT_TRUE(statistics.add(request).ok());
  };
  add(100, 1500, {1, 2, 3});
  add(50, 1100, {1, 2, 4});  // hits 1 2
  add(300, 600, {1, 3});     // hits 1 3: each was seen
  add(300, 512, {5, 1});     // an unseen head: no hit; and one id more than tokens
  const TraceSummary sum = statistics.summary();
  EXPECT_EQ(sum.requests, 4u);
  EXPECT_EQ(sum.blocks_asked, 10u);
  EXPECT_EQ(sum.blocks_unique, 5u);
  EXPECT_EQ(sum.blocks_hit_infinite, 4u);
  EXPECT_DOUBLE_EQ(sum.hit_rate_infinite(), 0.4);
  EXPECT_EQ(sum.tokens_input, 3712u);
  EXPECT_EQ(sum.tokens_output, 40u);
  EXPECT_EQ(sum.tokens_hit_infinite, 1024u + 600u);  // a partial block counts its own tokens
  EXPECT_EQ(sum.request_blocks_max, 3u);
  EXPECT_EQ(sum.timestamp_first_ms, 100u);
  EXPECT_EQ(sum.timestamp_last_ms, 300u);
  EXPECT_EQ(sum.timestamps_backwards, 1u);
  EXPECT_EQ(sum.ids_beyond_input, 1u);
}

TEST(TraceStatistics, StopsAtItsLimitOfDistinctBlocks) {
  TraceStatistics statistics(2);
  TraceRequest request;
  request.hash_ids = {1, 2};
  EXPECT_TRUE(statistics.add(request).ok());
  request.hash_ids = {3};
  EXPECT_EQ(statistics.add(request).code(), Code::kFull);
}

TEST(RecordedTraces, HaveThePublishedSizes) {
  const std::string conversation = recorded_trace("conversation.jsonl");
  SKIP_WITHOUT_TRACE(conversation, "conversation.jsonl");
  auto chats = open_trace(conversation);
  ASSERT_TRUE(chats.ok()) << chats.error().message();
  auto sum = summarize_trace(**chats);
  ASSERT_TRUE(sum.ok()) << sum.error().message();
  EXPECT_EQ(sum->requests, 12'031u);
  EXPECT_EQ(sum->blocks_asked, 288'500u);
  EXPECT_EQ(sum->blocks_unique, 182'790u);
  EXPECT_NEAR(100 * sum->hit_rate_infinite(), 36.64, 0.005);
  EXPECT_EQ(sum->ids_beyond_input, 0u);
}

TEST(RecordedTraces, OfAgentsHaveThePublishedSizes) {
  const std::string agents = recorded_trace("agents.jsonl.zst");
  SKIP_WITHOUT_TRACE(agents, "agents.jsonl.zst");
  auto source = open_trace(agents);
  ASSERT_TRUE(source.ok()) << source.error().message();
  auto sum = summarize_trace(**source);
  ASSERT_TRUE(sum.ok()) << sum.error().message();
  EXPECT_EQ(sum->requests, 8'000u);
  EXPECT_EQ(sum->blocks_asked, 3'971'177u);
  EXPECT_EQ(sum->blocks_unique, 160'175u);
  EXPECT_NEAR(100 * sum->hit_rate_infinite(), 95.97, 0.005);
  EXPECT_EQ(sum->block_tokens_min, 256u);
  EXPECT_EQ(sum->block_tokens_max, 256u);
}

}  // namespace
}  // namespace kvtier::tools
