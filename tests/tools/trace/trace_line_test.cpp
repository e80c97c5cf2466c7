// The trace's line format: worked examples, and what each kind of wrong line is told.
#include "tools/trace/trace_line.hpp"

#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kvtier::tools {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TraceRequest parse(const std::string& line, const TraceFileOptions& options = {}) {
  TraceRequest request;
  request.session = "left over";
  request.session_end = true;
  request.hash_ids = {99};
  request.block_tokens = 7;
  Status parsed = parse_trace_line(line, options, request);
  EXPECT_TRUE(parsed.ok()) << parsed.error().message() << " in " << line;
  return request;
}

std::string refusal(const std::string& line, const TraceFileOptions& options = {}) {
  TraceRequest request;
  Status parsed = parse_trace_line(line, options, request);
  EXPECT_EQ(parsed.code(), Code::kInvalidArgument) << line;
  return parsed.ok() ? "accepted" : parsed.error().message();
}

TEST(TraceLine, ReadsALineWithTheRequiredFieldsOnly) {
  const TraceRequest request = parse(
      R"({"timestamp": 27, "input_length": 1100, "output_length": 3, "hash_ids": [0, 46, 47]})");
  EXPECT_EQ(request.timestamp_ms, 27u);
  EXPECT_EQ(request.input_length, 1100u);
  EXPECT_EQ(request.output_length, 3u);
  EXPECT_THAT(request.hash_ids, ElementsAre(0u, 46u, 47u));
  EXPECT_EQ(request.block_tokens, 512u);
  EXPECT_FALSE(request.session.has_value());
  EXPECT_FALSE(request.session_end);
}

TEST(TraceLine, ReadsALineWithAllFieldsInAnyOrder) {
  const TraceRequest request = parse(
      R"({"session_end":true,"session":"5.0","block_tokens":256,"hash_ids":[18446744073709551615],)"
      R"("output_length":239,"input_length":256,"timestamp":499000})");
  EXPECT_THAT(request.hash_ids, ElementsAre(UINT64_MAX));
  EXPECT_EQ(request.block_tokens, 256u);
  EXPECT_EQ(request.session, "5.0");
  EXPECT_TRUE(request.session_end);
  EXPECT_EQ(request.timestamp_ms, 499000u);
}

TEST(TraceLine, TakesBlockTokensOfTheCallerWhereTheLineHasNone) {
  const std::string line = R"({"timestamp":0,"input_length":0,"output_length":0,"hash_ids":[]})";
  EXPECT_EQ(parse(line, {.block_tokens_default = 16}).block_tokens, 16u);
}

TEST(TraceLine, HoldsANumberedSessionAsItsText) {
  const auto session = [](const std::string& text) {
    return parse(R"({"timestamp":0,"input_length":0,"output_length":0,"hash_ids":[],"session":)" +
                 text + "}")
        .session;
  };
  EXPECT_EQ(session("17"), "17");
  EXPECT_EQ(session("-3"), "-3");
  EXPECT_EQ(session("2.5"), "2.5");
  EXPECT_EQ(session(R"("caf\u00e9")"), "caf\xc3\xa9");
}

TEST(TraceLine, DropsTheFractionOfATimestamp) {
  EXPECT_EQ(parse(R"({"timestamp":1500.9,"input_length":0,"output_length":0,"hash_ids":[]})")
                .timestamp_ms,
            1500u);
}

TEST(TraceLine, SkipsUnknownFieldsWhateverTheyHold) {
  const TraceRequest request =
      parse(R"({"model":"m","tools":[{"hash_ids":[7]},[-1,2.5,null,true]],"timestamp":1,)"
            R"("input_length":2,"meta":{"timestamp":"x","session_end":3},"output_length":3,)"
            R"("hash_ids":[4],"note":null,"big":99999999999999999999999})");
  EXPECT_EQ(request.timestamp_ms, 1u);
  EXPECT_THAT(request.hash_ids, ElementsAre(4u));
  EXPECT_FALSE(request.session_end);
}

TEST(TraceLine, WritesWhatItReads) {
  TraceRequest request;
  request.timestamp_ms = 5;
  request.input_length = 700;
  request.output_length = 1;
  request.hash_ids = {0, UINT64_MAX};
  request.block_tokens = 256;
  request.session = "a\"b\n";
  request.session_end = true;
  EXPECT_EQ(format_trace_line(request), R"({"timestamp":5,"input_length":700,"output_length":1,)"
                                        R"("hash_ids":[0,18446744073709551615],"block_tokens":256,)"
                                        R"("session":"a\"b\n","session_end":true})");
  EXPECT_EQ(parse(format_trace_line(request)), request);
}

std::string with_ids(const std::string& ids) {
  return R"({"timestamp":0,"input_length":1,"output_length":1,"hash_ids":)" + ids + "}";
}

