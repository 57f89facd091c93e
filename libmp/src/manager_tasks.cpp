#include "manager_tasks.hpp"

#include <cstddef>
#include <span>
#include <string_view>
#include <utility>

#include "manager_client.hpp"
#include "mp/errors.hpp"
#include "mp/executor_errors.hpp"
#include "symbols.hpp"

namespace mp::detail {

std::string run_named(const std::string& name, const std::string& args) {
  const AppliedEntryFacts* entry = find_applied(name);
  if (entry == nullptr) throw AttributeError("the worker's program has no function '" + name + "'");
  const auto bytes = std::as_bytes(std::span(args));
  Decoder in(bytes);
  in.forbid_code();
  Decoder nothing({});
  Encoder unchanged;
  Encoder result;
  entry->function(nullptr, nothing, unchanged, in, result);
  const auto view = result.view();
  return {reinterpret_cast<const char*>(view.data()), view.size()};
}

void initialize_named(const std::string& name, const std::string& args) { run_named(name, args); }

namespace {

// What the tasks of that name call, for a person: of the function that the
// table has for them, only the arguments of its template.
std::string function_text(AppliedFunction function) {
  std::string text = symbol_name(reinterpret_cast<const void*>(function));
  const auto first = text.find("ApplyAsTask<");
  const auto last = text.rfind(">::run(");
  if (first == std::string::npos || last == std::string::npos) return text;
  const std::size_t begin = first + std::string_view("ApplyAsTask<").size();
  return text.substr(begin, last - begin);
}

}  // namespace

std::exception_ptr with_function(const std::exception_ptr& error, AppliedFunction function) {
  try {
    std::rethrow_exception(error);
  } catch (const WorkerDied& died) {
    WorkerDeath death = died.death();
    death.function = function_text(function);
    return std::make_exception_ptr(WorkerDied(std::move(death)));
  } catch (...) {
    return error;
  }
}

}  // namespace mp::detail
