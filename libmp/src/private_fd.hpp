#pragma once

#include <cstdint>

#include "mp/detail/os.hpp"

namespace mp::detail {

/// A descriptor that no forked child keeps: it is closed there before fork(2)
/// returns. A connection that a child inherits would be open, for its other
/// end, for as long as the child lives.
class PrivateFd {
 public:
  PrivateFd() = default;
  PrivateFd(UniqueFd fd);  // NOLINT: the same descriptor, with one owner.
  PrivateFd(PrivateFd&& other) noexcept
      : fd_(std::move(other.fd_)), generation_(other.generation_) {}
  PrivateFd& operator=(PrivateFd&& other) noexcept;
  ~PrivateFd() { reset(); }

  [[nodiscard]] int get() const noexcept { return fd_.get(); }
  void reset() noexcept;

 private:
  UniqueFd fd_;
  std::uint32_t generation_ = 0;
};

}  // namespace mp::detail
