// Bytes from outside as values of many kinds: each is a value or a
// PicklingError, and memory is taken only for what is there.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mp/pickle.hpp>
#include <mp/queues.hpp>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <variant>
#include <vector>

namespace {

struct Record {
  int number = 0;
  bool flag = false;
  std::string name = {};
  std::vector<std::optional<std::string>> parts = {};
  std::map<std::string, std::vector<double>> table = {};
  std::variant<int, std::string, std::vector<bool>> choice = {};
  std::unique_ptr<int> owned = {};
  std::chrono::nanoseconds time = {};
};

// Types that hold themselves: how deep they go is the bytes' claim.
struct Tree {
  std::string name = {};
  std::vector<Tree> branches = {};
};

struct Chain {
  std::unique_ptr<Chain> next = {};
};

template <class T>
void try_as(std::span<const std::byte> bytes) {
  try {
    (void)mp::loads<T>(bytes);
  } catch (const mp::PicklingError&) {
    // The answer to bytes that are no T.
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  try_as<Record>(bytes);
  try_as<Tree>(bytes);
  try_as<Chain>(bytes);
  try_as<std::string>(bytes);
  try_as<std::vector<std::tuple<int, std::string, bool>>>(bytes);
  try_as<std::vector<std::vector<std::vector<char>>>>(bytes);
  try_as<mp::Connection>(bytes);
  try_as<mp::Queue<int>>(bytes);
  return 0;
}
