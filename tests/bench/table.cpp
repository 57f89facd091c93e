#include "table.hpp"

#include <algorithm>
#include <array>
#include <ostream>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace bench {

namespace {

constexpr auto line_format = "{:<23}{:>9}  {:<18}{:<18}{:<58}{}\n";

template <class Get>
auto middle(std::vector<Sample>& samples, Get get) {
  const auto at = samples.begin() + static_cast<std::ptrdiff_t>(samples.size() / 2);
  std::nth_element(samples.begin(), at, samples.end(),
                   [&](const Sample& a, const Sample& b) { return get(a) < get(b); });
  return get(*at);
}

// Three digits: "3.51 ns", "231 µs".
std::string duration(double ns) {
  constexpr std::array units{"ns", "µs", "ms", "s"};
  std::size_t unit = 0;
  while (ns >= 999.5 && unit + 1 < units.size()) {
    ns /= 1000;
    ++unit;
  }
  return fmt::format("{:.{}f} {}", ns, ns < 9.995 ? 2 : ns < 99.95 ? 1 : 0, units[unit]);
}

std::string ratio(double value) {
  return fmt::format("{:.{}f}×", value, value < 9.995 ? 2 : value < 99.95 ? 1 : 0);
}

std::string text_of(const Reach& reach) {
  return fmt::format("{}{} {:.4g} × {}", reach.who == "libmp" ? "" : reach.who + " ",
                     reach.kind == Reach::Kind::at_most ? "≤" : "≥", reach.factor, reach.against);
}

// One line of a row: what `get` finds in each contender's figures.
template <class Get>
void print_line(std::ostream& out, const std::string& label, const Figures& figures, Get get,
                const std::string& end) {
  const auto own = figures.medians.find("libmp");
  const auto cell = [&](const std::string& name) -> std::string {
    const auto found = figures.medians.find(name);
    if (found == figures.medians.end()) return "";
    const double value = get(found->second);
    if (name == "libmp" || own == figures.medians.end()) return duration(value);
    return fmt::format("{} ({})", duration(value), ratio(value / get(own->second)));
  };
  std::vector<std::string> others;
  for (const auto& contender : figures.row->contenders) {
    if (contender.name == "libmp" || contender.name == "floor" || contender.name == "cpython") {
      continue;
    }
    if (const auto text = cell(contender.name); !text.empty()) {
      others.push_back(contender.name + ' ' + text);
    }
  }
  out << fmt::format(line_format, label, cell("libmp"), cell("floor"), cell("cpython"),
                     fmt::to_string(fmt::join(others, ", ")), end);
}

std::string quoted(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    if (static_cast<unsigned char>(c) < 0x20) {
      result += ' ';
    } else {
      result += c;
    }
  }
  return result + '"';
}

template <class Get>
std::string json_figures(const Figures& figures, Get get) {
  std::vector<std::string> parts;
  for (const auto& contender : figures.row->contenders) {
    const auto found = figures.medians.find(contender.name);
    if (found == figures.medians.end()) continue;
    const std::optional<double> value = get(found->second);
    if (value) parts.push_back(fmt::format("{}: {:.3f}", quoted(contender.name), *value));
  }
  return fmt::format("{{{}}}", fmt::join(parts, ", "));
}

std::string json_reaches(const Figures& figures) {
  std::vector<std::string> parts;
  for (const auto& reach : figures.row->reaches) {
    const auto verdict = judge(reach, figures);
    parts.push_back(fmt::format(
        "{{\"reach\": {}, \"ratio\": {}, \"reached\": {}}}", quoted(text_of(reach)),
        verdict ? fmt::format("{:.5f}", verdict->ratio) : "null", verdict && verdict->reached));
  }
  return fmt::format("[{}]", fmt::join(parts, ", "));
}

std::string json_contenders(const Row& row) {
  std::vector<std::string> parts;
  for (const auto& contender : row.contenders) {
    parts.push_back(fmt::format("{}: {}", quoted(contender.name), quoted(contender.what)));
  }
  return fmt::format("{{{}}}", fmt::join(parts, ", "));
}

