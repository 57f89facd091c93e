#include "accept.hpp"

#include <fmt/format.h>

#include <charconv>
#include <fstream>
#include <map>
#include <stdexcept>

namespace mp::test {
namespace {

class Names {
 public:
  Names(pid_t program, pid_t newest) : program_(program), newest_(newest) {}

  std::string replace_pids(const std::string& line) {
    static constexpr std::string_view digits = "0123456789";
    std::string result;
    for (std::size_t at = 0; at < line.size();) {
      auto end = std::min(line.find_first_not_of(digits, at), line.size());
      if (end == at) {
        result += line[at++];
        continue;
      }
      result += name(line.substr(at, end - at));
      at = end;
    }
    return result;
  }

 private:
  // A placeholder, or the number itself if it cannot be a pid of this run.
  std::string name(const std::string& number) {
    pid_t pid = 0;
    auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), pid);
    if (error != std::errc() || pid < program_ || pid > newest_) return number;
    auto [place, is_new] = names_.emplace(pid, "main");
    if (is_new && pid != program_) place->second = fmt::format("p{}", ++count_);
    return fmt::format("<pid:{}>", place->second);
  }

  pid_t program_;
  pid_t newest_;
  int count_ = 0;
  std::map<pid_t, std::string> names_ = {};
};

}  // namespace

std::string accepted(const Outcome& run, pid_t newest_pid) {
  Names names(run.pid, newest_pid);
  std::string text;
  if (run.exit_code != 0) text += fmt::format("exit> {}\n", run.exit_code);
  for (const auto& line : run.out) text += names.replace_pids(escaped(line.text)) + "\n";
  for (const auto& line : run.err) text += "2> " + names.replace_pids(escaped(line.text)) + "\n";
  return text;
}

pid_t newest_pid() {
  std::ifstream file("/proc/loadavg");
  std::string word;
  pid_t pid = 0;
  if (!(file >> word >> word >> word >> word >> pid)) {
    throw std::runtime_error("/proc/loadavg is not as expected");
  }
  return pid;
}

}  // namespace mp::test
