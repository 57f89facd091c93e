// What if the function takes more than one argument?
//
// Python:  pool.map(exec_func, tuples); pool.starmap(calc_product, tuples)
// Watch:   two ways to hand over three numbers, one result.
// Run:     ./learn starmap

#include <fmt/ranges.h>
#include <unistd.h>
#include <mp/mp.hpp>

#include <tuple>
#include <vector>

using Numbers = std::tuple<int, int, int>;

// [product]
int calc_product(int num1, int num2, int num3) {
  mp::println("Process {} calculating product of {}", ::getpid(),
              Numbers(num1, num2, num3));
  return num1 * num2 * num3;
}
// [/product]

// [exec]
// map() hands each item over as it is: one tuple is one argument. So a
// function in between takes the tuple apart.
int exec_func(const Numbers& nums) { return std::apply(calc_product, nums); }
// [/exec]

int main() {
  const std::vector<Numbers> items = {{1, 2, 3}, {3, 4, 5}};

  // [map]
  {
    mp::Pool p(4);
    auto result = p.map(exec_func, items);
    mp::println("Result is: {}", result);
  }
  // [/map]

  // [starmap]
  // starmap() does that by itself: a tuple is a list of arguments.
  {
    mp::Pool p(2);
    auto result = p.starmap(calc_product, items);
    mp::println("Result is: {}", result);
  }
  // [/starmap]
}
