// How does a consumer know that nothing more will come?
//
// Python:  data = [5, 10, 13, -1]; q.put(item); if data is sentinel: break
// Watch:   the last item, which is no data, and what the consumer does then.
// Run:     ./learn queue_consumer

#include <mp/mp.hpp>

#include <vector>

// A value that cannot be data, agreed between the two sides.
constexpr int sentinel = -1;

// [creator]
// Puts and goes. The queue keeps what it put, even after its end.
void creator(std::vector<int> data, mp::Queue<int> q) {
  mp::println("Creating data and putting it on the queue");
  for (int item : data) q.put(item);
}
// [/creator]

// [consumer]
// The sentinel comes last, and is looked for.
void my_consumer(mp::Queue<int> q) {
  while (true) {
    int data = q.get();
    mp::println("data found to be processed: {}", data);
    int processed = data * 2;
    mp::println("{}", processed);

    if (data == sentinel) break;
  }
}
// [/consumer]

int main() {
  // [main]
  mp::Queue<int> q;
  std::vector<int> data = {5, 10, 13, sentinel};
  mp::Process process_one(creator, data, q);
  mp::Process process_two(my_consumer, q);
  process_one.start();
  process_two.start();

  // The parent is neither of the two sides: it closes its own handle, which
  // is nobody else's, and waits for the processes.
  q.close();
  q.join_thread();

  process_one.join();
  process_two.join();
  // [/main]
}
