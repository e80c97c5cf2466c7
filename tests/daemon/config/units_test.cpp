// Sizes, times, shares, rates and modes: what is read, what is refused, and that nothing is
// rounded.
#include "daemon/config/units.hpp"

#include <gtest/gtest.h>

#include <random>

namespace kvtier::daemon {
namespace {

struct Case {
  UnitValue (*parse)(std::string_view);
  const char* text;
  uint64_t value;
};

TEST(Units, ReadExactValues) {
  const Case cases[] = {
      {parse_size, "0", 0},
      {parse_size, "4096B", 4096},
      {parse_size, "64GiB", 64ull << 30},
      {parse_size, "64 GiB", 64ull << 30},
      {parse_size, "1.5TiB", 3ull << 39},
      {parse_size, "0.5KiB", 512},
      {parse_size, "2GB", 2'000'000'000},
      {parse_size, "8191PiB", 8191ull << 50},
      {parse_rate, "8GiB/s", 8ull << 30},
      {parse_duration, "0", 0},
      {parse_duration, "250ms", 250'000'000},
      {parse_duration, "1.5s", 1'500'000'000},
      {parse_duration, "2m", 120'000'000'000},
      {parse_duration, "1d", 86'400'000'000'000},
      {parse_share, "12.5%", 125'000},
      {parse_share, "0.0001%", 1},
      {parse_share, "100%", 1'000'000},
      {parse_mode, "0660", 0660},
      {parse_mode, "777", 0777},
  };
  for (const Case& c : cases) {
    const UnitValue parsed = c.parse(c.text);
    EXPECT_TRUE(parsed.ok()) << c.text << ": " << parsed.problem;
    EXPECT_EQ(parsed.value, c.value) << c.text;
  }
}

struct Refusal {
  UnitValue (*parse)(std::string_view);
  const char* text;
  const char* help;
};

TEST(Units, RefuseWithTheRemedy) {
  const Refusal cases[] = {
      {parse_size, "", "write it as"},
      {parse_size, "GiB", "write it as"},
      {parse_size, "-1GiB", "write it as"},
      {parse_size, "1.GiB", "write it as"},
      {parse_size, "64", "write it as"},
      {parse_size, "64G", "did you mean \"64GiB\"?"},
      {parse_size, "64gib", "did you mean \"64GiB\"?"},
      {parse_size, "64GiBs", "did you mean \"64GiB\"?"},
      {parse_size, "0.3B", "fewer decimals"},
      {parse_size, "8192PiB", "write it as"},
      {parse_size, "999999999999999999PiB", "write it as"},
      {parse_size, "9999999999999999999PiB", "write it as"},
      {parse_size, "999999999999999999.999999999PiB", "write it as"},
      {parse_size, "8191.999999999PiB", "fewer decimals"},
      {parse_size, "99999999999999999999B", "write it as"},
      {parse_rate, "8GiB", "write it as \"8GiB/s\""},
      {parse_duration, "3 sec", "did you mean \"3s\"?"},
      {parse_duration, "3min", "did you mean \"3m\"?"},
      {parse_duration, "3mins", "did you mean \"3m"},
      {parse_duration, "0.5ns", "smaller unit"},
      {parse_share, "12.5", "write it as \"12.5%\""},
      {parse_share, "0.00001%", "fewer decimals"},
      {parse_mode, "660rw", "write it as \"0660\""},
      {parse_mode, "0990", "write it as \"0660\""},
      {parse_mode, "", "write it as \"0660\""},
  };
  for (const Refusal& c : cases) {
    const UnitValue parsed = c.parse(c.text);
    EXPECT_FALSE(parsed.ok()) << c.text << " was read as " << parsed.value;
    EXPECT_NE(parsed.help.find(c.help), std::string::npos) << c.text << ": " << parsed.help;
  }
}

TEST(Units, WhatIsShownReadsBackAsTheSame) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  for (int i = 0; i < 20'000; ++i) {
    const uint64_t value = (random() >> 1) >> (random() % 63);
    EXPECT_EQ(parse_size(format_size(value)).value, value);
    EXPECT_EQ(parse_rate(format_rate(value)).value, value);
    EXPECT_EQ(parse_duration(format_duration(value)).value, value);
    EXPECT_EQ(parse_share(format_share(value % 1'000'001)).value, value % 1'000'001);
    EXPECT_EQ(parse_mode(format_mode(value % 010000)).value, value % 010000);
  }
}

TEST(Units, ShowTheLargestUnitThatFits) {
  EXPECT_EQ(format_size(3ull << 39), "1536GiB");
  EXPECT_EQ(format_size(1000), "1000B");
  EXPECT_EQ(format_duration(90'000'000'000), "90s");
  EXPECT_EQ(format_duration(60'000'000'000), "1m");
  EXPECT_EQ(format_share(125'000), "12.5%");
  EXPECT_EQ(format_mode(0660), "0660");
}

}  // namespace
}  // namespace kvtier::daemon
