#pragma once

#include <fmt/format.h>

#include <boost/assert/source_location.hpp>
#include <filesystem>
#include <memory>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "mp/detail/os.hpp"

namespace spdlog {
class logger;
}

/// What libmp and its user write down of a run. A record is one line,
/// `[INFO/Process-1] text`, in one write(2): lines of many processes do not mix
/// (in a pipe, those of up to 4096 bytes, PIPE_BUF). No lock is held meanwhile
/// that a fork could copy. The environment variable MP_LOG_LEVEL (debug, info,
/// …; else notset) is log_to_stderr() without a change to the program. Where there
/// is no sink at all, warnings and errors are bare lines on stderr.
namespace mp {

namespace logging {
/// Python's levels. `notset`: only warnings and errors are shown.
enum Level : unsigned char { subdebug, debug, info, warning, error, critical, notset };
std::string_view to_string(Level level) noexcept;
}  // namespace logging

/// The package's logger: a cheap handle, one logger per process. Any thread
/// may log; sinks and level are set up before threads and children start.
/// Children of every start method inherit the level, log_to_stderr() and
/// log_to_file(); forked ones inherit other sinks, too.
class Logger {
 public:
  void set_level(logging::Level level);
  [[nodiscard]] logging::Level level() const;
  [[nodiscard]] bool enabled(logging::Level level) const noexcept;
  /// One record, `text` as it is; `where` is the line of the source it is from.
  void log(logging::Level level, std::string_view text,
           boost::source_location where = BOOST_CURRENT_LOCATION);

  /// A format string, checked when compiled, and the line it stands on.
  template <class... Args>
  struct FormatAt {
    template <class Text>
    consteval FormatAt(const Text& text,  // NOLINT: implicit, as fmt::format_string is.
                       boost::source_location at = BOOST_CURRENT_LOCATION)
        : format(text), where(at) {}
    fmt::format_string<Args...> format;
    boost::source_location where;
  };

  template <class... Args>
  void debug(FormatAt<std::type_identity_t<Args>...> text, Args&&... args) {
    format(logging::debug, text.format, text.where, args...);
  }
  template <class... Args>
  void info(FormatAt<std::type_identity_t<Args>...> text, Args&&... args) {
    format(logging::info, text.format, text.where, args...);
  }
  template <class... Args>
  void warning(FormatAt<std::type_identity_t<Args>...> text, Args&&... args) {
    format(logging::warning, text.format, text.where, args...);
  }
  template <class... Args>
  void error(FormatAt<std::type_identity_t<Args>...> text, Args&&... args) {
    format(logging::error, text.format, text.where, args...);
  }

  template <class... Args>
  void critical(FormatAt<std::type_identity_t<Args>...> text, Args&&... args) {
    format(logging::critical, text.format, text.where, args...);
  }

  /// The spdlog logger underneath, for its sinks and everything else it can.
  /// spdlog's own sinks (`..._mt`) hold a lock while they write: a child forked
  /// while another thread logs may wait for ever for that lock. What they have
  /// buffered is flushed before a fork and, if the parent had one thread only,
  /// at a child's end. A file for many processes is log_to_file().
  [[nodiscard]] std::shared_ptr<spdlog::logger> spdlog() const;

 private:
  template <class... Args>
  void format(logging::Level level, fmt::string_view text, const boost::source_location& where,
              Args&... args) {
    if (enabled(level)) log(level, fmt::vformat(text, fmt::make_format_args(args...)), where);
  }
};

/// Python: multiprocessing.get_logger.
Logger get_logger();

/// Adds a sink that writes to stderr, once however often it is called, and
/// sets the level unless it is `notset`. Python: log_to_stderr.
Logger log_to_stderr(logging::Level level = logging::notset);

/// Adds a sink that appends to that file, which is made if need be; once however
/// often it is called. As log_to_stderr() for the rest: children of every start
/// method write to it, too, a line at once. Throws std::system_error if the file
/// cannot be opened; what cannot be written to it later is lost without a word.
/// Python: a FileHandler, which children under spawn do not have.
Logger log_to_file(const std::filesystem::path& path, logging::Level level = logging::notset);

namespace detail {
/// Whether this process has called log_to_stderr(), and the files that it logs
/// to; children are told.
bool logs_to_stderr() noexcept;
const std::vector<UniqueFd>& log_files() noexcept;
void add_log_file(UniqueFd file);
/// Flushes what sinks that are not libmp's own have buffered, unless one of them
/// may be locked for ever.
void flush_log();
/// In a child that was forked while its parent had other threads.
void log_may_be_locked() noexcept;
/// libmp's own records: nothing is made of the text unless it is wanted.
bool log_enabled(logging::Level level) noexcept;
template <class... Args>
void log(logging::Level level, fmt::format_string<Args...> text, Args&&... args) {
  if (log_enabled(level)) {
    get_logger().log(level, fmt::format(text, std::forward<Args>(args)...));
  }
}
}  // namespace detail

}  // namespace mp
