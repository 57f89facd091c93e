// How do the workers of a pool fill one list?
//
// Python:  mgr = Manager(); li = mgr.list(); p.starmap(update_string, ...)
// Watch:   six strings from four workers: all there, in whatever order.
// Run:     ./learn manager_list

#include <mp/mp.hpp>

#include <string>
#include <tuple>
#include <vector>

// [update_string]
// The proxy is an argument like any other. It crosses to the worker, and the
// list that it stands for stays where it is.
void update_string(std::string val, mp::ListProxy<std::string> l) {
  l.append(val);
}
// [/update_string]

int main() {
  // [list]
  std::vector<std::string> strs = {"with",  "great", "power",
                                   "comes", "great", "responsibilty"};
  // Create the Manager object, and a list in its server.
  auto mgr = mp::Manager();
  auto li = mgr.list<std::string>();
  // [/list]

  // [starmap]
  std::vector<std::tuple<std::string, mp::ListProxy<std::string>>> tasks;
  for (const auto& str : strs) tasks.emplace_back(str, li);
  {
    mp::Pool p(4);
    p.starmap(update_string, tasks);
  }
  // [/starmap]

  // [result]
  mp::println("{} strings", li.size());
  for (std::string str : li) mp::println("List: {}", str);
  // [/result]
}
