#include "mp/detail/item_run.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "lane.hpp"
#include "mp/executor_errors.hpp"
#include "mp/process.hpp"
#include "mp/remote_error.hpp"

namespace mp::detail {

namespace {

// How often the clock is asked between items: about each so many nanoseconds.
constexpr std::int64_t clock_interval = 50'000;
constexpr std::size_t longest_stride = 1024;

}  // namespace

ItemRun::ItemRun(Lane& lane) : lane_(lane) {}

void ItemRun::run() {
  const TaskEntry& task = lane_.task();
  begun_ = lane_.header().begun_at.load(std::memory_order_relaxed);
  count_ = task.count;
  budget_ = task.budget;
  // A task of one item, or one that is not to be interrupted, asks no clock.
  stop_ = budget_ == 0 ? count_ : std::min<std::size_t>(count_, 1);
  lane_.header().progress.clear();
  open_room();
  try {
    const auto bytes = lane_.bytes();
    in_ = Decoder(bytes);
    const auto runner = reinterpret_cast<Runner>(const_cast<void*>(in_.code()));
    runner(*this);
  } catch (...) {
    // Neither the code nor the callable could be read: no item can be run.
    while (index_ != count_) failed();
  }
  commit_open(true);
}

// Whether to go on with the next item, after the clock was asked.
bool ItemRun::more() {
  if (index_ == count_) return false;
  const std::int64_t now = monotonic_now();
  if (static_cast<std::uint64_t>(now - begun_) > budget_) {
    gave_back_ = true;
    return false;
  }
  const std::int64_t since = std::max<std::int64_t>(now - std::max(asked_, begun_), 1);
  asked_ = now;
  // Twice as far if that took little, else by what it took on average.
  stride_ = since * 2 < clock_interval ? std::min(stride_ * 2, longest_stride)
                                       : std::max<std::size_t>(stride_ / 2, 1);
  stop_ = std::min(count_, index_ + stride_);
  return true;
}

void ItemRun::publish() noexcept {
  LaneHeader& lane = lane_.header();
  lane.open.store(
      pack(static_cast<std::uint32_t>(index_ - opened_), static_cast<std::uint32_t>(mark_)),
      std::memory_order_release);
}

void ItemRun::open_room() {
  const auto room = lane_.room();
  out_.clear(room);
  room_ = room.data();
  mark_ = 0;
  opened_ = index_;
  LaneHeader& lane = lane_.header();
  lane.open.store(0, std::memory_order_release);
  lane.open_at.store(lane_.room_offset(), std::memory_order_relaxed);
  lane.open_first.store(static_cast<std::uint32_t>(opened_), std::memory_order_release);
}

// What there is in the open record, if anything.
void ItemRun::commit_open(bool last) {
  const std::size_t items = index_ - opened_;
  if (items == 0 && !last) return;
  ResultEntry entry{.id = lane_.task().id,
                    .first = static_cast<std::uint32_t>(opened_),
                    .count = static_cast<std::uint32_t>(items)};
  if (last) {
    entry.last = !gave_back_;
    entry.elapsed =
        static_cast<std::uint64_t>(budget_ != 0 ? lane_.time_task() : lane_.last_time());
  }
  // The last entry says that the task is over even if it holds no values.
  if (room_ == nullptr) {
    lane_.commit(entry, {});
  } else {
    lane_.commit_room(entry, mark_);
  }
  opened_ = index_;
  if (!gave_back_) return;
  entry.kind = ResultEntry::Kind::given_back;
  entry.first = static_cast<std::uint32_t>(index_);
  entry.count = static_cast<std::uint32_t>(count_ - index_);
  entry.last = true;
  lane_.commit(entry, {});
}

// The current item's result has outgrown the room, or holds descriptors.
void ItemRun::keep_elsewhere() {
  if (!out_.descriptors().empty()) {
    --index_;
    try {
      throw PicklingError("a result cannot carry descriptors");
    } catch (...) {
      failed();
    }
    return;
  }
  value_ = nullptr;
  // The bytes moved to memory of the encoder's own; those of the items before
  // are in the room still.
  const auto bytes = out_.view().subspan(mark_);
  const std::size_t index = std::exchange(index_, index_ - 1);
  try {
    commit_open(false);
    lane_.commit({.id = lane_.task().id, .first = static_cast<std::uint32_t>(index_), .count = 1},
                 bytes);
  } catch (...) {
    // The system has no memory for it.
    failed();
    return;
  }
  index_ = index;
  open_room();
}

void ItemRun::failed() {
  Encoder error;
  const std::type_info* value = std::exchange(value_, nullptr);
  const auto encode_it = [&] {
    error.clear();
    encode_current_exception(error, current_process().name());
  };
  try {
    try {
      throw;
    } catch (const SystemExit&) {
      encode_it();
    } catch (const std::exception& refused) {
      if (value == nullptr) {
        encode_it();
      } else {
        const std::string reason = describe_exception(std::current_exception());
        try {
          throw MaybeEncodingError(reason, type_name(*value));
        } catch (...) {
          encode_it();
        }
      }
    } catch (...) {
      encode_it();
    }
  } catch (...) {
    // The exception itself could not be encoded: then that is the news.
    encode_it();
  }
  out_.truncate(mark_);
  commit_open(false);
  lane_.commit({.id = lane_.task().id,
                .first = static_cast<std::uint32_t>(index_),
                .count = 1,
                .kind = ResultEntry::Kind::error},
               error.view());
  ++index_;
  skip_to(index_);
  open_room();
}

// Where an item begins is known, whatever the one before left unread.
void ItemRun::skip_to(std::size_t index) {
  if (index == count_) return;
  const TaskEntry& task = lane_.task();
  const auto bytes = lane_.bytes();
  std::uint64_t begin = task.head + index * task.stride;
  if (task.varied) {
    const std::size_t table = task.size - task.count * sizeof(std::uint64_t);
    std::memcpy(&begin, bytes.data() + table + (index - 1) * sizeof begin, sizeof begin);
    begin += task.head;
  }
  in_ = Decoder(bytes.subspan(std::min<std::size_t>(begin, bytes.size())));
}

}  // namespace mp::detail
