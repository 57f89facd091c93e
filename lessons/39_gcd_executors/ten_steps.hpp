#pragma once

#include <fmt/ranges.h>
#include <unistd.h>
#include <mp/mp.hpp>

#include <utility>
#include <vector>

using Pair = std::pair<int, int>;
int gcd(const Pair& pair);

// [steps]
// What the executor does for one item, done by hand over a pipe.
inline void worker(mp::Connection conn) {
  const auto function = mp::loads<int (*)(const Pair&)>(conn.recv_bytes());
  const Pair pair = mp::loads<Pair>(conn.recv_bytes());
  mp::println("4. it is {} again, in process {}", pair, ::getpid());
  mp::println("5. gcd is found in the child's own program: {}",
              function == gcd ? "yes" : "no");
  const int result = function(pair);
  mp::println("6. gcd gives {}", result);
  const auto data = mp::dumps(result);
  mp::println("7. the result is {} bytes", data.size());
  conn.send_bytes(data);
}

inline void ten_steps(const Pair& item) {
  auto [here, there] = mp::Pipe();
  mp::Process child(worker, there);
  child.start();

  mp::println("1. an item is taken: {}, in process {}", item, ::getpid());
  const auto data = mp::dumps(item);
  mp::println("2. it is pickled: {} bytes", data.size());
  mp::println("3. the bytes go to the child");
  here.send_bytes(mp::dumps(&gcd));
  here.send_bytes(data);

  const auto answer = here.recv_bytes();
  mp::println("8. {} bytes are back", answer.size());
  const int result = mp::loads<int>(answer);
  mp::println("9. they are {} again", result);
  mp::println("10. and go into the list: {}", std::vector{result});
  child.join();
}
// [/steps]
