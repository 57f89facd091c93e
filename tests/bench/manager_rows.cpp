#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "mp/listener.hpp"
#include "mp/managers.hpp"
#include "partner.hpp"
#include "raw.hpp"
#include "row.hpp"

namespace bench {

namespace {

constexpr int clients = 8;
// Of a request and of an answer: about what a call of a proxy takes.
constexpr std::size_t message_size = 64;
using Message = std::array<std::byte, message_size>;

// --- one client ---

Timing list_append(std::size_t count) {
  const auto manager = mp::Manager();
  const auto list = manager.list<int>();
  list.append(0);
  const Stopwatch watch;
  for (std::size_t i = 0; i < count; ++i) list.append(1);
  return {watch.ns_per(count)};
}

Timing dict_set(std::size_t count) {
  const auto manager = mp::Manager();
  const auto dict = manager.dict<int, int>();
  dict.set(0, 0);
  const Stopwatch watch;
  for (std::size_t i = 0; i < count; ++i) dict.set(static_cast<int>(i % 1000), 1);
  return {watch.ns_per(count)};
}

Timing dict_get(std::size_t count) {
  const auto manager = mp::Manager();
  const auto dict = manager.dict<int, int>();
  dict.set(0, 0);
  const Stopwatch watch;
  for (std::size_t i = 0; i < count; ++i) {
    if (dict.at(0) != 0) throw std::runtime_error("a wrong value");
  }
  return {watch.ns_per(count)};
}

Timing dict_update(std::size_t count) {
  std::vector<std::pair<int, int>> items;
  for (std::size_t i = 0; i < count; ++i) items.emplace_back(static_cast<int>(i), 1);
  const auto manager = mp::Manager();
  const auto dict = manager.dict<int, int>();
  const Stopwatch watch;
  dict.update(items);
  const Timing timing{watch.ns_per(count)};
  if (dict.size() != count) throw std::runtime_error("items are missing");
  return timing;
}

void ping(int fd, std::size_t count) {
  Message message{};
  for (std::size_t i = 0; i < count; ++i) {
    write_fully(fd, message.data(), message.size());
    read_fully(fd, message.data(), message.size());
  }
}

void pong(int fd, std::size_t count) {
  Message message{};
  for (std::size_t i = 0; i < count; ++i) {
    read_fully(fd, message.data(), message.size());
    write_fully(fd, message.data(), message.size());
  }
}

Timing socket_round_trip(std::size_t count) {
  const FdPair sockets = FdPair::sockets();
  return time_pair(
      count, [&] { pong(sockets.read, count); }, [&] { ping(sockets.write, count); });
}

// A key and a value each, in one message, and an answer to all.
Timing socket_bulk(std::size_t count) {
  const FdPair sockets = FdPair::sockets();
  std::vector<std::array<int, 2>> items(count);
  const std::size_t size = count * sizeof items[0];
  return time_pair(
      count,
      [&] {
        read_fully(sockets.read, items.data(), size);
        pong(sockets.read, 1);
      },
      [&] {
        write_fully(sockets.write, items.data(), size);
        ping(sockets.write, 1);
      });
}

// --- eight at once ---

// Nanoseconds of single calls; each client has a part of its own.
class Latencies {
 public:
  explicit Latencies(std::size_t each)
      : each_(each),
        size_(clients * each * sizeof(float)),
        all_(static_cast<float*>(map_shared(size_))) {}
  Latencies(const Latencies&) = delete;
  Latencies& operator=(const Latencies&) = delete;
  ~Latencies() { unmap(all_, size_); }

  void set(std::size_t client, std::size_t call, double ns) {
    all_[client * each_ + call] = static_cast<float>(ns);
  }
  [[nodiscard]] double p99() const {
    std::vector<float> sorted(all_, all_ + clients * each_);
    const auto at = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() * 99 / 100);
    std::nth_element(sorted.begin(), at, sorted.end());
    return *at;
  }

