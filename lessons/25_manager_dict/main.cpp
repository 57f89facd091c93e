// How do processes fill one dict?
//
// Python:  mgr = multiprocessing.Manager(); d = mgr.dict(); d[i] = i ** 2
// Watch:   eight processes write, and the parent prints what they wrote.
// Run:     ./learn manager_dict

#include <mp/mp.hpp>

#include <map>
#include <string>
#include <vector>

// [do_work]
// What arrives is a proxy: a handle to a dict that lives in the server
// process of the manager. The assignment is a message to that process.
void do_work(mp::DictProxy<int, int> dictionary, int item) {
  dictionary[item] = item * item;
}
// [/do_work]

// [count]
// Reading, adding and writing back would be three steps, and another process
// would come in between. Here the whole += is one message: the server adds.
void count(mp::DictProxy<std::string, int> totals) {
  for (int i = 0; i < 100; ++i) totals["calls"] += 1;
}
// [/count]

int main() {
  // [manager]
  // Starts the server process. It ends with `mgr`, at the end of main().
  auto mgr = mp::Manager();
  auto d = mgr.dict<int, int>();

  std::vector<mp::Process> jobs;
  for (int i = 0; i < 8; ++i) jobs.emplace_back(do_work, d, i);
  for (auto& job : jobs) job.start();
  for (auto& job : jobs) job.join();
  // [/manager]

  // [results]
  // The keys are in the order of their coming, and who came first, nobody
  // knows. A copy is a std::map of one's own, sorted by key.
  std::map<int, int> copy = d.copy();
  d.clear();
  d.update(copy);
  mp::println("Results: {}", d);
  // [/results]

  // [counters]
  auto totals = mgr.dict<std::string, int>({{"calls", 0}});
  std::vector<mp::Process> counters;
  for (int i = 0; i < 8; ++i) counters.emplace_back(count, totals);
  for (auto& counter : counters) counter.start();
  for (auto& counter : counters) counter.join();
  mp::println("Calls: {}", totals["calls"]);
  // [/counters]
}
