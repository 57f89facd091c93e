#include "mp/detail/ring.hpp"

#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include <algorithm>
#include <climits>
#include <exception>
#include <utility>

#include "mp/pickle.hpp"
#include "probe.hpp"
#include "ring_state.hpp"

namespace mp::detail {

using namespace std::chrono_literals;
using namespace ring;

namespace {

constexpr std::uint64_t magic = 0x676e69722e706d01;  // "mp.ring", layout 1.
constexpr std::uint64_t capacity = 16 << 20;
constexpr std::uint64_t header_space = 4096;
// The ring starts over at its beginning as soon as this much is used and free
// again, so that the same lines stay in the cache while readers keep up.
constexpr std::uint64_t least_warm = 256 << 10;
constexpr std::uint64_t largest_in_ring = capacity / 2;
constexpr std::uint64_t wrap_mark = ~std::uint64_t{0};
// A sleeper looks again after this long, told or not.
constexpr Duration sleep_slice = 100ms;
// How long a producer waits for a reader before it goes over to the spill, and
// for each byte more: the spill is slower than the ring, and not left soon.
constexpr Duration room_wait = 1ms;
constexpr std::int64_t room_wait_per_byte = 4;
constexpr Duration room_spin = 20us;
// A lock is held for microseconds, or for as long as a large record takes. Who
// asks without a time-out waits this long for it before it looks whether there
// is anything to wait for.
constexpr Duration lock_patience = 250ms;

constexpr std::uint32_t closed_flag = 1;
constexpr std::uint32_t immediate_flag = 2;

// A place in the ring is lap << 32 | offset: places only ever grow.
constexpr std::uint64_t offset_of(std::uint64_t place) { return place & 0xffff'ffffU; }
constexpr std::uint64_t lap_of(std::uint64_t place) { return place >> 32; }
constexpr std::uint64_t next_lap(std::uint64_t place) { return (lap_of(place) + 1) << 32; }
constexpr std::uint64_t padded(std::uint64_t size) { return (size + 7) & ~std::uint64_t{7}; }

// Holds a lock for a scope. Not if the deadline came first and there is
// nothing to hold it for: so get_nowait() says Empty only of an empty queue.
class Hold {
 public:
  template <class Wanted>
  Hold(OwnedLock& lock, const Deadline& deadline, Wanted wanted)
      : lock_(lock), held_(lock.try_acquire()) {
    while (!held_) {
      const Timeout left = deadline.remaining();
      const Deadline patient(left ? Timeout(std::max(*left, lock_patience)) : std::nullopt);
      held_ = lock_.acquire(patient) != Taken::timed_out;
      if (!held_ && !wanted()) return;
    }
  }
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;
  ~Hold() { release_now(); }
  void release_now() {
    if (std::exchange(held_, false)) lock_.release();
  }
  explicit operator bool() const { return held_; }

 private:
  OwnedLock& lock_;
  bool held_;
};

// Between a commit with the release of its lock and the look at the gates'
// bits. On x86 the exchange that releases a lock is a full barrier already.
void order_before_gates() {
#if defined(__x86_64__) || defined(__i386__)
  std::atomic_signal_fence(std::memory_order_seq_cst);
#else
  std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}

}  // namespace

Ring::Ring(const RingLimits& limits)
    : memory_(SharedMapping::create("mp.ring", header_space + capacity)),
      spill_(opened(::memfd_create("mp.spill", MFD_CLOEXEC), "memfd_create")),
      event_(opened(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd")),
      spins_(std::make_unique<Spins>()) {
  static_assert(sizeof(Header) <= header_space);
  header_ = reinterpret_cast<Header*>(memory_.data());
  ring_ = memory_.data() + header_space;
  // The rest of it begins as the zeroes that new memory has.
  header_->magic = magic;
  header_->limits = limits;
  header_->warm.store(least_warm, relaxed);
}

Ring::Ring(Decoder& in) : spins_(std::make_unique<Spins>()) {
  UniqueFd memory = in.descriptor();
  spill_ = in.descriptor();
  event_ = in.descriptor();
  memory_ = SharedMapping::attach(std::move(memory));
  if (memory_.size() != header_space + capacity) Decoder::malformed("no memory of a queue");
  header_ = reinterpret_cast<Header*>(memory_.data());
  ring_ = memory_.data() + header_space;
  if (header_->magic != magic) Decoder::malformed("no memory of a queue");
}

Ring::~Ring() = default;

void Ring::pickle(Encoder& out) const {
  out.descriptor(memory_.fd());
  out.descriptor(spill_.get());
  out.descriptor(event_.get());
}

// --- what lies where -----------------------------------------------------------

namespace {

template <class State>
bool fits(const RingLimits& limits, const State& tail, const State& head, std::uint64_t size) {
  const std::uint64_t used = tail.bytes - head.bytes;
  return (limits.max_items == 0 || tail.count - head.count < limits.max_items) &&
         (limits.max_bytes == 0 || used == 0 || used + size <= limits.max_bytes);
}

}  // namespace

const RingLimits& Ring::limits() const noexcept { return header_->limits; }

bool Ring::is_shut_down() const noexcept { return header_->flags.load(acquire) != 0; }

std::uint64_t Ring::count() const {
  if ((header_->flags.load(acquire) & immediate_flag) != 0) return 0;
  // The head first: it never overtakes the tail that is looked at after it.
  const std::uint64_t taken = header_->head.look().count;
  return header_->tail.look().count - taken;
}

bool Ring::ready() const { return is_shut_down() || count() != 0; }

bool Ring::admits(std::uint64_t size) const {
  const bool with_bytes = header_->limits.max_bytes != 0;
  const State head = header_->head.look(with_bytes);
  return fits(header_->limits, header_->tail.look(with_bytes), head, size);
}

bool Ring::full() const { return !admits(1); }

// --- put ---------------------------------------------------------------------

RingResult Ring::put(Pieces pieces, const Deadline& deadline) {
  std::uint64_t size = 0;
  for (const auto piece : pieces) size += piece.size();
  for (;;) {
    if (const auto result = try_put(pieces, size, deadline)) return *result;
    const auto may_try = [&] { return is_shut_down() || admits(size); };
    if (!sleep(header_->not_full, may_try, deadline, &spins_->put)) return RingResult::timed_out;
  }
}

// Empty when there is no room within the limits.
std::optional<RingResult> Ring::try_put(Pieces pieces, std::uint64_t size,
                                        const Deadline& deadline) {
  Side& side = header_->tail;
  Hold hold(side.lock, deadline, [&] { return is_shut_down() || admits(size); });
  if (!hold) return RingResult::timed_out;
  probe("ring.put.locked");
  if (is_shut_down()) return RingResult::shut_down;
  State tail = side.own();
  if (!fits(header_->limits, tail, side.seen(), size)) {
    side.see(header_->head.look(header_->limits.max_bytes != 0));
    if (!fits(header_->limits, tail, side.seen(), size)) return std::nullopt;
  }
  if (find_place(tail, record_header + padded(size))) {
    write_ring(tail, size, pieces);
  } else {
    write_spill(tail, size, pieces);
  }
  ++tail.count;
  tail.bytes += size;
  probe("ring.put.written");
  side.commit(tail);
  probe("ring.put.committed");
  hold.release_now();
  tell_consumers();
  probe("ring.put.told");
  return RingResult::ok;
}

void Ring::tell_consumers() {
  order_before_gates();
  header_->not_empty.tell(1);
  if (header_->poll_asked.load(std::memory_order_seq_cst) != 0 &&
      header_->poll_asked.exchange(0) != 0) {
    probe("ring.put.poll_taken");
    ::eventfd_write(event_.get(), 1);
  }
}

// True with tail.ring at the record's place in the ring; false for the spill.
bool Ring::find_place(State& tail, std::uint64_t need) {
  if (need > largest_in_ring) return false;
  Side& side = header_->tail;
  if (tail.spill != side.seen_spill.load(relaxed) && !wait_for_drain(tail, need)) return false;
  if (place_in_ring(tail, need)) return true;
  side.see(header_->head.look());
  if (place_in_ring(tail, need)) return true;
  // Started over too early for a reader that lags like this one.
  header_->warm.store(std::min(capacity, header_->warm.load(relaxed) * 4), relaxed);
  header_->calm.store(0, relaxed);
  return wait_for_room(tail, need);
}

bool Ring::place_in_ring(State& tail, std::uint64_t need) {
  Side& side = header_->tail;
  const std::uint64_t at = offset_of(tail.ring);
  const std::uint64_t seen = side.seen_ring.load(relaxed);
  if (lap_of(tail.ring) != lap_of(seen)) return at + need <= offset_of(seen);
  const bool fits_here = at + need + record_header <= capacity;  // A wrap mark always fits.
  const std::uint64_t warm = std::max(header_->warm.load(relaxed), need * 8);
  const bool may_start_over = at >= warm && at >= header_->retry_at.load(relaxed);
  if (fits_here && !may_start_over) return true;
  side.see(header_->head.look());
  const std::uint64_t free = offset_of(side.seen_ring.load(relaxed));
  // Early only for a reader that keeps up, or it would soon be in the way.
  if (need > free || (fits_here && at - free > warm / 4)) {
    header_->retry_at.store(at + least_warm / 4, relaxed);
    return fits_here;
  }
  put_number(ring_ + at, wrap_mark);
  tail.ring = next_lap(tail.ring);
  header_->retry_at.store(0, relaxed);
  settle_warm(at - free);
  return true;
}

// Shrinks the part in use when readers kept up closely for a while.
void Ring::settle_warm(std::uint64_t lag) {
  const std::uint64_t warm = header_->warm.load(relaxed);
  const std::uint64_t calm = lag < warm / 16 ? header_->calm.load(relaxed) + 1 : 0;
  header_->calm.store(calm, relaxed);
  if (calm % 16 == 15) header_->warm.store(std::max(least_warm, warm / 2), relaxed);
}

// A reader at work makes room sooner than the spill is written. One that is
// slow is not waited for: then even a gap that would do is left alone, or a
// queue without a bound would hold its producers back.
bool Ring::wait_for_room(State& tail, std::uint64_t need) {
  const std::uint64_t comfortable = std::max(need, header_->warm.load(relaxed) / 16);
  const Deadline end(room_wait + Duration(need) * room_wait_per_byte);
  const Deadline spinning(has_several_cores() ? room_spin : Duration::zero());
  do {
    if (spinning.passed()) {
      ::sched_yield();
    } else {
      for (int i = 0; i < 64; ++i) spin_pause();
    }
    header_->tail.see(header_->head.look());
    State there = tail;
    if (place_in_ring(there, comfortable)) return place_in_ring(tail, need);
  } while (!end.passed());
  return false;
}

// While consumers are at work on a spill that is short, a producer of large
// records gives them as much time as its own writing takes: so they catch up,
// and the ring is used again.
bool Ring::wait_for_drain(const State& tail, std::uint64_t need) {
  Side& side = header_->tail;
  const std::uint64_t taken = side.seen_count.load(relaxed);
  side.see(header_->head.look());
  const auto left = [&] { return tail.spill - side.seen_spill.load(relaxed); };
  if (left() == 0) return true;
  if (need < 4096 || left() > capacity * 2 || side.seen_count.load(relaxed) == taken) return false;
  const Deadline end{Duration(need)};  // Writing takes some 1 ns a byte.
  do {
    ::sched_yield();
    side.see(header_->head.look());
  } while (left() != 0 && !end.passed());
  return left() == 0;
}

void Ring::write_ring(State& tail, std::uint64_t size, Pieces pieces) {
  std::byte* at = ring_ + offset_of(tail.ring);
  put_number(at, size);
  copy_pieces(at + record_header, pieces);
  tail.ring += record_header + padded(size);
}

// --- get ---------------------------------------------------------------------

RingResult Ring::get_record(const Taker& taker, const Deadline& deadline) {
  for (;;) {
    if (const auto result = try_get(taker, deadline)) return *result;
    const auto may_try = [&] { return ready(); };
    if (!sleep(header_->not_empty, may_try, deadline, &spins_->get)) return RingResult::timed_out;
    spins_->head_start([&] { return count(); });
  }
}

// Empty when there is nothing to take.
std::optional<RingResult> Ring::try_get(const Taker& taker, const Deadline& deadline) {
  Side& side = header_->head;
  Hold hold(side.lock, deadline, [&] { return ready(); });
  if (!hold) return RingResult::timed_out;
  probe("ring.get.locked");
  const std::uint32_t flags = header_->flags.load(acquire);
  if ((flags & immediate_flag) != 0) return RingResult::shut_down;
  State head = side.own();
  const auto nothing = [&] {
    return head.ring == side.seen_ring.load(relaxed) && head.spill == side.seen_spill.load(relaxed);
  };
  if (nothing()) {
    side.see(header_->tail.look());
    // The flags change under this lock too, so nothing came in after them.
    if (nothing()) return flags == 0 ? std::nullopt : std::optional(RingResult::shut_down);
  }
  const bool in_ring = head.ring != side.seen_ring.load(relaxed);
  const auto bytes = in_ring ? read_ring(head) : read_spill(head, side.seen_spill.load(relaxed));
  std::exception_ptr refused;
  try {
    taker.call(taker.object, bytes);
  } catch (const PicklingError&) {
    refused = std::current_exception();
  }
  ++head.count;
  head.bytes += bytes.size();
  probe("ring.get.copied");
  side.commit(head);
  probe("ring.get.committed");
  if (!in_ring) give_back(head);
  hold.release_now();
  order_before_gates();
  // With a bound in bytes one gap may admit several producers, or another one.
  header_->not_full.tell(header_->limits.max_bytes != 0 ? INT_MAX : 1);
  probe("ring.get.told");
  if (refused) std::rethrow_exception(refused);
  return RingResult::ok;
}

std::span<const std::byte> Ring::read_ring(State& head) {
  if (offset_of(head.ring) > capacity - record_header) corrupt();
  std::uint64_t size = get_number(ring_ + offset_of(head.ring));
  if (size == wrap_mark) {
    head.ring = next_lap(head.ring);
    size = get_number(ring_);
  }
  const std::uint64_t at = offset_of(head.ring) + record_header;
  if (size > capacity - at) corrupt();
  head.ring += record_header + padded(size);
  return {ring_ + at, size};
}

// --- waiting -------------------------------------------------------------------

template <class Ready>
bool Ring::sleep(Gate& gate, Ready ready, const Deadline& deadline, AdaptiveSpin* spin) {
  if (deadline.passed()) return ready();
  if (spin != nullptr && (*spin)(ready)) return true;
  for (;;) {
    std::uint32_t seen = gate.word.load(std::memory_order_seq_cst);
    if ((seen & waiting_bit) == 0) {
      seen = gate.word.fetch_or(waiting_bit, std::memory_order_seq_cst) | waiting_bit;
    }
    std::atomic_thread_fence(std::memory_order_seq_cst);  // The bit before the look.
    probe("ring.sleep.announced");
    if (ready()) return true;
    if (deadline.passed()) return false;
    futex_wait(gate.word, seen, deadline.remaining_at_most(sleep_slice));
    probe("ring.sleep.woken");
    if (ready()) return true;
  }
}

int Ring::arm() {
  eventfd_t count = 0;
  ::eventfd_read(event_.get(), &count);
  header_->poll_asked.store(1, std::memory_order_seq_cst);
  std::atomic_thread_fence(std::memory_order_seq_cst);  // Before the caller's look.
  return event_.get();
}

void Ring::shut_down(bool immediate) {
  {
    const OwnedGuard producers(header_->tail.lock);
    const OwnedGuard consumers(header_->head.lock);
    header_->flags.fetch_or(immediate ? closed_flag | immediate_flag : closed_flag, release);
    probe("ring.shutdown.marked");
    if (immediate) punch(header_->punched.load(relaxed), header_->tail.own().spill);
  }
  for (Gate* gate : {&header_->not_empty, &header_->not_full, &header_->finished}) {
    gate->tell(INT_MAX);
  }
  tell_consumers();
}

// --- what is unfinished ----------------------------------------------------------

// Records that were put and will be taken, or were taken.
std::uint64_t Ring::finish_line() const {
  const bool dropped = (header_->flags.load(acquire) & immediate_flag) != 0;
  return (dropped ? header_->head : header_->tail).look().count;
}

bool Ring::task_done() {
  std::uint64_t done = header_->done.load(relaxed);
  do {
    if (done >= finish_line()) return false;
  } while (!header_->done.compare_exchange_weak(done, done + 1, std::memory_order_seq_cst));
  probe("ring.done.counted");
  if (done + 1 >= finish_line()) header_->finished.tell(INT_MAX);
  return true;
}

bool Ring::join(const Deadline& deadline) {
  const auto all_done = [&] {
    return header_->done.load(std::memory_order_seq_cst) >= finish_line();
  };
  return sleep(header_->finished, all_done, deadline, nullptr);
}

}  // namespace mp::detail
