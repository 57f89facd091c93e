#pragma once

#include <cstddef>
#include <iterator>
#include <numeric>
#include <type_traits>
#include <vector>

#include <mp/detail/os.hpp>
#include <mp/errors.hpp>

#include "forked.hpp"
#include "processes.hpp"

namespace mp::test {

/// 0, 1, … n - 1.
inline std::vector<int> numbers(int n) {
  std::vector<int> all(static_cast<std::size_t>(n));
  std::iota(all.begin(), all.end(), 0);
  return all;
}
inline std::vector<int> squares(int n) {
  auto all = numbers(n);
  for (int& x : all) x *= x;
  return all;
}

/// `length` items 0, 1, 2 …; throws in place of the item `fatal`.
struct ThrowingRange {
  int length = 0;
  int fatal = -1;
  struct iterator {
    using value_type = int;
    using difference_type = std::ptrdiff_t;
    const ThrowingRange* range = nullptr;
    int at = 0;
    int operator*() const {
      if (at == range->fatal) throw mp::KeyError("the input throws");
      return at;
    }
    iterator& operator++() {
      ++at;
      return *this;
    }
    void operator++(int) { ++at; }
    bool operator==(std::default_sentinel_t) const { return at == range->length; }
  };
  [[nodiscard]] iterator begin() const { return {this, 0}; }
  [[nodiscard]] std::default_sentinel_t end() const { return {}; }
  [[nodiscard]] std::size_t size() const { return static_cast<std::size_t>(length); }
};

/// 0, 1, 2 … made into items, for ever; counts what was asked for.
template <class Make>
struct Endless {
  Make make;
  int* pulled;
  struct iterator {
    using value_type = std::invoke_result_t<Make&, int>;
    using difference_type = std::ptrdiff_t;
    Endless* from = nullptr;
    int at = 0;
    value_type operator*() const {
      ++*from->pulled;
      return from->make(at);
    }
    iterator& operator++() {
      ++at;
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const { return false; }
  };
  iterator begin() { return {this, 0}; }
  [[nodiscard]] std::default_sentinel_t end() const { return {}; }
};
template <class Make>
Endless<Make> endless(Make make, int& pulled) {
  return {make, &pulled};
}

/// Waits, in the place of its fourth item, for the end of the pool for which it is made.
template <class Pool>
auto input_that_joins(Pool& pool, int& pulled) {
  return endless(
      [&pool](int x) {
        if (x == 3) {
          pool.close();
          pool.join();
        }
        return x;
      },
      pulled);
}

template <class PoolOrExecutor>
bool has_workers(const PoolOrExecutor& pool, std::size_t count) {
  return comes_true([&] { return pool.pids().size() == count; });
}
inline bool goes_away(pid_t pid) {
  return comes_true([&] { return is_gone(pid); });
}

}  // namespace mp::test
