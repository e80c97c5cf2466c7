// Hit rates over sizes as a picture: SVG, or characters for a terminal. Pure; any thread.
#pragma once

#include <string>
#include <vector>

namespace kvtier::tools {

struct PlotLine {
  std::string name;
  std::vector<std::pair<double, double>> points;  // chunks (above 0), hit rate 0 to 1
};
struct Plot {
  std::string title;
  std::vector<PlotLine> lines;
};

// One picture below the other. Sizes are on a logarithmic scale; what has no points is left out.
std::string plot_svg(const std::vector<Plot>& plots);
// `columns` wide at most, 40 at least.
std::string plot_text(const Plot& plot, size_t columns);

}  // namespace kvtier::tools
