#pragma once

#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace mp::test {

/// What a placeholder stands for. `<pid>` accepts any pid; `<pid:bob>` the same pid wherever it
/// recurs, and another than `<pid:eve>`. Measured values may be equal by chance, so two keys of
/// kind `float` or `time` may have one value. `<any>` accepts any text, and the empty one.
enum class Kind { pid, integer, floating, time, word, text, any };

/// `pid` of `<pid:bob>`.
std::string_view name_of(Kind kind);

/// Whether two keys of this kind must have two values.
bool keys_differ(Kind kind);

/// A part of a line: literal text, or a placeholder of some kind, with a key or without.
struct Piece {
  std::string literal = {};
  std::optional<Kind> kind = {};
  std::optional<std::size_t> key = {};  ///< Index into Expectation::keys.
};

struct Key {
  Kind kind = Kind::any;
  std::string name = {};
};

enum class Channel { out, err };

struct ExpectedLine {
  Channel channel = Channel::out;
  std::string stream = {};  ///< Empty: the main stream of the channel.
  std::size_t section = 0;  ///< How many fences stand above it.
  std::size_t row = 0;      ///< Its line in the file, from 1.
  std::string text = {};    ///< As written, without the marks in front.
  std::vector<Piece> pieces = {};
};

/// Any number of lines, at this place of a channel's main stream.
struct Gap {
  Channel channel = Channel::out;
  std::size_t section = 0;
  std::size_t lines_before = 0;  ///< How many of the expected lines are written above it.
};

/// A file of expectations, read. docs/contributing.md describes the format.
struct Expectation {
  std::vector<ExpectedLine> lines = {};
  std::vector<Gap> gaps = {};
  std::vector<Key> keys = {};
  int exit_code = 0;

  /// `language` is "cpp" or "python"; lines for the other one are left out. Throws BadExpectation.
  static Expectation parse(std::string_view text, std::string_view language);
};

class BadExpectation : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The values of the keys that occur in `pieces`, in the order of their first occurrence, for each
/// way in which `text` fits. Empty: it does not fit.
std::vector<std::vector<std::string>> ways_to_fit(const std::vector<Piece>& pieces,
                                                  std::string_view text);

/// The distinct keys in `pieces`, in the order of their first occurrence.
std::vector<std::size_t> keys_in(const std::vector<Piece>& pieces);

/// `text` as it must be written in an expectation to stand for itself.
std::string escaped(std::string_view text);

}  // namespace mp::test
