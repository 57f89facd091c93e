#include "expectation.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <set>
#include <tuple>
#include <utility>

namespace mp::test {
namespace {

constexpr std::array<std::pair<std::string_view, Kind>, 7> kinds = {{{"pid", Kind::pid},
                                                                     {"int", Kind::integer},
                                                                     {"float", Kind::floating},
                                                                     {"time", Kind::time},
                                                                     {"word", Kind::word},
                                                                     {"text", Kind::text},
                                                                     {"any", Kind::any}}};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

std::optional<std::string_view> without_prefix(std::string_view text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return std::nullopt;
  return text.substr(prefix.size());
}

// A reader of one file: where it is, and the streams without a name that it has counted.
class Reader {
 public:
  Reader(Expectation& result, std::string_view language) : result_(result), language_(language) {}

  void read_line(std::string_view line) {
    ++row_;
    if (line.empty() || line.front() == '#') return;
    for (std::string_view language : {"cpp", "python"}) {
      if (auto rest = without_prefix(line, fmt::format("{}> ", language))) {
        if (language != language_) return;
        line = *rest;
      }
    }
    if (auto code = without_prefix(line, "exit> ")) return read_exit_code(*code);
    if (line == "---") {
      ++section_;
      return;
    }
    auto channel = Channel::out;
    if (auto rest = without_prefix(line, "2> "); rest || line == "2>") {
      channel = Channel::err;
      line = rest.value_or("\\");
    }
    if (line == "...") {
      result_.gaps.push_back({channel, section_, result_.lines.size()});
    } else {
      add_line(channel, line);
    }
  }

 private:
  [[noreturn]] void fail(std::string_view what) const {
    throw BadExpectation(fmt::format("line {}: {}", row_, what));
  }

  void read_exit_code(std::string_view text) {
    const char* end = text.data() + text.size();
    auto [stop, error] = std::from_chars(text.data(), end, result_.exit_code);
    if (error != std::errc() || stop != end) fail("the exit code is not a number");
  }

  void add_line(Channel channel, std::string_view line) {
    ExpectedLine expected{.channel = channel, .section = section_, .row = row_};
    if (line.front() == '|') {
      line.remove_prefix(1);
      auto name = line.substr(0, line.find(' '));
      if (name.empty()) {
        // Each line of a stream without a name is a stream by itself.
        expected.stream = fmt::format("line {}", row_);
      } else if (!std::all_of(name.begin(), name.end(),
                              [](char c) { return is_letter(c) || is_digit(c); })) {
        fail("a stream's name consists of letters, digits and _");
      } else {
        expected.stream = name;
      }
      line.remove_prefix(std::min(line.size(), name.size() + 1));
    } else if (line.front() == '\\' && !line.starts_with("\\<")) {
      line.remove_prefix(1);
    }
    expected.text = line;
    expected.pieces = read_pieces(line);
    result_.lines.push_back(std::move(expected));
  }

  std::vector<Piece> read_pieces(std::string_view line) {
    std::vector<Piece> pieces;
    std::string literal;
    auto end_literal = [&] {
      if (!literal.empty()) pieces.push_back({.literal = std::exchange(literal, {})});
    };
    while (!line.empty()) {
      if (line.starts_with("\\<")) {
        literal += '<';
        line.remove_prefix(2);
      } else if (auto placeholder = read_placeholder(line)) {
        end_literal();
        pieces.push_back(*placeholder);
        line.remove_prefix(line.find('>') + 1);
      } else {
        literal += line.front();
        line.remove_prefix(1);
      }
    }
    end_literal();
    return pieces;
  }

