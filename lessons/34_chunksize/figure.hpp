#pragma once

#include <fmt/ostream.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <utility>
#include <vector>

// Both axes logarithmic: 1 to 1000 items a chunk, 0.0001 to 100 µs an item.
inline void draw(const std::vector<std::pair<int, double>>& points,
                 double loop) {
  const char* folder = std::getenv("MP_FIGURE_DIR");
  if (folder == nullptr) return;
  std::ofstream svg(std::filesystem::path(folder) / "chunksize.svg");
  const auto y = [](double us) {
    return 210 - 100 / 3.0 * (std::log10(std::clamp(us, 0.0001, 100.0)) + 4);
  };
  svg << "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 640 250' "
         "font-family='sans-serif' font-size='13'>\n";
  for (double us : {0.0001, 0.001, 0.01, 0.1, 1.0, 10.0, 100.0})
    fmt::print(svg,
               "<path d='M90 {0:.0f}H600' stroke='#ccc'/>"
               "<text x='10' y='{0:.0f}'>{1} µs</text>\n",
               y(us), us);
  fmt::print(svg,
             "<path d='M90 {0:.0f}H600' stroke='#c33' stroke-dasharray='6'/>"
             "<text x='480' y='{0:.0f}' fill='#c33'>a loop</text>\n",
             y(loop));
  for (auto [chunk, us] : points) {
    const double x = 100 + 160 * std::log10(chunk);
    fmt::print(svg,
               "<circle cx='{:.0f}' cy='{:.0f}' r='6' fill='#37a'/>"
               "<text x='{:.0f}' y='235'>{}</text>\n",
               x, y(us), x - 4, chunk);
  }
  svg << "<text x='470' y='248'>items per chunk</text></svg>\n";
}
