// How do two processes answer one another?
//
// Python:  conn1, conn2 = Pipe(True); conn.send(obj); conn.recv()
// Watch:   one pipe, two ends; what goes in at either comes out at the other.
// Run:     ./learn pipe

#include <mp/mp.hpp>

#include <random>
#include <string>
#include <tuple>

// [request]
// What is sent is a value, whole, whatever its type; the receiver names the
// type, and a message of another shape is an error, not a misreading.
using Request = std::tuple<std::string, int>;
// [/request]

// [make_tuple]
// Asks, then waits for the answer at the same end: a duplex pipe carries both
// directions, and what an end sends never comes back to it.
void make_tuple(mp::Connection conn) {
  std::random_device random;
  int num = std::uniform_int_distribution(1, 9)(random);
  mp::println("make_tuple asks for 'Hi ' {} times", num);
  conn.send(Request("Hi ", num));
  mp::println("{}", conn.recv<std::string>());
}
// [/make_tuple]

// [make_string]
// recv() sleeps until a whole message is there, so neither of the two has to
// be started first.
void make_string(mp::Connection conn) {
  auto [substr, num] = conn.recv<Request>();
  std::string result;
  for (int i = 0; i < num; ++i) result += substr;
  conn.send(result);
}
// [/make_string]

int main() {
  // [main]
  auto [conn1, conn2] = mp::Pipe(true);
  mp::Process p1(make_tuple, conn1);
  mp::Process p2(make_string, conn2);
  p1.start();
  p2.start();
  // [/main]
}