TEST(TraceLine, NamesTheWrongId) {
  EXPECT_EQ(refusal(with_ids(R"([1,2,3,"4"])")),
            "hash_ids: found a string at position 3, expected a non-negative integer");
  EXPECT_EQ(refusal(with_ids("[-1]")),
            "hash_ids: found -1 at position 0, expected a non-negative integer");
  EXPECT_EQ(refusal(with_ids("[1,2.5]")),
            "hash_ids: found 2.5 at position 1, expected a non-negative integer");
  EXPECT_EQ(refusal(with_ids("[18446744073709551616]")),
            "hash_ids: found 18446744073709551616 (more than 64 bits) at position 0, expected a "
            "non-negative integer");
  EXPECT_THAT(refusal(with_ids("[1,null]")), HasSubstr("found null at position 1"));
  EXPECT_THAT(refusal(with_ids("[true]")), HasSubstr("found true at position 0"));
  EXPECT_THAT(refusal(with_ids("[[1]]")), HasSubstr("found an array at position 0"));
  EXPECT_THAT(refusal(with_ids("[{}]")), HasSubstr("found an object at position 0"));
}

TEST(TraceLine, NamesTheWrongField) {
  const std::string rest = R"("output_length":1,"hash_ids":[1]})";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"({"timestamp":"5","input_length":1,)" + rest, "timestamp: found a string"},
      {R"({"timestamp":-5,"input_length":1,)" + rest, "timestamp: found -5"},
      {R"({"timestamp":-0.5,"input_length":1,)" + rest, "timestamp: found -0.5"},
      {R"({"timestamp":1e300,"input_length":1,)" + rest, "timestamp: found 1e300"},
      {R"({"timestamp":5,"input_length":1.5,)" + rest, "input_length: found 1.5"},
      {R"({"timestamp":5,"input_length":[1],)" + rest, "input_length: found an array"},
      {R"({"timestamp":5,"input_length":1099511627777,)" + rest, "from 0 to 2^40"},
      {R"({"timestamp":5,"input_length":1,"block_tokens":0,)" + rest, "block_tokens: found 0"},
      {R"({"timestamp":5,"input_length":1,"block_tokens":2000000,)" + rest, "from 1 to 1048576"},
      {R"({"timestamp":5,"input_length":1,"session":[1],)" + rest, "session: found an array"},
      {R"({"timestamp":5,"input_length":1,"session":null,)" + rest, "session: found null"},
      {R"({"timestamp":5,"input_length":1,"session_end":1,)" + rest, "session_end: found 1"},
      {R"({"timestamp":5,"timestamp":6,"input_length":1,)" + rest, "timestamp: given twice"},
      {R"({"timestamp":5,"input_length":1,"hash_ids":[],)" + rest, "hash_ids: given twice"},
      {R"({"timestamp":5,)" + rest, "input_length: missing"},
      {with_ids("7"), "hash_ids: found 7, expected an array"},
      {with_ids("{}"), "hash_ids: found an object, expected an array"},
      {R"({"timestamp":5,"input_length":1,"output_length":1})", "hash_ids: missing"},
      {R"({"timestamp":5,"input_length":1,"session":")" + std::string(257, 'x') + "\"," + rest,
       "session: 257 bytes long"},
  };
  for (const auto& [line, expected] : cases) EXPECT_THAT(refusal(line), HasSubstr(expected));
}

TEST(TraceLine, RefusesWhatIsNoObject) {
  for (const char* line : {"[1,2]", "7", "null", "\"x\"", "true", "-1", "1.5"}) {
    EXPECT_THAT(refusal(line), HasSubstr("expected one JSON object a line")) << line;
  }
  for (const char* line : {"", "timestamp,ids", "{", R"({"timestamp":)", "{} {}", "{'a':1}",
                           R"({"timestamp":01})", "{\"a\":\"\xff\"}", R"({"a":1e999})"}) {
    EXPECT_THAT(refusal(line), HasSubstr("not a JSON object")) << line;
  }
}

TEST(TraceLine, BoundsDepthAndNumberOfIds) {
  const auto nested = [](size_t levels) {
    return R"({"x":)" + std::string(levels, '[') + std::string(levels, ']') +
           R"(,"timestamp":0,"input_length":0,"output_length":0,"hash_ids":[1,2,3]})";
  };
  parse(nested(15));
  EXPECT_THAT(refusal(nested(16)), HasSubstr("nested deeper than 16 levels"));
  parse(nested(0).replace(5, 0, "0"), {.hash_ids_max = 3});
  EXPECT_THAT(refusal(nested(1), {.hash_ids_max = 2}), HasSubstr("more than 2 ids"));
}

}  // namespace
}  // namespace kvtier::tools
