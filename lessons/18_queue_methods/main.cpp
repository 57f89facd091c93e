// What can I ask a queue, and why does a conversation need two?
//
// Python:  qsize, empty, full; Queue.put(obj, block, timeout), Queue.get(...)
// Watch:   who gets the question when there is only one queue.
// Run:     ./learn queue_methods

#include <mp/mp.hpp>

#include <string>
#include <tuple>
#include <variant>

using namespace std::chrono_literals;

// [types]
using Question = std::tuple<std::string, int>;
using Message = std::variant<Question, std::string>;
using Messages = mp::Queue<Message>;

std::string text(const Message& message) {
  if (auto answer = std::get_if<std::string>(&message))
    return "'" + *answer + "'";
  auto [substr, num] = std::get<Question>(message);
  return fmt::format("('{}', {})", substr, num);
}
// [/types]

const char* yes(bool answer) { return answer ? "yes" : "no"; }

// [show]
// All three are exact at the moment of the call; a moment later another
// process may have put or got. Decide by them only where nobody else can.
void show(const mp::Queue<std::string>& queue) {
  mp::println("qsize {}, empty {}, full {}", queue.qsize(), yes(queue.empty()),
              yes(queue.full()));
}
// [/show]

// [methods]
void all_methods() {
  mp::Queue<std::string> queue(2);
  show(queue);
  queue.put("first");
  queue.put("second");
  show(queue);

  // A third has no room: put() would wait for a get(), for ever if none comes.
  // Full and Empty end the wait; they are answers, not accidents.
  try {
    queue.put("third", 100ms);
  } catch (const mp::Full&) {
    mp::println("Full: no room within 0.1 s");
  }
  try {
    queue.put_nowait("third");
  } catch (const mp::Full&) {
    mp::println("Full: no room now");
  }
  mp::println("{}", queue.get());
  mp::println("{}", queue.get(100ms));
  try {
    queue.get(100ms);
  } catch (const mp::Empty&) {
    mp::println("Empty: nothing came within 0.1 s");
  }
  try {
    queue.get_nowait();
  } catch (const mp::Empty&) {
    mp::println("Empty: nothing there now");
  }
}
// [/methods]

// [talk]
void make_tuple(Messages questions, Messages answers) {
  questions.put(Question("Hi ", 3));
  mp::println("make_tuple got {}", text(answers.get()));
}

void make_string(Messages questions, Messages answers) {
  auto [substr, num] = std::get<Question>(questions.get());
  std::string result;
  for (int i = 0; i < num; ++i) result += substr;
  answers.put(result);
}
// [/talk]

int main() {
  all_methods();

  // [one]
  // A queue has no ends: whoever gets first gets what is there, its own
  // question included. Here make_tuple is first because it is alone.
  mp::println("one queue:");
  Messages both;
  mp::Process alone(make_tuple, both, both);
  alone.start();
  alone.join();
  mp::println("left for make_string: {} messages", both.qsize());
  // [/one]

  // [two]
  // One queue for each direction: now it does not matter who is first.
  mp::println("two queues:");
  Messages questions, answers;
  mp::Process p1(make_tuple, questions, answers);
  mp::Process p2(make_string, questions, answers);
  p1.start();
  p2.start();
  // [/two]
}
