// A program that starts a child and has forgotten freeze_support().

#include <iostream>

#include <mp/mp.hpp>

int main(int argc, char** argv) {
  try {
    mp::set_start_method(argc > 1 ? argv[1] : "fork");
    mp::Process p([] { mp::println("123"); });
    p.start();
    p.join();
    return p.exitcode().value_or(1);
  } catch (const mp::LogicError& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
