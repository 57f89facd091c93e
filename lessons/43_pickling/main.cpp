// What crosses from one process to another, and what cannot?
//
// Python:  "Picklable objects"; PicklingError for all others
// Watch:   what the struct and the class say about crossing, and who refuses.
// Run:     ./learn pickling

#include <mp/mp.hpp>

#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

// [types]
// A plain struct crosses with no further line, member by member.
struct Order {
  std::string item;
  std::optional<double> price;
  std::vector<std::string> notes;
};

// A class that keeps its members to itself has to say which of them count.
class Account {
 public:
  Account() = default;
  explicit Account(int balance) : balance_(balance) {}
  [[nodiscard]] int balance() const { return balance_; }
  template <class Archive>
  void serialize(Archive& ar) {
    ar(balance_);
  }

 private:
  int balance_ = 0;
};
// [/types]

// [worker]
int twice(int n) { return 2 * n; }

void worker(int number, const std::map<std::string, int>& ages,
            const Order& order, const Account& account, int (*function)(int)) {
  mp::println("number: {}", number);
  mp::println("container: eve is {}", ages.at("eve"));
  mp::println("struct: {}, {}, {}", order.item, order.price.value_or(0),
              order.notes.at(1));
  mp::println("class: {}", account.balance());
  mp::println("function: {}", function(21));
}
// [/worker]

// [compiler]
// What leads into the memory of one process means nothing in another. The
// type says so: none of these programs would compile.
static_assert(mp::Picklable<Order> && mp::Picklable<Account>);
static_assert(!mp::Picklable<int*>);
static_assert(!mp::Picklable<std::string_view>);
static_assert(!mp::Picklable<std::vector<const char*>>);
// [/compiler]

// [lambda]
// A lambda that captures is a target like any other for fork, which copies it
// with all the rest. Only start() knows that it will have to travel.
void start_lambda(mp::StartMethod method) {
  const int here = 1;
  mp::Process p({.start_method = method},
                [&here] { mp::println("lambda: here is {}", here); });
  try {
    p.start();
    p.join();
  } catch (const mp::PicklingError& error) {
    mp::println("PicklingError: {}", error.what());
  }
}
// [/lambda]

int main() {
  mp::freeze_support();

  // [cross]
  mp::Process p({.start_method = mp::StartMethod::spawn}, worker, 7,
                std::map<std::string, int>{{"bob", 41}, {"eve", 42}},
                Order{"tea", 3.5, {"hot", "no milk"}}, Account(100), twice);
  p.start();
  p.join();
  // [/cross]

  start_lambda(mp::StartMethod::fork);
  start_lambda(mp::StartMethod::spawn);

  // [bytes]
  // Bytes are looked at, not believed. Half an order is no order.
  const auto bytes = mp::dumps(Order{"tea", 3.5, {"hot", "no milk"}});
  try {
    mp::loads<Order>(std::span(bytes).first(bytes.size() / 2));
  } catch (const mp::PicklingError& error) {
    mp::println("half of its bytes: {}", error.what());
  }
  // [/bytes]
}
