#include <sys/mman.h>

#include <array>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include <boost/interprocess/ipc/message_queue.hpp>

#include "mp/queues.hpp"
#include "partner.hpp"
#include "raw.hpp"
#include "row.hpp"

namespace bench {

namespace {

namespace ipc = boost::interprocess;
using Bytes = std::vector<std::byte>;
using Small = std::array<std::byte, 64>;

constexpr std::size_t kib = 1024;
constexpr std::size_t mib = 1024 * kib;

// --- one producer, one consumer ---

template <class T>
Run libmp_queue(T item) {
  return [item](std::size_t count) {
    mp::Queue<T> queue;
    return time_pair<LibmpChild>(
        count,
        [&] {
          for (std::size_t i = 0; i < count; ++i) queue.put(item);
        },
        [&] {
          for (std::size_t i = 0; i < count; ++i) queue.get();
        });
  };
}

Run raw_pipe(std::size_t size) {
  return [size](std::size_t count) {
    const FdPair pipe = FdPair::pipe();
    return time_pair(
        count,
        [&] {
          const Bytes item(size);
          for (std::size_t i = 0; i < count; ++i) write_fully(pipe.write, item.data(), size);
        },
        [&] {
          Bytes item(size);
          for (std::size_t i = 0; i < count; ++i) read_fully(pipe.read, item.data(), size);
        });
  };
}

// Boost's queue has a name, which goes as soon as both sides have it: they
// inherit it.
class MessageQueue {
 public:
  MessageQueue(std::size_t items, std::size_t size)
      : name_("mp-bench-" + std::to_string(::getpid())),
        queue_(ipc::create_only, name_.c_str(), items, size) {
    ipc::message_queue::remove(name_.c_str());
  }
  void send(const void* data, std::size_t size) { queue_.send(data, size, 0); }
  void receive(void* data, std::size_t size) {
    ipc::message_queue::size_type received = 0;
    unsigned priority = 0;
    queue_.receive(data, size, received, priority);
    if (received != size) throw std::runtime_error("a message of another size");
  }

