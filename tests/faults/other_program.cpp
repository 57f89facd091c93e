// A manager's server in a program of its own, which is not the test's: what the
// two have in common is names. Serves until it is killed; says where on stdout.

#include <mp/mp.hpp>

#include <memory>
#include <string>

namespace {

struct Account {
  long balance = 0;
  long deposit(long amount) { return balance += amount; }
};

}  // namespace

int main() {
  mp::SyncManager manager({.address = mp::TcpAddress{"127.0.0.1", 0}, .authkey = "shared"});
  manager.register_type<Account>("Account", {mp::method<&Account::deposit>("deposit")});
  manager.register_callable("get_queue",
                            [queue = mp::managed::Queue<std::string>()] { return queue; });
  auto server = manager.get_server();
  mp::println("{}", mp::to_string(server.address()));
  server.serve_forever();
}
