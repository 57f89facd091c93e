// The spill: a log beside the ring, for what the ring has no room for.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "probe.hpp"
#include "ring_state.hpp"

namespace mp::detail {

using namespace ring;

namespace {

constexpr std::uint64_t window_size = 64 << 10;
constexpr std::uint64_t window_kept = 4 << 20;
constexpr std::uint64_t punch_step = 1 << 20;
// Records up to this size are written to the spill through a mapping of
// pages that were reserved before; longer ones by pwrite.
constexpr std::uint64_t largest_mapped = 8 << 10;

}  // namespace

// --- put ---------------------------------------------------------------------

void Ring::write_spill(State& tail, std::uint64_t size, Pieces pieces) {
  const std::uint64_t total = record_header + size;
  std::byte* at = total <= largest_mapped ? mapped_spill(tail.spill, total) : nullptr;
  if (at != nullptr) {
    put_number(at, size);
    copy_pieces(at + record_header, pieces);
    probe("ring.put.spilling");
  } else {
    append_spill(tail.spill, size, pieces);
  }
  tail.spill += total;
}

// Where to write [from, from + size) of the spill; null if it cannot be mapped.
// Its pages are reserved first: so where memory ends that is an error code
// here, and no signal later.
std::byte* Ring::mapped_spill(std::uint64_t from, std::uint64_t size) {
  if (!spill_view_ || spill_view_->generation != fork_generation()) {
    // Another thread of the parent may have been at work on it: it is left alone.
    (void)spill_view_.release();
    spill_view_ = std::make_unique<View>();
  }
  View& view = *spill_view_;
  if (from < view.begin || from + size > view.end) {
    const std::uint64_t begin = from & ~std::uint64_t{4095};
    require_file_size(begin + mapped_step, "put");
    if (::fallocate(spill_.get(), 0, static_cast<off_t>(begin), mapped_step) != 0) {
      throw_errno("put: fallocate");
    }
    void* memory = ::mmap(nullptr, mapped_step, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                          spill_.get(), static_cast<off_t>(begin));
    if (memory == MAP_FAILED) return nullptr;
    view.reset();
    view.memory = static_cast<std::byte*>(memory);
    view.begin = begin;
    view.end = begin + mapped_step;
  }
  return view.memory + (from - view.begin);
}

// By pwrite, not through a mapping: in one step, whatever the size.
void Ring::append_spill(std::uint64_t from, std::uint64_t size, Pieces pieces) {
  const std::uint64_t total = record_header + size;
  require_file_size(from + total, "put");
  std::vector<iovec> parts{{&size, sizeof size}};
  for (const auto piece : pieces) {
    parts.push_back({const_cast<std::byte*>(piece.data()), piece.size()});
  }
  iovec* part = parts.data();
  for (std::uint64_t written = 0; written < total;) {
    const auto left = static_cast<int>(parts.data() + parts.size() - part);
    const ssize_t n = ::pwritev(spill_.get(), part, left, static_cast<off_t>(from + written));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int error = errno;
      punch(from, from + written);
      throw_errno("put: pwritev", error);
    }
    probe("ring.put.spilling");
    written += static_cast<std::uint64_t>(n);
    for (auto step = static_cast<std::size_t>(n); step > 0;) {
      const std::size_t taken = std::min(step, part->iov_len);
      part->iov_base = static_cast<std::byte*>(part->iov_base) + taken;
      part->iov_len -= taken;
      step -= taken;
      if (part->iov_len == 0) ++part;
    }
  }
}

// --- get ---------------------------------------------------------------------

std::span<const std::byte> Ring::read_spill(State& head, std::uint64_t end) {
  if (!window_ || window_->generation != fork_generation()) {
    // Another thread of the parent may have been at work on it: it is left alone.
    (void)window_.release();
    window_ = std::make_unique<Window>();
  }
  if (window_->mapping != nullptr || window_->capacity > window_kept) window_->reset();
  if (end - head.spill < record_header) corrupt();
  const std::uint64_t size =
      get_number(window_->fetch(spill_.get(), head.spill, record_header, end).data());
  if (size > end - head.spill - record_header) corrupt();
  const std::uint64_t from = head.spill + record_header;
  head.spill = from + size;
  if (size > window_kept) {
    const auto mapped = window_->map(spill_.get(), from, size);
    if (!mapped.empty()) return mapped;
  }
  return window_->fetch(spill_.get(), from, size, end);
}

// Large records are not read, but looked at: that takes neither time nor memory for a copy.
std::span<const std::byte> Ring::Window::map(int fd, std::uint64_t from, std::uint64_t size) {
  const std::uint64_t first = from & ~std::uint64_t{4095};
  const std::uint64_t length = from + size - first;
  void* memory = ::mmap(nullptr, length, PROT_READ, MAP_SHARED, fd, static_cast<off_t>(first));
  if (memory == MAP_FAILED) return {};
  mapping = memory;
  mapped = length;
  return {static_cast<const std::byte*>(memory) + (from - first), size};
}

std::span<const std::byte> Ring::Window::fetch(int fd, std::uint64_t from, std::uint64_t size,
                                               std::uint64_t limit) {
  if (from < begin || from + size > end) {
    const std::uint64_t wanted = std::max(size, std::min(window_size, limit - from));
    begin = end = from;
    if (wanted > capacity) {
      capacity = 0;
      bytes = std::make_unique_for_overwrite<std::byte[]>(wanted);
      capacity = wanted;
    }
    while (end - begin < wanted) {
      const ssize_t n =
          ::pread(fd, bytes.get() + (end - begin), wanted - (end - begin), static_cast<off_t>(end));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) throw_errno("get: pread");
      if (n == 0) corrupt();
      end += static_cast<std::uint64_t>(n);
    }
  }
  return {bytes.get() + (from - begin), size};
}

// The pages of what was read go back to the system, some at a time, or all
// when all was read.
void Ring::give_back(const State& head) {
  if (window_->mapping != nullptr) window_->reset();
  const std::uint64_t from = header_->punched.load(relaxed);
  const bool drained = head.spill == header_->head.seen_spill.load(relaxed);
  const std::uint64_t to = head.spill & ~std::uint64_t{4095};
  if (to - from < (drained ? window_size : punch_step) || to < from) return;
  punch(from, to);
  header_->punched.store(to, relaxed);
}

void Ring::punch(std::uint64_t from, std::uint64_t to) noexcept {
  // If it fails, the memory goes back with the queue.
  (void)::fallocate(spill_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                    static_cast<off_t>(from), static_cast<off_t>(to - from));
}

}  // namespace mp::detail
