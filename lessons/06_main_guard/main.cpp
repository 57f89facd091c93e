// Why must main() begin with a guard?
//
// Python:  if __name__ == "__main__":
// Watch:   how often "outer" and "main" are printed, with and without it.
// Run:     ./learn main_guard

#include <unistd.h>
#include <mp/mp.hpp>

#include <string_view>

using namespace std::chrono_literals;

// [outer]
// Runs before main(), whenever this program is executed. Under spawn a child
// is this program, executed again: it runs there, too.
const bool outer = [] {
  mp::println("outer: this will print when run and when imported");
  return true;
}();

void func() { mp::println("func: this will print only when run"); }
// [/outer]

// [again]
// This program once more, in a process that becomes it; without its guard.
void run_unguarded() {
  ::execl("/proc/self/exe", "main_guard", "unguarded", nullptr);
}
// [/again]

int main(int argc, char** argv) {
  const bool unguarded = argc > 1 && argv[1] == std::string_view("unguarded");

  // [guard]
  // A child that was spawned runs its target in here, and ends. Only the
  // program itself gets past this line.
  if (!unguarded) mp::freeze_support();
  // [/guard]

  // [main]
  mp::println("main: this will print only when run");
  mp::Process p({.start_method = mp::StartMethod::spawn}, func);
  p.start();
  p.join();
  mp::println("main: the child ended with {}", *p.exitcode());
  // [/main]

  // [without]
  // What if the line is missing? The child runs main() from the top, and gets
  // to start() as we did. It is refused there: by an error, not by a child
  // that starts a child that starts a child. (A daemon: should it hang for
  // all that, it goes when we go.)
  if (!unguarded) {
    mp::println("---- the same without the guard ----");
    mp::Process again({.daemon = true}, run_unguarded);
    again.start();
    again.join(10s);
    mp::println("ended by itself: {}", again.exitcode() == 0);
  }
  // [/without]
}
