// How do futures look, when all I want is a list of answers?
//
// Python:  with ProcessPoolExecutor() as executor: executor.map(...)
// Watch:   the order of the lines, and that they come while others compute.
// Run:     ./learn primes

#include <mp/mp.hpp>

#include <cmath>
#include <cstdint>
#include <vector>

const std::vector<std::int64_t> PRIMES = {112272535095293, 112582705942171,
                                          112272535095293, 115280095190773,
                                          115797848077099, 1099726899285419};

// [is_prime]
bool is_prime(std::int64_t n) {
  if (n < 2) return false;
  if (n == 2) return true;
  if (n % 2 == 0) return false;

  auto sqrt_n = static_cast<std::int64_t>(std::floor(std::sqrt(n)));
  for (std::int64_t i = 3; i <= sqrt_n; i += 2)
    if (n % i == 0) return false;
  return true;
}
// [/is_prime]

int main() {
  // [map]
  // All six are handed in now. The results come in the order of the numbers,
  // each as soon as it and all before it are there.
  mp::futures::ProcessPoolExecutor executor;
  auto number = PRIMES.begin();
  for (bool prime : executor.map(is_prime, PRIMES))
    mp::println("{} is prime: {}", *number++, prime);

  // The end of an executor is its shutdown(): it waits until all is done. (A
  // Pool would terminate its workers here.)
  // [/map]
}
