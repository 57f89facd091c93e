#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

#include "accept.hpp"
#include "lesson.hpp"

namespace mp::test {
namespace {

constexpr int meson_skipped = 77;

struct Options {
  std::string expectation = {};
  std::string language = "cpp";
  std::string capture = {};
  std::string figures = {};
  double deadline = 20;
};

const Outcome* the_run = nullptr;

std::string read_file(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error(fmt::format("cannot read {}", path));
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void write_file(const std::string& path, const std::string& text) {
  std::ofstream file(path);
  file << text << std::flush;
  if (!file) throw std::runtime_error(fmt::format("cannot write {}", path));
}

std::string printed(const Outcome& run) {
  std::string text;
  for (const auto& line : run.out) text += line.text + "\n";
  for (const auto& line : run.err) text += "2> " + line.text + "\n";
  return text;
}

// The complaints about how it ended, whatever it printed.
bool ended_well(const Outcome& run, const Options& options) {
  if (run.timed_out) {
    fmt::print(
        "Still running after {} s: killed, with all it had started. Until then it printed:\n{}",
        options.deadline, printed(run));
  }
  for (const auto& sentence : run.left_over) fmt::print("Left over: {}.\n", sentence);
  return !run.timed_out && run.left_over.empty();
}

int capture(const Outcome& run, const Options& options) {
  if (!ended_well(run, options)) return EXIT_FAILURE;
  write_file(options.capture, printed(run));
  return EXIT_SUCCESS;
}

// Keeps the file's own first lines of comment.
int accept(const Outcome& run, const Options& options) {
  if (!ended_well(run, options)) return EXIT_FAILURE;
  if (options.language == "cpp") {
    std::string text;
    std::ifstream before(options.expectation);
    for (std::string line; std::getline(before, line) && line.starts_with('#');)
      text += line + "\n";
    write_file(options.expectation, text + accepted(run, newest_pid()));
    fmt::print("Rewritten: {}. Read it: what may interleave is yours to mark.\n",
               options.expectation);
  }
  return meson_skipped;
}

bool as_expected(const Outcome& run, const Options& options) {
  auto expectation = Expectation::parse(read_file(options.expectation), options.language);
  bool good = ended_well(run, options);
  if (run.timed_out) return false;
  if (run.exit_code != expectation.exit_code) {
    fmt::print("It ended with exit code {}, not {}.\n", run.exit_code, expectation.exit_code);
    good = false;
  }
  auto verdict = match(expectation, run.output());
  if (!verdict.accepted) fmt::print("{}", verdict.report);
  return good && verdict.accepted;
}

int check_lesson(const Outcome& run, const Options& options) {
  bool good = as_expected(run, options);
  if (good) {
    fmt::print("{} lines as expected, {:.2f} s.\n", run.out.size() + run.err.size(),
               std::chrono::duration<double>(run.elapsed).count());
  }
  std::fflush(stdout);
  bool has_checks = testing::UnitTest::GetInstance()->total_test_count() > 0;
  if (has_checks && RUN_ALL_TESTS() != 0) good = false;
  return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  CLI::App app("Runs a lesson and compares what it does with what is expected of it.");
  Options options;
  app.add_option("--expect", options.expectation, "the expectation, see docs/contributing.md");
  app.add_option("--language", options.language, "cpp or python");
  app.add_option("--deadline", options.deadline, "seconds until it is killed");
  app.add_option("--capture", options.capture,
                 "write what it prints to this file, compare nothing");
  app.add_option("--figures", options.figures, "where it may draw; it is told by MP_FIGURE_DIR");
  app.prefix_command();
  CLI11_PARSE(app, argc, argv);

  auto words = app.remaining();
  if (!words.empty() && words.front() == "--") words.erase(words.begin());
  if (words.empty()) throw std::runtime_error("which program?");
  Command command{.program = words.front(), .arguments = {words.begin() + 1, words.end()}};
  if (const char* patience = std::getenv("LESSON_PATIENCE")) {
    options.deadline *= std::stod(patience);
    command.grace *= std::stoi(patience);
  }
  command.deadline = std::chrono::milliseconds(static_cast<long>(options.deadline * 1000));
  command.merge = !options.capture.empty();

  if (!options.figures.empty()) {
    std::filesystem::create_directories(options.figures);
    ::setenv("MP_FIGURE_DIR", options.figures.c_str(), 1);
  }

  const Outcome result = run(command);
  the_run = &result;
  if (command.merge) return capture(result, options);
  if (std::getenv("ACCEPT") != nullptr) return accept(result, options);
  return check_lesson(result, options);
}

}  // namespace

const Outcome& lesson() { return *the_run; }

}  // namespace mp::test

int main(int argc, char** argv) {
  try {
    return mp::test::main(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "lesson_check: " << error.what() << "\n";
    return EXIT_FAILURE;
  }
}
