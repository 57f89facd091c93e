#pragma once

// The results of an imap in a manager's pool, at the client's end.

#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "mp/detail/future_state.hpp"
#include "mp/detail/input_lock.hpp"
#include "mp/detail/os.hpp"
#include "mp/detail/remote.hpp"
#include "mp/detail/stream_rules.hpp"
#include "mp/detail/window.hpp"

namespace mp::detail {

/// Items for one message: whole chunks, and at the input's end what is left.
class ItemBatch {
 public:
  ItemBatch(std::size_t most, std::size_t chunk) : most_(most), chunk_(chunk) {}

  [[nodiscard]] Encoder& items() noexcept { return items_; }
  /// One more is in items().
  void added() noexcept {
    if (++added_ % chunk_ == 0) keep_all();
  }
  /// Large items travel in small company.
  [[nodiscard]] bool full() const noexcept {
    return added_ >= most_ || (added_ == count_ && bytes_ >= most_bytes);
  }
  void keep_all() noexcept {
    count_ = added_;
    bytes_ = items_.view().size();
  }
  [[nodiscard]] std::size_t count() const noexcept { return count_; }
  [[nodiscard]] std::span<const std::byte> bytes() const { return items_.view().first(bytes_); }
  /// The input is at its end.
  [[nodiscard]] bool is_last() const noexcept { return is_last_; }
  void make_last() noexcept { is_last_ = true; }

 private:
  static constexpr std::size_t most_bytes = 256U << 10U;
  const std::size_t most_;
  const std::size_t chunk_;
  Encoder items_;
  std::size_t added_ = 0;
  std::size_t count_ = 0;
  std::size_t bytes_ = 0;
  bool is_last_ = false;
};

/// The stream, but for the type of its results. One reader, in whose thread
/// all happens: the input is read, sent, and results are asked for; but one that
/// joins the pool reads the input on, too.
///
/// Invariants:
///   1. An item is in the window from when it is sent until its result is taken
///      out of ready_.
///   2. Input and results are touched under `input_lock_` only.
class RemoteStreamBase : public std::enable_shared_from_this<RemoteStreamBase> {
 public:
  /// Fills the batch from the input; throws what the input throws.
  using Pull = std::function<void(ItemBatch&)>;

  /// Takes over a stream of the server's, which nobody else has, of a `pool` there.
  RemoteStreamBase(std::shared_ptr<ProxyState> state, const ProxyState& pool, StreamRules rules,
                   std::size_t workers, Pull pull);
  /// Sends the first items.
  void open();
  /// Those of this process that are open, of one pool.
  static std::vector<std::shared_ptr<RemoteStreamBase>> all_of(const ProxyState& pool);
  /// Sends all the rest, until the deadline, as nobody may be there to take results.
  void read_on(const Deadline& deadline);

  /// Nobody reads on: the server drops what has not begun.
  void abandon() noexcept;
  [[nodiscard]] bool ends_at_error() const noexcept { return rules_.ends_at_error; }

 protected:
  struct Raw {
    std::string bytes = {};
    std::exception_ptr error = {};
  };
  /// False at the end. Throws TimeoutError; and, again and again, what has cut
  /// the stream off from its server.
  bool next_raw(Raw& raw, const Deadline& deadline);

 private:
  void drop() noexcept;
  void refill();
  void send_some(std::size_t most);
  void exchange(const ItemBatch* batch, const Deadline& deadline);

  const std::shared_ptr<ServerHandle> server_;
  const std::uint64_t pool_;
  InputLock input_lock_;
  bool abandoned_inside_ = false;  // By the input's own code.
  std::shared_ptr<ProxyState> state_;
  const StreamRules rules_;
  Window window_;
  Pull pull_;
  std::exception_ptr failed_input_;
  std::exception_ptr cut_off_;
  std::deque<Raw> ready_;
  const std::uint32_t creator_ = fork_generation();
};

template <class R>
class RemoteStream : public RemoteStreamBase {
 public:
  using RemoteStreamBase::RemoteStreamBase;
  struct Outcome {
    std::optional<Storable<R>> value = {};
    std::exception_ptr error = {};
  };

  bool next(Outcome& outcome, const Deadline& deadline) {
    Raw raw;
    if (!next_raw(raw, deadline)) return false;
    outcome.error = raw.error;
    if (outcome.error) return true;
    try {
      Decoder in(std::as_bytes(std::span(raw.bytes)));
      if constexpr (std::is_void_v<R>) {
        outcome.value.emplace();
      } else {
        outcome.value.emplace(take_element<R>(in, nullptr));
      }
    } catch (...) {
      outcome.error = std::current_exception();
    }
    return true;
  }
};

}  // namespace mp::detail