 private:
  std::size_t each_;
  std::size_t size_;
  float* all_;
};

// Eight children, each of which makes its part of `count` calls.
template <class Partner>
Timing time_clients(std::size_t count, const std::function<void(std::size_t client)>& call) {
  const std::size_t each = count / clients + 1;
  Latencies latencies(each);
  const Shared<StartingLine> line;
  std::deque<Partner> partners;
  for (std::size_t client = 0; client < clients; ++client) {
    partners.emplace_back([&, client] {
      call(client);
      line->meet(clients + 1);
      for (std::size_t i = 0; i < each; ++i) {
        const Stopwatch watch;
        call(client);
        latencies.set(client, i, watch.ns());
      }
    });
  }
  line->meet(clients + 1);
  const Stopwatch watch;
  for (auto& partner : partners) partner.join();
  return {watch.ns_per(each * clients), latencies.p99()};
}

Timing libmp_clients(std::size_t count) {
  const auto manager = mp::Manager();
  const auto dict = manager.dict<int, int>();
  dict.set(0, 0);
  return time_clients<LibmpChild>(count, [&](std::size_t) {
    if (dict.at(0) != 0) throw std::runtime_error("a wrong value");
  });
}

// A server that answers whoever has asked, until nobody is left.
void serve_all(const std::deque<FdPair>& sockets) {
  std::vector<pollfd> entries;
  for (const auto& pair : sockets) entries.push_back({pair.read, POLLIN, 0});
  for (int left = clients; left > 0;) {
    check(::poll(entries.data(), entries.size(), -1), "poll");
    for (auto& entry : entries) {
      if (entry.revents == 0) continue;
      Message message{};
      const auto size = ::read(entry.fd, message.data(), message.size());
      if (size <= 0) {
        entry.fd = -1;
        --left;
      } else {
        write_fully(entry.fd, message.data(), message.size());
      }
    }
  }
}

Timing raw_clients(std::size_t count) {
  std::deque<FdPair> sockets;
  for (int i = 0; i < clients; ++i) sockets.push_back(FdPair::sockets());
  Child server([&] {
    for (auto& pair : sockets) pair.close_write();
    serve_all(sockets);
  });
  const Timing timing =
      time_clients<Child>(count, [&](std::size_t client) { ping(sockets[client].write, 1); });
  for (auto& pair : sockets) pair.close_write();
  server.join();
  return timing;
}

// --- over TCP ---

// Connected before the clock starts: one round trip after the other is timed.
Timing libmp_remote(std::size_t count) {
  mp::Listener listener(mp::TcpAddress{"127.0.0.1", 0});
  auto client = mp::Client(listener.address());
  auto served = listener.accept();
  return time_pair<LibmpChild>(
      count,
      [&] {
        for (std::size_t i = 0; i < count; ++i) served.send(served.recv<int>());
      },
      [&] {
        for (std::size_t i = 0; i < count; ++i) {
          client.send(1);
          client.recv<int>();
        }
      });
}

Timing tcp_ping_pong(std::size_t count) {
  const FdPair sockets = FdPair::tcp();
  return time_pair(
      count, [&] { pong(sockets.read, count); }, [&] { ping(sockets.write, count); });
}

}  // namespace

std::vector<Row> manager_rows() {
  const auto unix_socket = "64 bytes over a unix socket and back";
  const std::vector<Reach> one_call{at_least(1.5, "cpython"), at_most(1.2, "floor")};
  return {
      {.name = "manager.list_append",
       .operation = "append to a list of the manager",
       .contenders = {{"libmp", "ListProxy, append", list_append},
                      {"floor", unix_socket, socket_round_trip},
                      cpython("ListProxy, append")},
       .reaches = one_call,
       .shows_cpu = true},
      {.name = "manager.dict_set",
       .operation = "set an item of a dict of the manager",
       .contenders = {{"libmp", "DictProxy, set", dict_set},
                      {"floor", unix_socket, socket_round_trip},
                      cpython("DictProxy, d[k] = v")},
       .reaches = one_call},
      {.name = "manager.dict_get",
       .operation = "get an item of a dict of the manager",
       .contenders = {{"libmp", "DictProxy, at", dict_get},
                      {"floor", unix_socket, socket_round_trip},
                      cpython("DictProxy, d[k]")},
       .reaches = one_call},
      {.name = "manager.bulk",
       .operation = "an item of 10⁵ by one update of a dict",
       .contenders = {{"libmp", "DictProxy, update", dict_update},
                      {"floor", "8 bytes of a message over a unix socket", socket_bulk},
                      cpython("DictProxy, update")},
       .reaches = {at_least(10, "cpython")},
       .count = FixedCount{.full = 100'000, .quick = 100'000}},
      {.name = "manager.clients8",
       .operation = "get an item, by eight clients at once",
       .contenders = {{"libmp", "DictProxy, at", libmp_clients},
                      {"floor", "64 bytes over unix sockets and back, one server", raw_clients},
                      cpython("DictProxy, d[k]")},
       .reaches = {at_least(3, "cpython")}},
      {.name = "remote.roundtrip",
       .operation = "an int over TCP and back",
       .contenders = {{"libmp", "Listener, Client", libmp_remote},
                      {"floor", "64 bytes over TCP and back", tcp_ping_pong},
                      cpython("Listener, Client")},
       .reaches = {at_most(1.2, "floor")},
       .shows_cpu = true},
  };
}

}  // namespace bench
