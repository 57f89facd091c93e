// How does a child come into being, and what does it bring along?
//
// Python:  multiprocessing.get_context("fork" | "spawn" | "forkserver")
// Watch:   which child knows what main() did, and what a start costs.
// Run:     ./learn start_methods

#include <fcntl.h>
#include <unistd.h>
#include <mp/mp.hpp>

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

using Milliseconds = std::chrono::duration<double, std::milli>;

// [worker]
std::string msg = "Init";
constexpr int our_file = 100;  // A number that nobody else uses.

// Says what it finds: the global variable, and the file that main() opened.
void worker(const std::string& argument) {
  const bool has_file = ::fcntl(our_file, F_GETFD) >= 0;
  mp::println("msg = {}, file open: {}, argument = {}", msg,
              has_file ? "yes" : "no", argument);
}
// [/worker]

void nothing() {}

// [cost]
// From start() to the end of join(), the middle one of five attempts.
Milliseconds cost(mp::StartMethod method) {
  std::vector<Milliseconds> attempts;
  for (int i = 0; i < 5; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    mp::Process proc({.start_method = method}, nothing);
    proc.start();
    proc.join();
    attempts.push_back(std::chrono::steady_clock::now() - begin);
  }
  std::ranges::sort(attempts);
  return attempts[2];
}
// [/cost]

int main() {
  mp::freeze_support();

  // [change]
  // Both happen here, in main(): a fresh program does not come this far.
  msg = "Main";
  ::dup2(::open("/dev/null", O_RDONLY), our_file);
  // [/change]

  // [each]
  // fork copies this process, memory and open files included. The other two
  // begin afresh: they get what is handed to them, the arguments.
  for (auto method : mp::get_all_start_methods()) {
    mp::println("{}:", mp::to_string(method));
    mp::Process proc({.start_method = method}, worker, msg);
    proc.start();
    proc.join();
    mp::println("start and join took {:.2f} ms", cost(method).count());
  }
  // [/each]
}
