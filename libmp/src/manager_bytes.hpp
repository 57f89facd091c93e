#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>
#include <span>
#include <utility>

namespace mp::detail {

/// A run of bytes that is about to be written: new ones have no value, so that
/// memory is touched once, and a long run grows without being copied.
class Bytes {
 public:
  Bytes() = default;
  Bytes(Bytes&& other) noexcept { swap(other); }
  Bytes& operator=(Bytes&& other) noexcept {
    Bytes(std::move(other)).swap(*this);
    return *this;
  }
  ~Bytes() { std::free(data_); }

  [[nodiscard]] std::byte* data() noexcept { return data_; }
  [[nodiscard]] const std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }

  void reserve(std::size_t capacity) {
    if (capacity > capacity_) reallocate(capacity);
  }
  /// By and by: at least twice as large if it has to grow.
  void resize(std::size_t size) {
    if (size > capacity_) reallocate(std::max(size, 2 * capacity_));
    size_ = size;
  }
  void append(std::span<const std::byte> bytes) {
    if (bytes.empty()) return;
    const std::size_t before = size_;
    resize(before + bytes.size());
    std::memcpy(data_ + before, bytes.data(), bytes.size());
  }
  void drop_front(std::size_t count) {
    size_ -= count;
    std::memmove(data_, data_ + count, size_);
  }
  /// Gives back what it has beyond its size, if that is more than half.
  void fit() {
    if (size_ != 0 && size_ < capacity_ / 2) reallocate(size_);
  }

 private:
  void swap(Bytes& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
  }
  void reallocate(std::size_t capacity) {
    void* memory = std::realloc(data_, capacity);
    if (memory == nullptr) throw std::bad_alloc();
    data_ = static_cast<std::byte*>(memory);
    capacity_ = capacity;
  }

  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

}  // namespace mp::detail