  // `<kind>` or `<kind:key>` at the start of `line`. A kind without a key that is not known is
  // text, as in <Process ...>; one with a key can only be a slip of the pen.
  std::optional<Piece> read_placeholder(std::string_view line) {
    auto close = line.find('>');
    if (!line.starts_with('<') || close == std::string_view::npos) return std::nullopt;
    auto inside = line.substr(1, close - 1);
    auto colon = inside.find(':');
    auto kind_name = inside.substr(0, colon);
    auto kind = std::find_if(kinds.begin(), kinds.end(),
                             [&](const auto& known) { return known.first == kind_name; });
    bool has_key = colon != std::string_view::npos;
    if (kind == kinds.end()) {
      if (has_key && !kind_name.empty() &&
          std::all_of(kind_name.begin(), kind_name.end(), is_letter)) {
        fail(fmt::format("no kind of placeholder is called '{}'; for the text itself write \\<",
                         kind_name));
      }
      return std::nullopt;
    }
    Piece piece{.kind = kind->second};
    if (!has_key) return piece;
    if (kind->second == Kind::any) fail("<any> has no key; <text:key> has");
    piece.key = key_index(kind->second, std::string(inside.substr(colon + 1)));
    return piece;
  }

  std::size_t key_index(Kind kind, const std::string& name) {
    auto& keys = result_.keys;
    auto found = std::find_if(keys.begin(), keys.end(),
                              [&](const Key& key) { return key.kind == kind && key.name == name; });
    if (found != keys.end()) return static_cast<std::size_t>(found - keys.begin());
    keys.push_back({kind, name});
    return keys.size() - 1;
  }

  Expectation& result_;
  std::string_view language_;
  std::size_t row_ = 0;
  std::size_t section_ = 0;
};

// How many characters of `text` a number takes that begins at `start`; 0: none does. A number is
// taken whole: neither may a digit stand before it, nor does it stop before its last one.
std::size_t number_length(std::string_view text, std::size_t start, Kind kind) {
  if (start > 0 && is_digit(text[start - 1])) return 0;
  std::size_t at = start;
  auto digits = [&] {
    auto first = at;
    while (at < text.size() && is_digit(text[at])) ++at;
    return at - first;
  };
  auto next_is = [&](std::string_view any_of) {
    return at < text.size() && any_of.find(text[at]) != std::string_view::npos;
  };
  if (kind != Kind::pid && next_is("-")) ++at;
  if (digits() == 0) return 0;
  if (kind == Kind::floating) {
    auto whole = at;
    if (next_is(".") && (++at, digits() == 0)) at = whole;
    auto mantissa = at;
    if (next_is("eE")) {
      ++at;
      if (next_is("+-")) ++at;
      if (digits() == 0) at = mantissa;
    }
  }
  return at - start;
}

// A time of day, 12:34:56.789 or 12:34, or a duration with its unit, 1.5 s.
std::size_t time_length(std::string_view text, std::size_t start) {
  auto length = number_length(text, start, Kind::floating);
  if (length == 0) return 0;
  auto at = start + length;
  auto followed_by_digits = [&](char separator) {
    if (at + 1 >= text.size() || text[at] != separator || !is_digit(text[at + 1])) return false;
    for (++at; at < text.size() && is_digit(text[at]);) ++at;
    return true;
  };
  if (followed_by_digits(':')) {
    followed_by_digits(':');
    if (!followed_by_digits('.')) followed_by_digits(',');
    return at - start;
  }
  if (at < text.size() && text[at] == ' ') ++at;
  for (std::string_view unit : {"ns", "us", "µs", "ms", "s", "min"}) {
    auto after = at + unit.size();
    if (text.substr(at).starts_with(unit) && (after == text.size() || !is_letter(text[after]))) {
      return after - start;
    }
  }
  return 0;
}

class Fitter {
 public:
  Fitter(const std::vector<Piece>& pieces, std::string_view text)
      : pieces_(pieces), text_(text), keys_(keys_in(pieces)), values_(keys_.size()) {}

  std::vector<std::vector<std::string>> all() {
    fit(0, 0);
    return {found_.begin(), found_.end()};
  }

