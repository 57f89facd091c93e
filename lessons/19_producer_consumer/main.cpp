// How do several processes share a heap of work, and how do they stop?
//
// Python:  class Consumer(multiprocessing.Process), JoinableQueue, task_done
// Watch:   any consumer may take any task; each takes one pill, its last.
// Run:     ./learn producer_consumer

#include <mp/mp.hpp>

#include <optional>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

// [task]
// Work is an object: data that crosses, and a way to do it.
struct Task {
  int a, b;

  std::string operator()() const {
    std::this_thread::sleep_for(100ms);  // Pretend to take time to do the work.
    return fmt::format("{} = {}", str(), a * b);
  }
  std::string str() const { return fmt::format("{} * {}", a, b); }
};

// No task at all, Python's None, is the poison pill.
using Tasks = mp::JoinableQueue<std::optional<Task>>;
using Results = mp::Queue<std::string>;
// [/task]

// [consumer]
class Consumer : public mp::Process {
 public:
  Consumer(Tasks task_queue, Results result_queue)
      : task_queue_(task_queue), result_queue_(result_queue) {}

  void run() override {
    while (auto next_task = task_queue_.get()) {
      mp::println("{}: {}", name(), next_task->str());
      // The answer first, then the tick: who has seen all tasks done will
      // find all answers there.
      result_queue_.put((*next_task)());
      task_queue_.task_done();
    }
    // Poison pill means shutdown.
    mp::println("{}: Exiting", name());
    task_queue_.task_done();
  }

 private:
  Tasks task_queue_;
  Results result_queue_;
};
// [/consumer]

int main() {
  Tasks tasks;
  Results results;

  // [start]
  int num_consumers = mp::cpu_count() * 2;
  mp::println("Creating {} consumers", num_consumers);
  std::vector<Consumer> consumers;
  for (int i = 0; i < num_consumers; ++i)
    consumers.emplace_back(tasks, results);
  for (auto& w : consumers) w.start();
  // [/start]

  // [feed]
  // The pills go in last and one per consumer: nobody meets one while there
  // is work, nobody takes two, since after one nobody asks again.
  const int num_jobs = 10;
  for (int i = 0; i < num_jobs; ++i) tasks.put(Task{i, i});
  for (int i = 0; i < num_consumers; ++i) tasks.put(std::nullopt);

  tasks.join();
  // [/feed]

  // [results]
  for (int i = 0; i < num_jobs; ++i) mp::println("Result: {}", results.get());
  // [/results]
}
