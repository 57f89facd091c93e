// Can an object of my own class go to another process?
//
// Python:  queue.put(MyFancyClass('Fancy Dan')); obj = q.get()
// Watch:   which process does something fancy, and for whom.
// Run:     ./learn queue

#include <mp/mp.hpp>

#include <string>

// [class]
// A plain struct crosses as it is, member by member; nothing has to be said
// about that. Its functions need not cross: both processes run this program.
struct MyFancyClass {
  std::string name;

  void do_something() const {
    auto proc_name = mp::current_process().name();
    mp::println("Doing something fancy in {} for {}!", proc_name, name);
  }
};
// [/class]

// [worker]
// get() returns an object of its own: same content, in other memory. What the
// worker did to it would never be seen in main.
void worker(mp::Queue<MyFancyClass> q) {
  MyFancyClass obj = q.get();
  obj.do_something();
}
// [/worker]

int main() {
  // [main]
  mp::Queue<MyFancyClass> queue;

  mp::Process p(worker, queue);
  p.start();

  queue.put({"Fancy Dan"});

  // Wait for the worker to finish. The first two lines are Python's; here
  // the object was in the queue as soon as put returned.
  queue.close();
  queue.join_thread();
  p.join();
  // [/main]
}
