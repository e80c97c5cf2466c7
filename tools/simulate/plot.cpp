// Axes, lines, letters. Pure.
#include "tools/simulate/plot.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

namespace kvtier::tools {

namespace {

constexpr double kWidth = 640, kHeight = 360, kLeft = 56, kRight = 130, kTop = 32, kBottom = 44;
constexpr size_t kRows = 16;
constexpr size_t kMargin = 8;  // "100.0 % " before the first column
// Told apart by most people, on white (Okabe and Ito's palette).
constexpr std::array kColors = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                "#e69f00", "#56b4e9", "#000000"};

struct Range {
  double low = 0, high = 1;
  double share(double value) const { return high > low ? (value - low) / (high - low) : 0.5; }
};
struct Axes {
  Range x;  // log2 of chunks
  Range y;
  bool any = false;
};

Axes axes_of(const Plot& plot) {
  Axes axes;
  axes.y = {0, 0};
  for (const PlotLine& line : plot.lines) {
    for (const auto& [chunks, rate] : line.points) {
      if (!(chunks > 0) || !std::isfinite(rate)) continue;
      const double x = std::log2(chunks);
      axes.x.low = axes.any ? std::min(axes.x.low, x) : x;
      axes.x.high = axes.any ? std::max(axes.x.high, x) : x;
      axes.y.high = std::max(axes.y.high, rate);
      axes.any = true;
    }
  }
  axes.y.high = axes.y.high <= 0 ? 1 : std::min(1.0, std::ceil(axes.y.high * 10 + 1e-9) / 10);
  return axes;
}

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '<') {
      out += "&lt;";
    } else if (c == '&') {
      out += "&amp;";
    } else if (static_cast<unsigned char>(c) >= ' ') {
      out += c;
    }
  }
  return out;
}

template <typename... Values>
void print(std::string& out, const char* format, Values... values) {
  char text[256];
  std::snprintf(text, sizeof text, format, values...);
  out += text;
}

void draw(std::string& out, const Plot& plot, const Axes& axes, double top) {
  const double width = kWidth - kLeft - kRight, height = kHeight - kTop - kBottom;
  const auto x_of = [&](double x) { return kLeft + width * axes.x.share(x); };
  const auto y_of = [&](double y) { return top + kTop + height * (1 - axes.y.share(y)); };
  print(out, "<text x='%.0f' y='%.0f' font-weight='bold'>", kLeft, top + 20);
  out += escaped(plot.title) + "</text>\n";
  for (int tenth = 0; tenth <= 10; ++tenth) {
    const double rate = tenth / 10.0;
    if (rate > axes.y.high + 1e-9) break;
    print(out, "<line x1='%.0f' x2='%.0f' y1='%.1f' y2='%.1f' stroke='#ddd'/>\n", kLeft,
          kLeft + width, y_of(rate), y_of(rate));
    print(out, "<text x='%.0f' y='%.1f' text-anchor='end'>%d %%</text>\n", kLeft - 6,
          y_of(rate) + 4, tenth * 10);
  }
  const double step = std::max(1.0, std::ceil((axes.x.high - axes.x.low) / 7));
  for (double x = std::ceil(axes.x.low); x <= axes.x.high; x += step) {
    print(out, "<text x='%.1f' y='%.1f' text-anchor='middle'>%.0f</text>\n", x_of(x),
          top + kTop + height + 18, std::exp2(x));
  }
  print(out, "<text x='%.1f' y='%.1f' text-anchor='middle'>chunks of host memory</text>\n",
        kLeft + width / 2, top + kTop + height + 36);
  for (size_t i = 0; i < plot.lines.size(); ++i) {
    const char* color = kColors[i % kColors.size()];
    out += "<polyline fill='none' stroke-width='2' stroke='" + std::string(color) + "' points='";
    for (const auto& [chunks, rate] : plot.lines[i].points) {
      if (chunks > 0) print(out, "%.1f,%.1f ", x_of(std::log2(chunks)), y_of(rate));
    }
    out += "'/>\n";
    for (const auto& [chunks, rate] : plot.lines[i].points) {
      if (chunks <= 0) continue;
      print(out, "<circle cx='%.1f' cy='%.1f' r='3' fill='%s'/>\n", x_of(std::log2(chunks)),
            y_of(rate), color);
    }
    print(out, "<text x='%.0f' y='%.0f' fill='%s'>", kLeft + width + 12,
          top + kTop + 14 + 18 * static_cast<double>(i), color);
    out += escaped(plot.lines[i].name) + "</text>\n";
  }
}

}  // namespace

std::string plot_svg(const std::vector<Plot>& plots) {
  std::string body;
  double top = 0;
  for (const Plot& plot : plots) {
    const Axes axes = axes_of(plot);
    if (!axes.any) continue;
    draw(body, plot, axes, top);
    top += kHeight;
  }
  std::string out;
  print(out,
        "<svg xmlns='http://www.w3.org/2000/svg' width='%.0f' height='%.0f' "
        "font-family='sans-serif' font-size='12'>\n<rect width='100%%' height='100%%' "
        "fill='white'/>\n",
        kWidth, std::max(top, 40.0));
  return out + body + "</svg>\n";
}

std::string plot_text(const Plot& plot, size_t columns) {
  const Axes axes = axes_of(plot);
  std::string out = plot.title + "\n";
  if (!axes.any) return out + "  (no size above 0)\n";
  const size_t width = std::max<size_t>(columns, 40) - kMargin - 1;
  std::vector<std::string> rows(kRows, std::string(width, ' '));
  for (size_t i = plot.lines.size(); i-- > 0;) {  // of equals the first is seen
    const char letter = static_cast<char>('a' + i % 26);
    for (const auto& [chunks, rate] : plot.lines[i].points) {
      if (!(chunks > 0)) continue;
      const double x = axes.x.share(std::log2(chunks)) * static_cast<double>(width - 1);
      const double y =
          (1 - axes.y.share(std::clamp(rate, 0.0, axes.y.high))) * static_cast<double>(kRows - 1);
      rows[static_cast<size_t>(std::lround(y))][static_cast<size_t>(std::lround(x))] = letter;
    }
  }
  for (size_t row = 0; row < kRows; ++row) {
    const double rate =
        axes.y.high * (1 - static_cast<double>(row) / static_cast<double>(kRows - 1));
    print(out, row % 5 == 0 ? "%5.1f %%" : "       ", 100 * rate);
    out += "|" + rows[row] + "\n";
  }
  out += std::string(kMargin - 1, ' ') + "+" + std::string(width, '-') + "\n";
  char low[32], high[32];
  std::snprintf(low, sizeof low, "%.0f", std::exp2(axes.x.low));
  std::snprintf(high, sizeof high, "%.0f chunks", std::exp2(axes.x.high));
  const std::string left = low, right = high;
  const size_t gap = width > left.size() + right.size() ? width - left.size() - right.size() : 1;
  out += std::string(kMargin, ' ') + left + std::string(gap, ' ') + right + "\n ";
  for (size_t i = 0; i < plot.lines.size(); ++i) {
    out += std::string(" ") + static_cast<char>('a' + i % 26) + " " + plot.lines[i].name;
  }
  return out + "\n";
}

}  // namespace kvtier::tools
