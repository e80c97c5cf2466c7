// Pictures: every point is somewhere, names cannot break the file, nothing is drawn of nothing.
#include "tools/simulate/plot.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace kvtier::tools {
namespace {

size_t times(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

const Plot kPlot = {"chat <1>",
                    {{"lru", {{1024, 0.1}, {2048, 0.2}, {4096, 0.4}}},
                     {"min & more", {{1024, 0.3}, {4096, 0.42}}}}};

TEST(Plot, SvgHasALineAPolicyAndADotAPoint) {
  const std::string svg = plot_svg({kPlot, kPlot});
  EXPECT_EQ(svg.rfind("<svg ", 0), 0u);
  EXPECT_EQ(times(svg, "<polyline"), 4u);
  EXPECT_EQ(times(svg, "<circle"), 10u);
  EXPECT_NE(svg.find("chat &lt;1>"), std::string::npos);
  EXPECT_NE(svg.find("min &amp; more"), std::string::npos);
  EXPECT_NE(svg.find("50 %"), std::string::npos) << "the axis ends above the highest point";
  EXPECT_EQ(svg.find("60 %"), std::string::npos);
}

TEST(Plot, TextHasALetterAPointAndALegend) {
  const std::string text = plot_text(kPlot, 80);
  const std::string chart = text.substr(text.find('\n'), text.rfind("a lru") - text.find('\n'));
  EXPECT_GE(times(chart, "a"), 3u);
  EXPECT_GE(times(chart, "b"), 2u);
  EXPECT_NE(text.find("a lru b min & more"), std::string::npos);
  size_t widest = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    widest = std::max(widest, end - at);
    at = end + 1;
  }
  EXPECT_LE(widest, 80u);
}

TEST(Plot, NoSizeOneSizeAndSizeZeroAreNoError) {
  EXPECT_EQ(times(plot_svg({}), "<polyline"), 0u);
  EXPECT_EQ(times(plot_svg({{"t", {{"lru", {}}}}}), "<polyline"), 0u);
  EXPECT_EQ(times(plot_svg({{"t", {{"lru", {{0, 0}, {8, 0.5}}}}}}), "<circle"), 1u);
  EXPECT_NE(plot_text({"t", {{"lru", {{0, 0}}}}}, 80).find("no size"), std::string::npos);
  EXPECT_NE(plot_text({"t", {{"lru", {{8, 0.5}}}}}, 10).find("a lru"), std::string::npos);
}

}  // namespace
}  // namespace kvtier::tools
