// Units, tables, colours and screens.
#include "tools/cli/output.hpp"

#include <gtest/gtest.h>

#include <sstream>

#include "tools/cli/terminal.hpp"

namespace kvtier::tools {
namespace {

TEST(Output, BytesHaveOneDigitAndABinaryUnit) {
  EXPECT_EQ(show_bytes(0), "0 B");
  EXPECT_EQ(show_bytes(1023), "1023 B");
  EXPECT_EQ(show_bytes(1024), "1.0 KiB");
  EXPECT_EQ(show_bytes(1.5 * 1024 * 1024 * 1024), "1.5 GiB");
  EXPECT_EQ(show_bytes(1024.0 * 1024 - 1), "1.0 MiB");
  EXPECT_EQ(show_bytes(1e30), "867361737988.4 EiB");
}

TEST(Output, CountsTimesAndShares) {
  EXPECT_EQ(show_count(0), "0");
  EXPECT_EQ(show_count(999), "999");
  EXPECT_EQ(show_count(1000), "1,000");
  EXPECT_EQ(show_count(1234567), "1,234,567");
  EXPECT_EQ(show_seconds(250e-6), "250 us");
  EXPECT_EQ(show_seconds(4.25), "4.25 s");
  EXPECT_EQ(show_seconds(59.96), "60 s");
  EXPECT_EQ(show_seconds(3 * 3600 + 12 * 60), "3 h 12 min");
  EXPECT_EQ(show_seconds(2 * 86400 + 3600), "2 d 1 h");
  EXPECT_EQ(show_percent(1, 8), "12.5 %");
  EXPECT_EQ(show_percent(1, 0), "-");
}

TEST(Output, TablesAlignByCharactersAndEndWithoutBlanks) {
  Table table({{"NAME"}, {"SIZE", Table::Align::kRight}, {"NOTE"}});
  table.row({"a", "1", "x"});
  table.row({"größer", "1,000", ""});
  std::ostringstream out;
  table.print(out, false);
  EXPECT_EQ(out.str(),
            "NAME     SIZE  NOTE\n"
            "a           1  x\n"
            "größer  1,000\n");
  std::ostringstream nothing;
  Table({{"A"}}).print(nothing, false);
  EXPECT_EQ(nothing.str(), "");
}

TEST(Output, ColourIsOnlyThereWhenAskedFor) {
  EXPECT_EQ(paint(false, Color::kRed, "x"), "x");
  EXPECT_EQ(paint(true, Color::kRed, "x"), "\033[31mx\033[0m");
}

TEST(Output, ControlCharactersBecomeQuestionMarks) {
  EXPECT_EQ(printable("a\033[2Jb\nc\x7f\x01"), "a?[2Jb?c??");
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m"),
            "?31m");
  EXPECT_EQ(printable("größer"), "größer");
  Table table({{"A"}});
  table.row({"x\033]0;evil\007"});
  std::ostringstream out;
  table.print(out, false);
  EXPECT_EQ(out.str(), "A\nx?]0;evil?\n");
}

TEST(Screen, IsCutToColumnsAndLinesWithoutCountingColours) {
  EXPECT_EQ(fit_screen("abcdef\nx\ny\n", {.columns = 3, .lines = 2}), "abc\nx");
  EXPECT_EQ(fit_screen("\033[31mabcdef\033[0m\n", {.columns = 3, .lines = 5}),
            "\033[31mabc\033[0m\n");
  EXPECT_EQ(fit_screen("größer", {.columns = 4, .lines = 1}), "größ");
}

}  // namespace
}  // namespace kvtier::tools