 private:
  std::string name_;
  ipc::message_queue queue_;
};

Run message_queue(std::size_t items, std::size_t size) {
  return [items, size](std::size_t count) {
    MessageQueue queue(items, size);
    return time_pair(
        count,
        [&] {
          const Bytes item(size);
          for (std::size_t i = 0; i < count; ++i) queue.send(item.data(), size);
        },
        [&] {
          Bytes item(size);
          for (std::size_t i = 0; i < count; ++i) queue.receive(item.data(), size);
        });
  };
}

// --- two of each ---

template <class Partner>
Timing time_2p2c(std::size_t count, const Body& produce, const Body& consume) {
  const Shared<StartingLine> line;
  const auto after_start = [&](const Body& body) {
    return [&line, &body] {
      line->meet(4);
      body();
    };
  };
  Partner first_producer(after_start(produce));
  Partner second_producer(after_start(produce));
  Partner other_consumer(after_start(consume));
  line->meet(4);
  const Stopwatch watch;
  consume();
  other_consumer.join();
  const Timing timing{watch.ns_per(2 * count)};
  first_producer.join();
  second_producer.join();
  return timing;
}

// Half the items for each of the two sides' two.
std::size_t half(std::size_t count) { return (count + 1) / 2; }

Timing libmp_2p2c(std::size_t count) {
  mp::Queue<Small> queue;
  const std::size_t each = half(count);
  return time_2p2c<LibmpChild>(
      each,
      [&] {
        for (std::size_t i = 0; i < each; ++i) queue.put(Small{});
      },
      [&] {
        for (std::size_t i = 0; i < each; ++i) queue.get();
      });
}

Timing message_queue_2p2c(std::size_t count) {
  MessageQueue queue(1000, sizeof(Small));
  const std::size_t each = half(count);
  return time_2p2c<Child>(
      each,
      [&] {
        Small item{};
        for (std::size_t i = 0; i < each; ++i) queue.send(&item, sizeof item);
      },
      [&] {
        Small item{};
        for (std::size_t i = 0; i < each; ++i) queue.receive(&item, sizeof item);
      });
}

// Items of 64 bytes are within what a pipe transfers in one piece.
Timing raw_pipe_2p2c(std::size_t count) {
  const FdPair pipe = FdPair::pipe();
  const std::size_t each = half(count);
  return time_2p2c<Child>(
      each,
      [&] {
        Small item{};
        for (std::size_t i = 0; i < each; ++i) write_fully(pipe.write, &item, sizeof item);
      },
      [&] {
        Small item{};
        for (std::size_t i = 0; i < each; ++i) read_fully(pipe.read, &item, sizeof item);
      });
}

// --- a backlog ---

Timing libmp_backlog(std::size_t count) {
  mp::Queue<Bytes> queue;
  const Bytes item(mib, std::byte{1});
  const Stopwatch watch;
  for (std::size_t i = 0; i < count; ++i) queue.put(item);
  for (std::size_t i = 0; i < count; ++i) queue.get();
  return {watch.ns_per(count)};
}

Timing copy_into_fresh_memory(std::size_t count) {
  const Bytes item(mib, std::byte{1});
  const Stopwatch watch;
  auto* memory = static_cast<std::byte*>(map_shared(count * mib));
  for (std::size_t i = 0; i < count; ++i) std::memcpy(memory + i * mib, item.data(), mib);
  const Timing timing{watch.ns_per(count)};
  unmap(memory, count * mib);
  return timing;
}

// --- to and fro ---

Timing message_queue_roundtrip(std::size_t count) {
  MessageQueue there(100, sizeof(int));
  MessageQueue back(100, sizeof(int));
  return time_pair(
      count,
      [&] {
        int value = 0;
        for (std::size_t i = 0; i < count; ++i) {
          there.receive(&value, sizeof value);
          back.send(&value, sizeof value);
        }
      },
      [&] {
        int value = 0;
        for (std::size_t i = 0; i < count; ++i) {
          there.send(&value, sizeof value);
          back.receive(&value, sizeof value);
        }
      });
}

}  // namespace

Timing libmp_queue_roundtrip(std::size_t count) {
  mp::Queue<int> there;
  mp::Queue<int> back;
  return time_pair<LibmpChild>(
      count,
      [&] {
        for (std::size_t i = 0; i < count; ++i) back.put(there.get());
      },
      [&] {
        for (std::size_t i = 0; i < count; ++i) {
          there.put(static_cast<int>(i));
          back.get();
        }
      });
}

Timing pipe_ping_pong(std::size_t count) {
  const FdPair there = FdPair::pipe();
  const FdPair back = FdPair::pipe();
  return time_pair(
      count,
      [&] {
        int value = 0;
        for (std::size_t i = 0; i < count; ++i) {
          read_fully(there.read, &value, sizeof value);
          write_fully(back.write, &value, sizeof value);
        }
      },
      [&] {
        int value = 0;
        for (std::size_t i = 0; i < count; ++i) {
          write_fully(there.write, &value, sizeof value);
          read_fully(back.read, &value, sizeof value);
        }
      });
}

std::vector<Row> queue_rows() {
  const auto boost = "Boost.Interprocess's message_queue";
  const auto pipe = "write and read of a pipe";
  return {
      {.name = "queue.int",
       .operation = "an int from one process to another",
       .contenders = {{"libmp", "Queue<int>", libmp_queue(1)},
                      {"floor", pipe, raw_pipe(sizeof(int))},
                      cpython("Queue"),
                      {"message_queue", boost, message_queue(1000, sizeof(int))}},
       .reaches = {at_least(2.0, "message_queue"), at_least(30, "cpython")}},
      {.name = "queue.4KiB",
       .operation = "4 KiB from one process to another",
       .contenders = {{"libmp", "Queue of byte vectors", libmp_queue(Bytes(4 * kib))},
                      {"floor", pipe, raw_pipe(4 * kib)},
                      cpython("Queue of bytes"),
                      {"message_queue", boost, message_queue(256, 4 * kib)}},
       .reaches = {at_least(1.2, "message_queue"), at_least(5, "cpython")}},
      {.name = "queue.1MiB",
       .operation = "1 MiB from one process to another",
       .contenders = {{"libmp", "Queue of byte vectors", libmp_queue(Bytes(mib))},
                      {"floor", pipe, raw_pipe(mib)},
                      cpython("Queue of bytes"),
                      {"message_queue", boost, message_queue(8, mib)}},
       .reaches = {at_least(1.2, "message_queue"), at_least(5, "cpython")}},
      {.name = "queue.2p2c",
       .operation = "64 bytes from two processes to two others",
       .contenders = {{"libmp", "Queue of 64 bytes", libmp_2p2c},
                      {"floor", pipe, raw_pipe_2p2c},
                      cpython("Queue of bytes"),
                      {"message_queue", boost, message_queue_2p2c}},
       .reaches = {at_least(1.0, "message_queue")}},
      {.name = "queue.backlog",
       .operation = "1 MiB put and got, all put before the first is got",
       .contenders = {{"libmp", "Queue of byte vectors", libmp_backlog},
                      {"floor", "memcpy into fresh shared memory", copy_into_fresh_memory},
                      cpython("Queue of bytes")},
       .reaches = {at_least(0.5, "floor")},
       .count = FixedCount{.full = 4096, .quick = 256}},
      {.name = "queue.roundtrip",
       .operation = "an int to another process and back",
       .contenders = {{"libmp", "two Queues", libmp_queue_roundtrip},
                      {"floor", "two pipes", pipe_ping_pong},
                      cpython("two Queues"),
                      {"message_queue", boost, message_queue_roundtrip}},
       .reaches = {at_most(0.5, "floor")},
       .shows_cpu = true},
  };
}

}  // namespace bench