 private:
  // How the pieces from `piece` on fit the text from `at` on. A place is entered once for each
  // choice of the values so far: the second time would find the same.
  void fit(std::size_t piece, std::size_t at) {
    if (piece == pieces_.size()) {
      if (at == text_.size()) remember();
      return;
    }
    if (!entered_.emplace(piece, at, values_).second) return;
    const Piece& next = pieces_[piece];
    if (!next.kind) {
      if (text_.substr(at).starts_with(next.literal)) fit(piece + 1, at + next.literal.size());
      return;
    }
    for (auto length : lengths(*next.kind, at)) bind(next, at, length, piece);
  }

  void bind(const Piece& placeholder, std::size_t at, std::size_t length, std::size_t piece) {
    if (!placeholder.key) return fit(piece + 1, at + length);
    auto place = std::find(keys_.begin(), keys_.end(), *placeholder.key) - keys_.begin();
    auto& value = values_[static_cast<std::size_t>(place)];
    auto text = text_.substr(at, length);
    if (value) {
      if (*value == text) fit(piece + 1, at + length);
      return;
    }
    value = text;
    fit(piece + 1, at + length);
    value.reset();
  }

  std::vector<std::size_t> lengths(Kind kind, std::size_t at) const {
    auto rest = text_.size() - at;
    std::vector<std::size_t> result;
    auto one = [&](std::size_t length) {
      if (length > 0) result.push_back(length);
    };
    switch (kind) {
      case Kind::pid:
      case Kind::integer:
      case Kind::floating:
        one(number_length(text_, at, kind));
        break;
      case Kind::time:
        one(time_length(text_, at));
        break;
      case Kind::word:
        for (std::size_t n = 1; n <= rest && text_[at + n - 1] != ' '; ++n) result.push_back(n);
        break;
      case Kind::text:
        for (std::size_t n = 1; n <= rest; ++n) result.push_back(n);
        break;
      case Kind::any:
        for (std::size_t n = 0; n <= rest; ++n) result.push_back(n);
        break;
    }
    return result;
  }

  void remember() {
    std::vector<std::string> values;
    for (const auto& value : values_) values.emplace_back(*value);
    found_.insert(std::move(values));
  }

  const std::vector<Piece>& pieces_;
  std::string_view text_;
  std::vector<std::size_t> keys_;
  std::vector<std::optional<std::string_view>> values_;
  std::set<std::vector<std::string>> found_;
  std::set<std::tuple<std::size_t, std::size_t, std::vector<std::optional<std::string_view>>>>
      entered_;
};

}  // namespace

std::string_view name_of(Kind kind) {
  return std::find_if(kinds.begin(), kinds.end(),
                      [&](const auto& known) { return known.second == kind; })
      ->first;
}

bool keys_differ(Kind kind) { return kind != Kind::floating && kind != Kind::time; }

Expectation Expectation::parse(std::string_view text, std::string_view language) {
  Expectation result;
  Reader reader(result, language);
  while (!text.empty()) {
    auto end = std::min(text.find('\n'), text.size());
    reader.read_line(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return result;
}

std::vector<std::vector<std::string>> ways_to_fit(const std::vector<Piece>& pieces,
                                                  std::string_view text) {
  return Fitter(pieces, text).all();
}

std::vector<std::size_t> keys_in(const std::vector<Piece>& pieces) {
  std::vector<std::size_t> keys;
  for (const auto& piece : pieces) {
    if (piece.key && std::find(keys.begin(), keys.end(), *piece.key) == keys.end()) {
      keys.push_back(*piece.key);
    }
  }
  return keys;
}

std::string escaped(std::string_view text) {
  std::string result;
  for (char c : text) {
    if (c == '<') result += '\\';
    result += c;
  }
  static constexpr std::array<std::string_view, 6> marks = {"#",      "|",     "2>",
                                                            "exit> ", "cpp> ", "python> "};
  bool marked = std::any_of(marks.begin(), marks.end(),
                            [&](std::string_view mark) { return text.starts_with(mark); });
  if (text.empty() || text == "---" || text == "..." || text.front() == '\\' || marked) {
    result.insert(0, 1, '\\');
  }
  return result;
}

}  // namespace mp::test
