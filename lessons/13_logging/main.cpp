// How can one see what the library itself does?
//
// Python:  multiprocessing.log_to_stderr(logging.DEBUG), get_logger()
// Watch:   who says what, and that no line runs into another.
// Run:     ./learn logging

#include <mp/mp.hpp>

#include <vector>

// [worker]
void worker() { mp::println("Doing some work"); }
// [/worker]

// [counter]
// A program's own records go the same way as the library's.
void counter() {
  auto logger = mp::get_logger();
  for (int i = 1; i <= 10; ++i) logger.warning("counting to {} of 10", i);
}
// [/counter]

int main() {
  // [debug]
  // Everything, from here on, on stderr: for each record its level, the name
  // of the process it is from, and a text. Children inherit the setting.
  mp::log_to_stderr(mp::logging::debug);
  mp::Process p(worker);
  p.start();
  p.join();
  // [/debug]

  // [info]
  // The logger itself: only what is of interest in normal times.
  auto logger = mp::get_logger();
  logger.set_level(mp::logging::info);
  mp::Process q(worker);
  q.start();
  q.join();
  // [/info]

  // [many]
  // Four processes at once, and only what is alarming. Their lines come as
  // they like, but whole.
  logger.set_level(mp::logging::warning);
  std::vector<mp::Process> counters;
  for (int i = 0; i < 4; ++i) {
    counters.emplace_back(counter);
    counters.back().start();
  }
  for (auto& c : counters) c.join();
  // [/many]

  // The end of the program is worth a few records again.
  logger.set_level(mp::logging::debug);
}
