#include "mp/detail/heap.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

namespace mp::detail {
namespace {

constexpr std::size_t alignment = 64;
constexpr std::size_t page_size = 4096;
constexpr std::size_t smallest_arena = std::size_t{64} << 10U;
constexpr std::size_t largest_arena = std::size_t{4} << 20U;
constexpr std::size_t largest_shared_block = largest_arena / 4;
constexpr std::uint64_t arena_magic = 0x6d702d6172656e61;  // "mp-arena"

constexpr std::size_t class_of(std::size_t size) {
  return static_cast<std::size_t>(std::countr_zero(size) - std::countr_zero(alignment));
}
constexpr std::size_t classes = class_of(largest_shared_block) + 1;

// At the start of each arena, seen by all who map it.
struct alignas(alignment) ArenaHeader {
  std::uint64_t magic;
  // Set by those who did not make the arena and hand its blocks on: the maker
  // cannot know any more who uses them.
  std::atomic<std::uint32_t> lent;
};
static_assert(sizeof(ArenaHeader) == alignment);

struct ArenaKey {
  dev_t device = 0;
  ino_t inode = 0;
  auto operator<=>(const ArenaKey&) const = default;
};

ArenaKey key_of(int fd) {
  struct stat info {};
  check(::fstat(fd, &info), "fstat");
  return {info.st_dev, info.st_ino};
}

}  // namespace

struct Arena {
  explicit Arena(SharedMapping memory) : mapping(std::move(memory)), key(key_of(mapping.fd())) {}

  [[nodiscard]] ArenaHeader& header() const {
    return *reinterpret_cast<ArenaHeader*>(mapping.data());
  }
  void lend() const { header().lent.store(1, std::memory_order_release); }

  SharedMapping mapping;
  ArenaKey key;
  // The rest is the maker's: blocks are cut off at `next`; those that came
  // back wait in the list of their size; below `dirty` memory was used before.
  std::size_t next = sizeof(ArenaHeader);
  std::size_t dirty = sizeof(ArenaHeader);
  std::size_t live = 0;
  std::array<std::vector<std::size_t>, classes> free = {};
};

struct SharedBlock::Block {
  Block(std::shared_ptr<Arena> in, std::size_t at, std::size_t bytes)
      : arena(std::move(in)), offset(at), size(bytes) {}
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  ~Block();

  std::shared_ptr<Arena> arena;
  std::size_t offset;
  std::size_t size;
  std::uint32_t maker = 0;     // Fork generation of the process that made it; 0: another's.
  std::uint64_t born = 0;      // Children announced when it was made.
  std::atomic<bool> pinned{};  // Left in a message: never used again.
};

// All that a process knows of its arenas. A forked child starts with a new
// one and keeps the old only to know what it inherited.
class Heap {
 public:
  explicit Heap(Heap* inherited) : inherited_(inherited), generation_(fork_generation()) {}

  static Heap& current();

  SharedBlock allocate(std::size_t size);
  void release(SharedBlock::Block& block) noexcept;
  SharedBlock attach(int fd, std::size_t offset, std::size_t size);

  std::uint64_t child_born();
  void child_gone(std::uint64_t child);
  HeapUse use();
  void trim();

  static void before_fork();
  static void after_fork_in_parent();

 private:
  // A block whose last handle is gone, but that a child may still use.
  struct HeldBack {
    std::shared_ptr<Arena> arena;
    std::size_t offset;
    std::size_t size;
    std::uint64_t born;
    std::uint64_t ended;
  };

  std::pair<std::shared_ptr<Arena>, std::size_t> place(std::size_t size);
  std::shared_ptr<Arena> make_arena(std::size_t size);
  [[nodiscard]] bool child_between(std::uint64_t born, std::uint64_t ended) const;
  void take_back(const std::shared_ptr<Arena>& arena, std::size_t offset, std::size_t size);
  void drop_empty_arenas(std::size_t keep);
  void lend_attached();

