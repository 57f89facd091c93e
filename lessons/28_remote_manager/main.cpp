// How do programs on different machines share a queue?
//
// Python:  BaseManager(address=(host, port), authkey=key), get_server()
// Watch:   three programs that know an address and a key, and one that has
//          the wrong key.
// Run:     ./learn remote_manager

#include <mp/mp.hpp>

#include <string>
#include <vector>

// [key]
const mp::AuthenticationString key = "abracadabra";
// [/key]

// [server]
// Any client that has the key may ask for "get_queue", and for nothing else:
// that name is all that is registered.
void serve(mp::Connection report) {
  mp::BaseManager manager(
      {.address = mp::TcpAddress{"127.0.0.1", 0}, .authkey = key});
  auto queue = mp::managed::Queue<std::string>();
  manager.register_callable("get_queue", [queue] { return queue; });
  auto server = manager.get_server();
  // Port 0 means any free one; the clients have to be told which.
  report.send(server.address());
  server.serve_forever();
}
// [/server]

// [client]
mp::QueueProxy<std::string> get_queue(mp::Address address) {
  mp::BaseManager manager({.address = address, .authkey = key});
  manager.connect();
  return manager.create<mp::QueueProxy<std::string>>("get_queue");
}

void producer(mp::Address address) {
  auto queue = get_queue(address);
  for (std::string word : {"hello", "over", "the", "network"}) queue.put(word);
}

void consumer(mp::Address address) {
  auto queue = get_queue(address);
  for (int i = 0; i < 4; ++i) mp::println("consumer: {}", queue.get());
}
// [/client]

// [stranger]
// Both ends prove that they have the key, and neither sends it. Who cannot
// prove it gets no answer to anything.
void stranger(mp::Address address) {
  mp::BaseManager manager({.address = address, .authkey = "open sesame"});
  try {
    manager.connect();
  } catch (const mp::AuthenticationError& error) {
    mp::println("stranger: {}", error.what());
  }
}
// [/stranger]

int main() {
  // [start]
  mp::freeze_support();
  // Programs of their own: none inherits anything from this one.
  mp::set_start_method("spawn");

  auto [here, there] = mp::Pipe(false);
  mp::Process server({.name = "server", .daemon = true}, serve, there);
  server.start();
  auto address = here.recv<mp::Address>();
  // [/start]

  // [clients]
  std::vector<mp::Process> clients;
  clients.emplace_back(stranger, address);
  clients.emplace_back(consumer, address);
  clients.emplace_back(producer, address);
  for (auto& client : clients) client.start();
  for (auto& client : clients) client.join();
  // [/clients]

  mp::println("server alive: {}", server.is_alive());
}
