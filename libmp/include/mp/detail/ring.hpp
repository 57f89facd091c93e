#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <type_traits>

#include "mp/detail/os.hpp"

namespace mp {
class Encoder;
class Decoder;
}  // namespace mp

namespace mp::detail {

class AdaptiveSpin;

/// What may lie in a ring at once; 0 is no bound.
struct RingLimits {
  std::uint64_t max_items = 0;
  std::uint64_t max_bytes = 0;  ///< Of payload. A record larger than that is taken when alone.
};

enum class RingResult {
  ok,
  timed_out,  ///< Full or empty until the deadline.
  shut_down,  ///< By shut_down(), and nothing left that may be taken.
};

/// A first-in first-out run of records between processes: what lies under
/// Queue and under the lanes of a pool.
///
/// Memory without names: a memfd with the header and the ring proper, of which
/// only a warm part is used while readers keep up; a second one, the spill, a
/// log that takes what the ring has no room for and gives its pages back as it
/// is read; and an eventfd for those who wait with poll(2).
///
/// Invariants:
///   1. Producers hold the tail lock, consumers the head lock; each side
///      writes its own state only. Both locks survive their owner, and who
///      takes over from a dead one just goes on from the committed state.
///   2. A side's state is {place in the ring, place in the spill, count,
///      bytes} in two slots and a version whose low bit says which slot
///      counts. One store of the version commits: what a killed producer
///      wrote is not there, what a killed consumer read still is.
///   3. A record goes to the ring only while the spill is empty, so all that
///      is in the ring is older than all that is in the spill; consumers take
///      the ring first, as of one consistent look at the tail's state.
///   4. A record never changes between its commit and its being taken.
///   5. A waiter sets a gate's waiting bit, looks again, and sleeps; who
///      commits looks at the bit after the commit. Both are sequentially
///      consistent, so one of them sees the other. The bit is cleared only
///      when nobody was found asleep. Sleeps are short slices, so a wake-up
///      that died with a killed process delays, and never hangs, another.
///   6. The memory's maker and users trust each other; yet a length is
///      checked before it is used.
///
/// Used by any number of processes and threads. After fork the child's object
/// is as good as the parent's.
class Ring {
 public:
  using Pieces = std::span<const std::span<const std::byte>>;

  /// A new one. Throws std::system_error when the system refuses.
  explicit Ring(const RingLimits& limits = {});
  /// Another process's.
  explicit Ring(Decoder& in);
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
  ~Ring();

  void pickle(Encoder& out) const;

  /// Appends one record, made of `pieces`. When it returns ok the record can
  /// be taken by every process. Throws std::system_error when there is no
  /// memory for it; then nothing has happened.
  RingResult put(Pieces pieces, const Deadline& deadline);

  /// Calls `take(std::span<const std::byte>)` with the oldest record, where it
  /// lies and under the consumers' lock, so briefly. It is taken when `take`
  /// returns or throws PicklingError; at any other exception it stays.
  template <class Take>
  RingResult get(Take&& take, const Deadline& deadline) {
    using Function = std::remove_reference_t<Take>;
    const Taker taker{const_cast<void*>(static_cast<const void*>(std::addressof(take))),
                      [](void* function, std::span<const std::byte> bytes) {
                        (*static_cast<Function*>(function))(bytes);
                      }};
    return get_record(taker, deadline);
  }

  /// Records now in it: puts less gets.
  [[nodiscard]] std::uint64_t count() const;
  [[nodiscard]] bool full() const;
  [[nodiscard]] const RingLimits& limits() const noexcept;

  /// Lets nothing more in. What is inside can still be taken, unless
  /// `immediate`. Ends all waits that this decides.
  void shut_down(bool immediate);
  [[nodiscard]] bool is_shut_down() const noexcept;

  /// A second count, of records that were dealt with: put() adds one to what
  /// is unfinished, task_done() takes one away (false if there is none).
  bool task_done();
  /// Returns when nothing is unfinished; false at the deadline.
  bool join(const Deadline& deadline);

  /// As WaitSource: a descriptor that turns readable some time after this
  /// call when there may be something to take.
  int arm();
  /// A get() would not wait now.
  [[nodiscard]] bool ready() const;

 private:
  struct Header;
  struct Side;
  struct State;
  struct Gate;
  struct Window;
  struct View;
  struct Spins;
  struct Taker {
    void* object;
    void (*call)(void*, std::span<const std::byte>);
  };

  std::optional<RingResult> try_put(Pieces pieces, std::uint64_t size, const Deadline& deadline);
  [[nodiscard]] bool admits(std::uint64_t size) const;
  bool find_place(State& tail, std::uint64_t need);
  bool place_in_ring(State& tail, std::uint64_t need);
  void settle_warm(std::uint64_t lag);
  bool wait_for_room(State& tail, std::uint64_t need);
  bool wait_for_drain(const State& tail, std::uint64_t need);
  void write_ring(State& tail, std::uint64_t size, Pieces pieces);
  void write_spill(State& tail, std::uint64_t size, Pieces pieces);
  std::byte* mapped_spill(std::uint64_t from, std::uint64_t size);
  void append_spill(std::uint64_t from, std::uint64_t size, Pieces pieces);
  void tell_consumers();

  RingResult get_record(const Taker& taker, const Deadline& deadline);
  std::optional<RingResult> try_get(const Taker& taker, const Deadline& deadline);
  std::span<const std::byte> read_ring(State& head);
  std::span<const std::byte> read_spill(State& head, std::uint64_t end);
  void give_back(const State& head);
  void punch(std::uint64_t from, std::uint64_t to) noexcept;

  template <class Ready>
  bool sleep(Gate& gate, Ready ready, const Deadline& deadline, AdaptiveSpin* spin);
  [[nodiscard]] std::uint64_t finish_line() const;

  SharedMapping memory_;
  UniqueFd spill_;
  UniqueFd event_;
  Header* header_ = nullptr;
  std::byte* ring_ = nullptr;
  std::unique_ptr<Window> window_;    // Consumers read the spill ahead,
  std::unique_ptr<View> spill_view_;  // producers write small records through it.
  std::unique_ptr<Spins> spins_;
};

}  // namespace mp::detail
