#include "mp/queues.hpp"

#include <algorithm>
#include <ostream>

namespace mp {

namespace detail {

QueueCore::QueueCore(const char* kind, const QueueOptions& options)
    : kind_(kind),
      ring_(RingLimits{.max_items = options.maxsize, .max_bytes = options.max_bytes}) {}

QueueCore::QueueCore(const char* kind, Decoder& in) : kind_(kind), ring_(in) {}

void QueueCore::put(Pieces pieces, const Timeout& timeout) {
  require_open();
  switch (ring_.put(pieces, Deadline(timeout))) {
    case RingResult::ok:
      return;
    case RingResult::timed_out:
      throw Full();
    case RingResult::shut_down:
      throw ShutDown();
  }
}

void QueueCore::finish_get(RingResult result) {
  if (result == RingResult::timed_out) throw Empty();
  if (result == RingResult::shut_down) throw ShutDown();
}

void QueueCore::require_open() const {
  if (closed_) throw ValueError(fmt::format("Queue {} is closed", repr()));
}

void QueueCore::require_closed() const {
  if (!closed_) throw AssertionError(fmt::format("Queue {} not closed", repr()));
}

void QueueCore::task_done() {
  if (!ring_.task_done()) throw ValueError("task_done() called too many times");
}

void QueueCore::pickle(Encoder& out) const {
  require_open();
  ring_.pickle(out);
}

int QueueCore::arm() {
  require_open();
  return ring_.arm();
}

std::string QueueCore::repr() const {
  if (closed_) return fmt::format("<{} closed>", kind_);
  return fmt::format("<{} size={}>", kind_, ring_.count());
}

void refuse_descriptors(const Encoder& out) {
  if (out.descriptors().empty()) return;
  throw PicklingError(
      "an item that holds descriptors (a connection, a queue, a lock) cannot lie in a queue: "
      "pass it to the process as an argument or send it over a Connection");
}

void Record::assign(std::span<const std::byte> bytes) {
  size_ = bytes.size();
  if (bytes.size() <= small_.size()) {
    std::copy(bytes.begin(), bytes.end(), small_.begin());
  } else {
    heap_.assign(bytes.begin(), bytes.end());
  }
}

std::ostream& write_text(std::ostream& out, const std::string& text) { return out << text; }

}  // namespace detail

}  // namespace mp
