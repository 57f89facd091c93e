// Any bytes on the wire, and then the end: every receive is a message or a
// typed error, and none waits.

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <mp/connection.hpp>
#include <string>
#include <system_error>
#include <vector>

namespace {

// False when there is nothing more to receive.
bool receive_one(mp::Connection& connection, std::size_t turn) {
  try {
    if (turn % 3 == 0) (void)connection.recv<std::vector<std::string>>(std::chrono::seconds(1));
    if (turn % 3 == 1) (void)connection.recv_bytes(1 << 20, std::chrono::seconds(1));
    if (turn % 3 == 2) {
      std::array<std::byte, 64> buffer{};
      (void)connection.recv_bytes_into(buffer, 0, std::chrono::seconds(1));
    }
    return true;
  } catch (const mp::PicklingError&) {
    return true;
  } catch (const mp::BufferTooShort&) {
    return true;
  } catch (const mp::EOFError&) {
    return false;
  } catch (const std::system_error&) {
    return false;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0 || size > (64U << 10)) return 0;
  std::array<int, 2> fds{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()) != 0) std::abort();
  mp::Connection connection(fds[0]);
  if (::write(fds[1], data, size) != static_cast<ssize_t>(size)) std::abort();
  ::close(fds[1]);
  std::size_t turn = data[0];
  while (receive_one(connection, turn)) ++turn;
  return 0;
}
