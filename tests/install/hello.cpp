#include <mp/mp.hpp>

void greet(std::string name) {
  mp::println("hello {}, from {}", name, mp::current_process().name());
}

int main() {
  mp::freeze_support();  // where children begin under spawn and forkserver
  mp::Process p(greet, std::string("bob"));
  p.start();
  p.join();
}
