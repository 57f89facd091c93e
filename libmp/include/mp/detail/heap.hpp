#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "mp/detail/os.hpp"
#include "mp/pickle.hpp"

/// Many small shared objects in few mappings. Python: multiprocessing.heap.
namespace mp::detail {

/// A handle to a block of shared memory: copies share the block, and so does what
/// was moved from, so that no lock or array is ever without its memory.
///
/// A block is zeroed, starts at a multiple of 64 bytes and has no name. It
/// lies in an arena, a memfd of 64 KiB to 4 MiB that it shares with others;
/// one too big for that has an arena of its own. What a block costs is
/// address space of the next power of two, and memory when it is touched.
///
/// Invariants:
///   1. Which blocks are free is known to the process that made the arena,
///      in its private memory: nobody else can corrupt it, or dies with it.
///   2. Memory is used again only by that process, and only when nobody can
///      still use the block: its last handle there is gone, and so are all
///      children that were forked between its birth and its end.
///   3. A block that left in a message whose receiver's end nobody sees is not
///      used again while its maker lives. Safe before thrifty.
/// Handles may be used in any thread, and in forked children.
class SharedBlock {
 public:
  SharedBlock() = default;
  SharedBlock(const SharedBlock&) = default;
  SharedBlock& operator=(const SharedBlock&) = default;
  ~SharedBlock() = default;

  /// A new block. Throws std::system_error when the system has no memory or no descriptor left.
  static SharedBlock allocate(std::size_t size);

  /// Null for a handle without a block.
  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::size_t size() const noexcept;
  [[nodiscard]] explicit operator bool() const noexcept { return data_ != nullptr; }

  /// The T at the block's start. Zeroed memory must be a T, or the maker makes one.
  template <class T>
  [[nodiscard]] T* as(std::size_t offset = 0) const noexcept {
    return reinterpret_cast<T*>(data_ + offset);
  }

  /// Descriptor and place: the receiver has the same memory.
  void pickle(Encoder& out) const;
  static SharedBlock unpickle(Decoder& in);

  friend bool operator==(const SharedBlock& a, const SharedBlock& b) noexcept {
    return a.data_ == b.data_;
  }

 private:
  struct Block;
  friend class Heap;
  explicit SharedBlock(std::shared_ptr<Block> block) noexcept;

  std::shared_ptr<Block> block_;
  std::byte* data_ = nullptr;
};

/// An object in a block; each kind goes with a letter, so that none is taken
/// for another. Throws PicklingError for another kind or a smaller block.
void pickle_shared(Encoder& out, char kind, const SharedBlock& block);
SharedBlock unpickle_shared(Decoder& in, char kind, std::size_t least_size);

/// Says that this thread is about to fork(2) a child that will inherit all
/// blocks, and whose end will be seen. A fork that was not announced counts
/// as one whose child never ends.
std::uint64_t heap_child_born();
/// Says that the child has ended; blocks that were held back for it are free.
void heap_child_gone(std::uint64_t child);

/// What the calling process has made and not given back.
struct HeapUse {
  std::size_t arenas = 0;  ///< Each is one descriptor.
  std::size_t bytes = 0;   ///< In all arenas.
  std::size_t blocks = 0;  ///< In use, or held back for a child.
};
HeapUse heap_use();

/// Gives back the empty arena that is kept for the next block.
void heap_trim();

}  // namespace mp::detail
