#include <cstddef>
#include <vector>

#include "mp/connection.hpp"
#include "partner.hpp"
#include "raw.hpp"
#include "row.hpp"

namespace bench {

namespace {

constexpr std::size_t mib = std::size_t{1} << 20;

Timing libmp_roundtrip(std::size_t count) {
  auto [here, there] = mp::Pipe();
  return time_pair<LibmpChild>(
      count,
      [count, end = there]() mutable {
        for (std::size_t i = 0; i < count; ++i) end.send(end.recv<int>());
      },
      [count, end = here]() mutable {
        for (std::size_t i = 0; i < count; ++i) {
          end.send(static_cast<int>(i));
          end.recv<int>();
        }
      });
}

Timing libmp_1MiB(std::size_t count) {
  auto [reader, writer] = mp::Pipe(false);
  return time_pair<LibmpChild>(
      count,
      [count, end = writer]() mutable {
        const std::vector<std::byte> message(mib);
        for (std::size_t i = 0; i < count; ++i) end.send_bytes(message);
      },
      [count, end = reader]() mutable {
        std::vector<std::byte> message(mib);
        for (std::size_t i = 0; i < count; ++i) end.recv_bytes_into(message);
      });
}

Timing raw_1MiB(const FdPair& ends, std::size_t count) {
  return time_pair(
      count,
      [&] {
        const std::vector<std::byte> message(mib);
        for (std::size_t i = 0; i < count; ++i) write_fully(ends.write, message.data(), mib);
      },
      [&] {
        std::vector<std::byte> message(mib);
        for (std::size_t i = 0; i < count; ++i) read_fully(ends.read, message.data(), mib);
      });
}

}  // namespace

std::vector<Row> pipe_rows() {
  return {
      {.name = "pipe.roundtrip",
       .operation = "an int to another process and back",
       .contenders = {{"libmp", "Pipe, send and recv<int>", libmp_roundtrip},
                      {"floor", "two pipes", pipe_ping_pong},
                      cpython("Pipe, send and recv")},
       .reaches = {at_most(1.1, "floor")},
       .shows_cpu = true},
      {.name = "pipe.1MiB",
       .operation = "1 MiB from one process to another",
       .contenders = {{"libmp", "Pipe, send_bytes and recv_bytes_into", libmp_1MiB},
                      {"floor", "a pair of unix sockets",
                       [](std::size_t count) { return raw_1MiB(FdPair::sockets(), count); }},
                      cpython("Pipe, send_bytes and recv_bytes_into"),
                      {"raw_pipe", "a pipe",
                       [](std::size_t count) { return raw_1MiB(FdPair::pipe(), count); }}},
       .reaches = {at_least(0.8, "floor"), at_least(0.8, "raw_pipe")}},
  };
}

}  // namespace bench
