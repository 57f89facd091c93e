#include "mp/logging.hpp"

#include <fcntl.h>
#include <spdlog/logger.h>
#include <spdlog/sinks/sink.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "mp/detail/os.hpp"
#include "process_state.hpp"

namespace mp {

namespace {

// Writes each record as one line in one write(2). Takes no lock: a child that
// is forked while another thread logs finds nothing locked.
class LineSink final : public spdlog::sinks::sink {
 public:
  explicit LineSink(int fd) : fd_(fd) {}
  void log(const spdlog::details::log_msg& record) override {
    fmt::memory_buffer line;
    const auto level = static_cast<logging::Level>(record.level);
    fmt::format_to(fmt::appender(line), "[{}/{}] {}\n", logging::to_string(level),
                   current_process().name(),
                   fmt::string_view(record.payload.data(), record.payload.size()));
    detail::write_all(fd_, {line.data(), line.size()});
  }
  void flush() override {}
  void set_pattern(const std::string& /*pattern*/) override {}
  void set_formatter(std::unique_ptr<spdlog::formatter> /*formatter*/) override {}

 private:
  int fd_;
};

struct Package {
  std::shared_ptr<spdlog::logger> logger;
  std::atomic<logging::Level> level{logging::notset};
  std::atomic<bool> to_stderr{false};
  std::vector<detail::UniqueFd> files;
  std::atomic<bool> handed_out{false};  // Only then there can be sinks that are not ours.
  bool may_be_locked = false;           // A sink that is not ours, by a thread that is not here.
};

void add_stderr(Package& package) {
  if (!package.to_stderr.exchange(true)) {
    package.logger->sinks().push_back(std::make_shared<LineSink>(STDERR_FILENO));
  }
}

bool is_same_file(int one, int other) {
  struct stat first {};
  struct stat second {};
  return ::fstat(one, &first) == 0 && ::fstat(other, &second) == 0 &&
         first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

bool has_foreign_sinks(const Package& package) {
  if (!package.handed_out) return false;
  const std::size_t ours = package.files.size() + (package.to_stderr ? 1 : 0);
  return package.logger->sinks().size() > ours;
}

// As the environment has it, in letters of any case; a name that is none is `notset`.
logging::Level level_named(std::string text) {
  const auto lower = [](std::string& all) {
    for (char& letter : all) letter = static_cast<char>(letter | 0x20);
  };
  lower(text);
  for (int level = logging::subdebug; level < logging::notset; ++level) {
    std::string name(logging::to_string(static_cast<logging::Level>(level)));
    lower(name);
    if (name == text) return static_cast<logging::Level>(level);
  }
  return logging::notset;
}

Package& package() {
  static Package& instance = []() -> Package& {
    auto& made = *new Package;
    made.logger = std::make_shared<spdlog::logger>("multiprocessing");
    made.logger->set_level(spdlog::level::trace);
    if (const char* wanted = std::getenv("MP_LOG_LEVEL")) {
      made.level = level_named(wanted);
      add_stderr(made);
    }
    return made;
  }();
  return instance;
}

}  // namespace

std::string_view logging::to_string(Level level) noexcept {
  constexpr std::array<std::string_view, 7> names{"SUBDEBUG", "DEBUG",    "INFO",  "WARNING",
                                                  "ERROR",    "CRITICAL", "NOTSET"};
  return names.at(level);
}

void Logger::set_level(logging::Level level) { package().level = level; }
logging::Level Logger::level() const { return package().level; }

bool Logger::enabled(logging::Level level) const noexcept {
  const logging::Level least = package().level;
  return level >= (least == logging::notset ? logging::warning : least);
}

void Logger::log(logging::Level level, std::string_view text, boost::source_location where) {
  if (!enabled(level)) return;
  Package& all = package();
  if (all.logger->sinks().empty()) {
    // Nobody has asked for a log; what must not be missed is shown all the same.
    if (level >= logging::warning) detail::write_all(STDERR_FILENO, std::string(text) + '\n');
    return;
  }
  all.logger->log(
      spdlog::source_loc(where.file_name(), static_cast<int>(where.line()), where.function_name()),
      static_cast<spdlog::level::level_enum>(level),
      spdlog::string_view_t(text.data(), text.size()));
}

std::shared_ptr<spdlog::logger> Logger::spdlog() const {
  package().handed_out = true;
  return package().logger;
}

Logger get_logger() {
  package();
  return {};
}

Logger log_to_stderr(logging::Level level) {
  add_stderr(package());
  if (level != logging::notset) package().level = level;
  return {};
}

Logger log_to_file(const std::filesystem::path& path, logging::Level level) {
  constexpr int flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC;
  const std::string call = "open(" + path.string() + ")";
  detail::add_log_file(detail::opened(::open(path.c_str(), flags, 0666), call.c_str()));
  if (level != logging::notset) package().level = level;
  return {};
}

bool detail::logs_to_stderr() noexcept { return package().to_stderr; }

const std::vector<detail::UniqueFd>& detail::log_files() noexcept { return package().files; }

void detail::add_log_file(UniqueFd file) {
  Package& all = package();
  for (const UniqueFd& known : all.files) {
    if (is_same_file(known.get(), file.get())) return;
  }
  auto sink = std::make_shared<LineSink>(file.get());
  all.files.push_back(std::move(file));
  all.logger->sinks().push_back(std::move(sink));
}

void detail::flush_log() {
  Package& all = package();
  if (!all.may_be_locked && has_foreign_sinks(all)) all.logger->flush();
}

void detail::log_may_be_locked() noexcept { package().may_be_locked = true; }

bool detail::log_enabled(logging::Level level) noexcept { return Logger().enabled(level); }

}  // namespace mp