  Heap* inherited_;
  std::uint32_t generation_;
  ForkSafeMutex mutex_;
  std::vector<std::shared_ptr<Arena>> arenas_;
  std::map<ArenaKey, std::weak_ptr<Arena>> attached_;
  std::vector<HeldBack> held_back_;
  std::uint64_t births_ = 0;
  std::vector<std::uint64_t> children_;  // Those that have not ended, ascending.
};

namespace {

std::atomic<Heap*> the_heap{nullptr};
// Set between heap_child_born() and the fork(2) it announces.
thread_local bool fork_announced = false;
// The mutex that this thread holds while it forks.
thread_local ForkSafeMutex* held_for_fork = nullptr;

// When the program starts, so that no thread is in the middle of a fork.
[[maybe_unused]] const bool hooks_registered =
    (around_fork(Heap::before_fork, Heap::after_fork_in_parent), true);

}  // namespace

Heap& Heap::current() {
  static ForkSafeMutex making;
  Heap* heap = the_heap.load(std::memory_order_acquire);
  if (heap != nullptr && heap->generation_ == fork_generation()) return *heap;
  const std::lock_guard guard(making);
  heap = the_heap.load(std::memory_order_acquire);
  if (heap == nullptr || heap->generation_ != fork_generation()) {
    // Never deleted: handles in static objects may outlive everything else.
    heap = new Heap(heap);
    the_heap.store(heap, std::memory_order_release);
  }
  return *heap;
}

// --- blocks ------------------------------------------------------------------

SharedBlock Heap::allocate(std::size_t size) {
  const std::lock_guard guard(mutex_);
  auto [arena, offset] = place(std::max<std::size_t>(size, 1));
  std::byte* data = arena->mapping.data() + offset;
  if (offset < arena->dirty) std::memset(data, 0, std::min(size, arena->dirty - offset));
  arena->dirty = std::max(arena->dirty, offset + size);
  ++arena->live;
  auto block = std::make_shared<SharedBlock::Block>(std::move(arena), offset, size);
  block->maker = generation_;
  block->born = births_;
  return SharedBlock(std::move(block));
}

std::pair<std::shared_ptr<Arena>, std::size_t> Heap::place(std::size_t size) {
  if (size > largest_shared_block) {
    const std::size_t whole = sizeof(ArenaHeader) + size;
    auto arena = make_arena((whole + page_size - 1) / page_size * page_size);
    arena->next = arena->mapping.size();
    return {arena, sizeof(ArenaHeader)};
  }
  const std::size_t rounded = std::bit_ceil(std::max(size, alignment));
  // The newest arena has room if any has it.
  for (auto arena = arenas_.rbegin(); arena != arenas_.rend(); ++arena) {
    auto& free = (*arena)->free[class_of(rounded)];
    if (!free.empty()) {
      const std::size_t offset = free.back();
      free.pop_back();
      return {*arena, offset};
    }
    if ((*arena)->next + rounded <= (*arena)->mapping.size()) {
      return {*arena, std::exchange((*arena)->next, (*arena)->next + rounded)};
    }
  }
  const std::size_t doublings = std::min<std::size_t>(arenas_.size(), 6);
  auto arena = make_arena(std::max(smallest_arena << doublings, 2 * rounded));
  return {arena, std::exchange(arena->next, arena->next + rounded)};
}

std::shared_ptr<Arena> Heap::make_arena(std::size_t size) {
  auto arena = std::make_shared<Arena>(SharedMapping::create("mp-heap", size));
  arena->header().magic = arena_magic;
  return arenas_.emplace_back(std::move(arena));
}

SharedBlock::Block::~Block() {
  // An inherited block, or another process's: only the mapping is let go.
  if (maker == fork_generation()) Heap::current().release(*this);
}

void Heap::release(SharedBlock::Block& block) noexcept {
  if (block.pinned.load(std::memory_order_relaxed)) return;
  const std::lock_guard guard(mutex_);
  if (child_between(block.born, births_)) {
    held_back_.push_back({std::move(block.arena), block.offset, block.size, block.born, births_});
  } else {
    take_back(block.arena, block.offset, block.size);
  }
}

void Heap::take_back(const std::shared_ptr<Arena>& arena, std::size_t offset, std::size_t size) {
  if (arena->header().lent.load(std::memory_order_acquire) != 0) return;
  if (--arena->live != 0) {
    arena->free[class_of(std::bit_ceil(std::max(size, alignment)))].push_back(offset);
    return;
  }
  for (auto& list : arena->free) list.clear();
  arena->next = sizeof(ArenaHeader);
  drop_empty_arenas(1);
}

// One small arena is kept for a program that makes and drops one lock at a time.
void Heap::drop_empty_arenas(std::size_t keep) {
  std::erase_if(arenas_, [&](const std::shared_ptr<Arena>& arena) {
    if (arena->live != 0) return false;
    if (keep == 0 || arena->mapping.size() > smallest_arena) return true;
    --keep;
    return false;
  });
}

SharedBlock Heap::attach(int fd, std::size_t offset, std::size_t size) {
  const ArenaKey key = key_of(fd);
  const std::lock_guard guard(mutex_);
  std::shared_ptr<Arena> arena;
  const auto own = std::find_if(arenas_.begin(), arenas_.end(),
                                [&](const auto& candidate) { return candidate->key == key; });
  if (own != arenas_.end()) {
    arena = *own;
  } else {
    arena = attached_[key].lock();
  }
  if (!arena) {
    std::erase_if(attached_, [](const auto& entry) { return entry.second.expired(); });
    auto mapping = SharedMapping::attach(UniqueFd::duplicate(fd));
    if (mapping.size() < sizeof(ArenaHeader)) Decoder::malformed("an arena too small to be one");
    arena = std::make_shared<Arena>(std::move(mapping));
    if (arena->header().magic != arena_magic) Decoder::malformed("memory that is no arena");
    attached_[key] = arena;
  }
  const std::size_t end = arena->mapping.size();
  if (offset < sizeof(ArenaHeader) || offset % alignment != 0 || offset > end ||
      size > end - offset) {
    Decoder::malformed("a block outside its arena");
  }
  return SharedBlock(std::make_shared<SharedBlock::Block>(std::move(arena), offset, size));
}

// --- children ----------------------------------------------------------------

bool Heap::child_between(std::uint64_t born, std::uint64_t ended) const {
  const auto child = std::upper_bound(children_.begin(), children_.end(), born);
  return child != children_.end() && *child <= ended;
}

std::uint64_t Heap::child_born() {
  const std::lock_guard guard(mutex_);
  children_.push_back(++births_);
  return births_;
}

void Heap::child_gone(std::uint64_t child) {
  const std::lock_guard guard(mutex_);
  std::erase(children_, child);
  std::vector<HeldBack> still;
  for (auto& block : held_back_) {
    if (child_between(block.born, block.ended)) {
      still.push_back(std::move(block));
    } else {
      take_back(block.arena, block.offset, block.size);
    }
  }
  held_back_ = std::move(still);
}

void Heap::before_fork() {
  held_for_fork = nullptr;
  Heap* heap = the_heap.load(std::memory_order_acquire);
  if (heap != nullptr && heap->generation_ == fork_generation()) {
    // Held over the fork, so that the child finds the list of arenas whole.
    heap->mutex_.lock();
    held_for_fork = &heap->mutex_;
    if (!fork_announced) heap->children_.push_back(++heap->births_);
    heap->lend_attached();
    heap = heap->inherited_;
  }
  fork_announced = false;
  // The maker of an arena that is not this process's does not see the child's end.
  for (; heap != nullptr; heap = heap->inherited_) {
    for (const auto& arena : heap->arenas_) arena->lend();
    heap->lend_attached();
  }
}

void Heap::lend_attached() {
  for (const auto& [key, attached] : attached_) {
    if (const auto arena = attached.lock()) arena->lend();
  }
}

void Heap::after_fork_in_parent() {
  if (held_for_fork != nullptr) std::exchange(held_for_fork, nullptr)->unlock();
}

HeapUse Heap::use() {
  const std::lock_guard guard(mutex_);
  HeapUse total;
  total.arenas = arenas_.size();
  for (const auto& arena : arenas_) {
    total.bytes += arena->mapping.size();
    total.blocks += arena->live;
  }
  return total;
}

void Heap::trim() {
  const std::lock_guard guard(mutex_);
  drop_empty_arenas(0);
}

std::uint64_t heap_child_born() {
  const std::uint64_t child = Heap::current().child_born();
  fork_announced = true;
  return child;
}

void heap_child_gone(std::uint64_t child) {
  fork_announced = false;
  Heap::current().child_gone(child);
}

HeapUse heap_use() { return Heap::current().use(); }
void heap_trim() { Heap::current().trim(); }

// --- handles -----------------------------------------------------------------

SharedBlock::SharedBlock(std::shared_ptr<Block> block) noexcept
    : block_(std::move(block)), data_(block_->arena->mapping.data() + block_->offset) {}

SharedBlock SharedBlock::allocate(std::size_t size) { return Heap::current().allocate(size); }

std::size_t SharedBlock::size() const noexcept { return block_ ? block_->size : 0; }

void SharedBlock::pickle(Encoder& out) const {
  if (!block_) throw PicklingError("a handle without memory cannot be pickled");
  const Arena& arena = *block_->arena;
  if (block_->maker != fork_generation()) {
    arena.lend();
  } else if (!out.keeps_until_receiver_ends()) {
    block_->pinned.store(true, std::memory_order_relaxed);
  }
  out.shared_descriptor(arena.mapping.fd(), &arena);
  out.number<std::uint64_t>(block_->offset);
  out.number<std::uint64_t>(block_->size);
  out.keep(block_);
}

SharedBlock SharedBlock::unpickle(Decoder& in) {
  const int fd = in.shared_descriptor();
  const auto offset = in.number<std::uint64_t>();
  const auto size = in.number<std::uint64_t>();
  return Heap::current().attach(fd, offset, size);
}

void pickle_shared(Encoder& out, char kind, const SharedBlock& block) {
  out.number(kind);
  block.pickle(out);
}

SharedBlock unpickle_shared(Decoder& in, char kind, std::size_t least_size) {
  if (in.number<char>() != kind) Decoder::malformed("a shared object of another kind");
  auto block = SharedBlock::unpickle(in);
  if (block.size() < least_size) Decoder::malformed("a shared object too small to be one");
  return block;
}

}  // namespace mp::detail
