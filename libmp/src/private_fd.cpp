#include "private_fd.hpp"

#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>

namespace mp::detail {

namespace {

// Which descriptors are private, a bit each. Without a lock, as the fork may
// come while another thread changes it.
constexpr std::size_t bits = 64;
constexpr std::size_t most_descriptors = std::size_t{1} << 20;
std::array<std::atomic<std::uint64_t>, most_descriptors / bits> table{};
std::atomic<std::size_t> words_used{0};

std::uint64_t bit_of(int fd) { return std::uint64_t{1} << (static_cast<std::size_t>(fd) % bits); }
std::atomic<std::uint64_t>& word_of(int fd) {
  return table.at(static_cast<std::size_t>(fd) / bits);
}

void close_inherited() {
  for (std::size_t i = words_used.load(std::memory_order_relaxed); i-- > 0;) {
    std::uint64_t word = table.at(i).exchange(0, std::memory_order_relaxed);
    for (std::size_t bit = 0; word != 0; ++bit, word >>= 1U) {
      if ((word & 1U) != 0) ::close(static_cast<int>(i * bits + bit));
    }
  }
}

}  // namespace

PrivateFd::PrivateFd(UniqueFd fd) : fd_(std::move(fd)), generation_(fork_generation()) {
  static const bool once = (after_fork_in_child(close_inherited), true);
  (void)once;
  if (!fd_) return;
  const auto number = static_cast<std::size_t>(fd_.get());
  if (number >= most_descriptors) throw_errno("a descriptor beyond the table", EMFILE);
  std::size_t used = words_used.load(std::memory_order_relaxed);
  while (used <= number / bits && !words_used.compare_exchange_weak(used, number / bits + 1)) {
  }
  word_of(fd_.get()).fetch_or(bit_of(fd_.get()), std::memory_order_relaxed);
}

PrivateFd& PrivateFd::operator=(PrivateFd&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = std::move(other.fd_);
    generation_ = other.generation_;
  }
  return *this;
}

void PrivateFd::reset() noexcept {
  if (!fd_) return;
  if (generation_ != fork_generation()) {
    fd_.release();  // Closed already, and the number may be somebody else's.
    return;
  }
  word_of(fd_.get()).fetch_and(~bit_of(fd_.get()), std::memory_order_relaxed);
  fd_.reset();
}

}  // namespace mp::detail
