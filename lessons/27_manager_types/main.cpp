// What else can live in a manager?
//
// Python:  mgr.Value, Array, list, dict, Namespace, Queue, Lock ... Barrier
// Watch:   a child changes each of them, and the parent sees the change.
// Run:     ./learn manager_types

#include <mp/mp.hpp>

#include <mutex>
#include <string>

// [data]
void change(mp::ValueProxy<int> value, mp::ArrayProxy<double> array,
            mp::ListProxy<std::string> list,
            mp::DictProxy<std::string, int> dict, mp::NamespaceProxy space,
            mp::QueueProxy<std::string> queue) {
  value.value += 1;
  array[0] = 2.5;
  list.append("child");
  dict["child"] = 2;
  // Attributes of any types: who reads one says which type it has.
  space.set("name", "child");
  queue.put("from the child");
}
// [/data]

// [locks]
void synchronize(mp::ListProxy<std::string> lines, mp::LockProxy lock,
                 mp::RLockProxy rlock, mp::SemaphoreProxy semaphore,
                 mp::EventProxy event, mp::ConditionProxy condition,
                 mp::BarrierProxy barrier) {
  event.wait();
  const std::scoped_lock guard(lock, rlock);
  semaphore.acquire();
  {
    const std::scoped_lock conditional(condition);
    lines.append("the child is ready");
    condition.notify();
  }
  // The last of the two to come lets both go on.
  barrier.wait();
  semaphore.release();
}
// [/locks]

// [counter]
// A class of one's own. Only what is registered can be called from outside.
struct Counter {
  int total = 0;
  int add(int n) { return total += n; }
};
// A proxy for it: the methods, and the names under which they are known.
struct CounterProxy : mp::BaseProxy {
  using BaseProxy::BaseProxy;
  int add(int n) const { return callmethod<int>("add", n); }
};
// [/counter]

int main() {
  auto mgr = mp::Manager();

  // [show]
  auto value = mgr.Value(1);
  auto array = mgr.Array({0.5, 1.5});
  auto list = mgr.list<std::string>({"parent"});
  auto dict = mgr.dict<std::string, int>({{"parent", 1}});
  auto space = mgr.Namespace();
  space.set("x", 10);
  auto queue = mgr.Queue<std::string>();
  mp::Process p(change, value, array, list, dict, space, queue);
  p.start();
  p.join();
  mp::println("{}", value);
  mp::println("{}", array);
  mp::println("{}", list);
  mp::println("{}", dict);
  mp::println("{}", space);
  mp::println("{}", queue.get());
  // [/show]

  // [scene]
  auto event = mgr.Event();
  auto condition = mgr.Condition();
  auto barrier = mgr.Barrier(2);
  mp::Process other(synchronize, list, mgr.Lock(), mgr.RLock(),
                    mgr.BoundedSemaphore(1), event, condition, barrier);
  other.start();
  {
    // The child is let go while this holds the condition's lock: it cannot
    // notify before wait() has given the lock up.
    const std::scoped_lock guard(condition);
    event.set();
    condition.wait();
    mp::println("{}", list[-1]);
  }
  barrier.wait();
  other.join();
  mp::println("all passed: {}", other.exitcode() == 0);
  // [/scene]

  // [register]
  mp::BaseManager own;
  own.register_type<Counter>("Counter", {mp::method<&Counter::add>("add")});
  own.start();
  auto counter = own.create<CounterProxy>("Counter");
  mp::Process adder([](CounterProxy c) { c.add(40); }, counter);
  adder.start();
  adder.join();
  mp::println("Counter: {}", counter.add(2));
  // [/register]
}