std::string json_setup(const Setup& setup) {
  return fmt::format(
      "{{\"processor\": {}, \"cores\": {}, \"kernel\": {}, \"compiler\": {}, \"python\": {}, "
      "\"wake_up\": {}, \"effort\": {}}}",
      quoted(setup.processor), quoted(setup.cores), quoted(setup.kernel), quoted(setup.compiler),
      quoted(setup.python), quoted(setup.wake_up), quoted(setup.effort));
}

}  // namespace

Median median(std::vector<Sample> samples) {
  Median result;
  result.samples = samples.size();
  result.worst_ns = std::ranges::max(samples, {}, &Sample::ns).ns;
  result.ns = middle(samples, [](const Sample& sample) { return sample.ns; });
  result.cpu_ns = middle(samples, [](const Sample& sample) { return sample.cpu_ns; });
  result.p99 = middle(samples, [](const Sample& sample) { return sample.p99; });
  return result;
}

std::optional<Verdict> judge(const Reach& reach, const Figures& figures) {
  const auto who = figures.medians.find(reach.who);
  const auto against = figures.medians.find(reach.against);
  if (who == figures.medians.end() || against == figures.medians.end()) return std::nullopt;
  if (reach.kind == Reach::Kind::at_most) {
    const double times = who->second.ns / against->second.ns;
    return Verdict{times, times <= reach.factor};
  }
  const double times = against->second.ns / who->second.ns;
  return Verdict{times, times >= reach.factor};
}

void print_setup(std::ostream& out, const Setup& setup) {
  out << "processor  " << setup.processor << ", " << setup.cores << "\nkernel     " << setup.kernel
      << "\ncompiler   " << setup.compiler << "\npython     " << setup.python << "\nwake-up    "
      << setup.wake_up << "\nfigures    " << setup.effort
      << "; in brackets: how many times libmp's\n\n";
}

void print_head(std::ostream& out) {
  out << fmt::format(line_format, "row", "libmp", "floor", "cpython", "others", "reach");
}

void print_row(std::ostream& out, const Figures& figures) {
  std::vector<std::string> reaches;
  for (const auto& reach : figures.row->reaches) {
    const auto verdict = judge(reach, figures);
    reaches.push_back(
        text_of(reach) + ": " +
        (verdict ? ratio(verdict->ratio) + (verdict->reached ? " yes" : " NO") : "?"));
  }
  print_line(
      out, figures.row->name, figures, [](const Sample& sample) { return sample.ns; },
      fmt::to_string(fmt::join(reaches, ", ")));
  if (figures.row->shows_cpu) {
    print_line(
        out, "  processors' time", figures, [](const Sample& sample) { return sample.cpu_ns; }, "");
  }
  const auto own = figures.medians.find("libmp");
  if (own != figures.medians.end() && own->second.p99) {
    print_line(
        out, "  99 in 100 within", figures,
        [](const Sample& sample) { return sample.p99.value_or(0); }, "");
  }
  out.flush();
}

void write_json(std::ostream& out, const Setup& setup, const std::vector<Figures>& all) {
  out << "[\n";
  for (std::size_t i = 0; i < all.size(); ++i) {
    const Figures& figures = all[i];
    out << fmt::format(
        "  {{\"row\": {}, \"ns\": {},\n   \"operation\": {}, \"contenders\": {},\n"
        "   \"cpu_ns\": {}, \"p99_ns\": {}, \"shows_cpu\": {},\n"
        "   \"worst_ns\": {}, \"samples\": {},\n"
        "   \"reaches\": {},\n   \"setup\": {}}}{}\n",
        quoted(figures.row->name),
        json_figures(figures, [](const Sample& sample) { return std::optional(sample.ns); }),
        quoted(figures.row->operation), json_contenders(*figures.row),
        json_figures(figures, [](const Sample& sample) { return std::optional(sample.cpu_ns); }),
        json_figures(figures, [](const Sample& sample) { return sample.p99; }),
        figures.row->shows_cpu,
        json_figures(figures, [](const Median& median) { return std::optional(median.worst_ns); }),
        figures.medians.empty() ? 0 : figures.medians.begin()->second.samples,
        json_reaches(figures), json_setup(setup), i + 1 < all.size() ? "," : "");
  }
  out << "]\n";
}

}  // namespace bench
