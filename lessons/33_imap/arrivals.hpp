#pragma once

#include <fmt/ostream.h>
#include <mp/mp.hpp>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

// When which result was in main's hands.
struct Arrivals {
  using Clock = std::chrono::steady_clock;
  std::string way;
  Clock::time_point begin = Clock::now();
  std::vector<std::pair<int, double>> seen = {};

  void note(int result) {
    std::chrono::duration<double> passed = Clock::now() - begin;
    seen.emplace_back(result, passed.count());
    mp::println("{}: result {} after {:.3f} s", way, result, passed.count());
  }
};

// A row for each way, a dot for each result; the book shows it.
inline void draw(const std::vector<Arrivals>& ways) {
  const char* folder = std::getenv("MP_FIGURE_DIR");
  if (folder == nullptr) return;
  std::ofstream svg(std::filesystem::path(folder) / "imap.svg");
  svg << "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 640 190' "
         "font-family='sans-serif' font-size='13'>\n";
  int y = 30;
  for (const auto& [way, begin, seen] : ways) {
    fmt::print(svg, "<text x='10' y='{}'>{}</text>\n", y + 4, way);
    fmt::print(svg, "<path d='M130 {}H620' stroke='#ccc'/>\n", y);
    // The first at last, so that it lies on top.
    for (auto at = seen.rbegin(); at != seen.rend(); ++at) {
      const auto [result, seconds] = *at;
      fmt::print(svg, "<circle cx='{:.0f}' cy='{}' r='6' fill='{}'/>\n",
                 130 + 1400 * std::min(seconds, 0.34), y,
                 result == 0 ? "#c33" : "#37a");
    }
    y += 40;
  }
  svg << "<text x='130' y='180'>0 s</text><text x='550' y='180'>0.3 s</text>"
         "<text x='200' y='180'>red: result 0</text></svg>\n";
}
