#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include <fmt/format.h>

#include "mp/errors.hpp"
#include "mp/pickle.hpp"

/// Shared memory with a name, for programs that are not each other's children
/// too. Python: multiprocessing.shared_memory.
namespace mp {

/// The keyword arguments of Python's `SharedMemory()`.
struct SharedMemoryOptions {
  std::string name = {};        ///< Without a slash. Empty, with create: one that is free.
  bool create = false;          ///< A new segment; else one that is there.
  std::ptrdiff_t size = 0;      ///< Of a new one, in bytes.
  bool open_or_create = false;  ///< The one that is there, of whatever size, else a new one.
  bool track = true;            ///< What this process makes goes with it at the latest.
};

/// A named segment, mapped. Copies are the same mapping; another process gets
/// it by name, also as an argument or in a message.
///
/// The segment lives until unlink(). If the process that made it ends without
/// that, in whatever way, it is unlinked then and a warning printed, unless
/// `track` was false: a small process of libmp's watches for that as long as
/// there is such a segment. Who only attaches never unlinks by its end.
/// A new segment appears under its name zeroed and in full size, at once.
class SharedMemory {
 public:
  /// Throws ValueError for a size that cannot be, for no name where one is needed
  /// and for a NUL in it; std::system_error with EINVAL for a name with a slash in
  /// it or of more than 250 characters, EEXIST if a new segment's name is taken,
  /// ENOENT if there is none, EFBIG beyond the limit on files, or what else the
  /// system says; RuntimeError beyond 4096 tracked segments of this process.
  /// Memory is taken when it is touched: where /dev/shm is full by then, the system
  /// sends SIGBUS, as to Python.
  explicit SharedMemory(const SharedMemoryOptions& options);
  // Moved from, it stays a handle to the same mapping.
  SharedMemory(const SharedMemory&) = default;
  SharedMemory& operator=(const SharedMemory&) = default;
  ~SharedMemory() = default;

  /// The bytes; empty after close(). Spans of it must not be used after that.
  [[nodiscard]] std::span<std::byte> buf() const noexcept;
  [[nodiscard]] std::size_t size() const noexcept;
  [[nodiscard]] const std::string& name() const noexcept;

  /// Gives the mapping back, for all copies of this handle. Again: nothing.
  void close() const noexcept;
  /// Takes the name away; the memory goes with its last user. Throws
  /// std::system_error with ENOENT when it is gone already.
  void unlink() const;

  /// `SharedMemory('psm_0a1b2c3d', size=512)`.
  [[nodiscard]] std::string repr() const;

  void pickle(Encoder& out) const;
  static SharedMemory unpickle(Decoder& in);

 private:
  struct Segment;
  std::shared_ptr<Segment> segment_;
};

/// What a ShareableList holds: None, bool, int, float, str or bytes.
using ShareableItem =
    std::variant<std::monostate, bool, std::int64_t, double, std::string, std::vector<std::byte>>;

/// A list of fixed length in named shared memory. An item may be replaced by
/// one of another type that fits where it lies: 8 bytes for numbers, for texts
/// and bytes their first length rounded up to the next multiple of 8.
/// No lock: who writes while another reads takes one of their own.
/// Unlike Python's, texts and bytes keep NULs at their end.
class ShareableList {
 public:
  /// A new list. Throws as SharedMemory does.
  explicit ShareableList(const std::vector<ShareableItem>& items, const std::string& name = {});
  /// A new list in memory that is there: size_for(items) bytes of it. Throws
  /// ValueError if it is too small or closed.
  ShareableList(SharedMemory memory, const std::vector<ShareableItem>& items);
  /// Bytes that a new list takes. Throws ValueError for an item of 4 GiB or more.
  static std::size_t size_for(const std::vector<ShareableItem>& items);
  /// The list of that name. Throws ValueError for memory that is none.
  static ShareableList attach(const std::string& name);

  /// Stands for an item: reads as one, and is assigned one.
  class Reference {
   public:
    Reference(const ShareableList& list, std::ptrdiff_t index) : list_(list), index_(index) {}
    operator ShareableItem() const { return list_.get(index_); }  // NOLINT: stands for one.
    const Reference& operator=(const ShareableItem& item) const {
      list_.set(index_, item);
      return *this;
    }
    friend bool operator==(const Reference& a, const ShareableItem& b) {
      return a.list_.get(a.index_) == b;
    }

   private:
    const ShareableList& list_;
    std::ptrdiff_t index_;
  };

  /// Goes over the items; each is read when it is come to.
  class Iterator {
   public:
    using value_type = ShareableItem;
    using difference_type = std::ptrdiff_t;
    Iterator() = default;
    Iterator(const ShareableList& list, std::ptrdiff_t index) : list_(&list), index_(index) {}
    ShareableItem operator*() const { return list_->get(index_); }
    Iterator& operator++() {
      ++index_;
      return *this;
    }
    Iterator operator++(int) {
      const Iterator before = *this;
      ++index_;
      return before;
    }
    friend bool operator==(const Iterator&, const Iterator&) = default;

   private:
    const ShareableList* list_ = nullptr;
    std::ptrdiff_t index_ = 0;
  };
  [[nodiscard]] Iterator begin() const { return {*this, 0}; }
  [[nodiscard]] Iterator end() const { return {*this, static_cast<std::ptrdiff_t>(size())}; }

  /// A negative index counts from the end. IndexError outside, when it is read or written.
  Reference operator[](std::ptrdiff_t index) const { return {*this, index}; }
  [[nodiscard]] ShareableItem get(std::ptrdiff_t index) const;
  /// Throws ValueError, and changes nothing, for what does not fit.
  void set(std::ptrdiff_t index, const ShareableItem& item) const;

  [[nodiscard]] std::size_t size() const noexcept;
  [[nodiscard]] std::vector<ShareableItem> to_vector() const;
  [[nodiscard]] std::size_t count(const ShareableItem& item) const;
  /// Where it is first. Throws ValueError if it is nowhere.
  [[nodiscard]] std::size_t index(const ShareableItem& item) const;

  /// The memory below, for close() and unlink().
  [[nodiscard]] const SharedMemory& shm() const noexcept { return memory_; }

  /// `ShareableList(['a', 1, None], name='psm_0a1b2c3d')`.
  [[nodiscard]] std::string repr() const;

  void pickle(Encoder& out) const { memory_.pickle(out); }
  static ShareableList unpickle(Decoder& in);

 private:
  struct Slot;
  explicit ShareableList(SharedMemory memory);
  [[nodiscard]] std::span<std::byte> checked_data(const Slot& slot) const;
  [[nodiscard]] Slot& slot(std::ptrdiff_t index, const char* message) const;

  SharedMemory memory_;
};

namespace detail {

template <class T>
concept NamedMemory = std::same_as<T, SharedMemory> || std::same_as<T, ShareableList>;

/// Where names for new segments come from; null for the usual source.
void set_segment_name_source(std::string (*source)());

}  // namespace detail

template <detail::NamedMemory T>
std::ostream& operator<<(std::ostream& out, const T& object) {
  return out << object.repr();
}

}  // namespace mp

template <mp::detail::NamedMemory T>
struct fmt::formatter<T> : fmt::formatter<std::string> {
  template <class Context>
  auto format(const T& object, Context& context) const {
    return fmt::formatter<std::string>::format(object.repr(), context);
  }
};
