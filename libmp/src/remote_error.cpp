#include "mp/remote_error.hpp"

#include <cxxabi.h>

#include <algorithm>
#include <any>
#include <filesystem>
#include <functional>
#include <future>
#include <ios>
#include <map>
#include <mutex>
#include <new>
#include <optional>
#include <regex>
#include <stdexcept>
#include <system_error>
#include <typeindex>
#include <variant>
#include <vector>

#include "mp/detail/callable.hpp"
#include "mp/detail/os.hpp"
#include "mp/executor_errors.hpp"

namespace mp {

namespace {

std::string sentence(const RemoteOrigin& origin) {
  std::string text = origin.type + ": " + origin.text + " (in " + origin.process_name + ", pid " +
                     std::to_string(origin.pid);
  if (!origin.where.empty()) text += ", calling " + origin.where;
  return text + ")";
}

}  // namespace

RemoteTraceback::RemoteTraceback(RemoteOrigin origin)
    : Error(sentence(origin)), origin_(std::move(origin)) {}

RemoteError::RemoteError(RemoteOrigin origin)
    : Error(sentence(origin)), origin_(std::move(origin)) {}

namespace detail {

namespace {

struct Kinds {
  ForkSafeMutex mutex;
  std::map<std::type_index, ExceptionKind> by_type;
  std::map<std::string, ExceptionKind, std::less<>> by_name;

  void add(const std::type_info& type, const ExceptionKind& kind) {
    by_type.insert_or_assign(type, kind);
    by_name.insert_or_assign(kind.name, kind);
  }

  template <class E>
  void add_with(void (*save)(Encoder&, const std::exception&),
                void (*raise)(Decoder&, const std::string&)) {
    add(typeid(E), {exception_name(typeid(E)), save, raise});
  }

  template <class... Es>
  void add_by_text() {
    (add(typeid(Es), {exception_name(typeid(Es)), [](Encoder&, const std::exception&) {},
                      [](Decoder&, const std::string& text) { std::throw_with_nested(Es(text)); }}),
     ...);
  }

  // What they say is always the same.
  template <class... Es>
  void add_constant() {
    (add(typeid(Es), {exception_name(typeid(Es)), [](Encoder&, const std::exception&) {},
                      [](Decoder&, const std::string&) { std::throw_with_nested(Es()); }}),
     ...);
  }
};

const std::error_category& category_of(std::uint8_t index) {
  if (index == 0) return std::generic_category();
  return index == 1 ? std::system_category() : std::iostream_category();
}

void save_code(Encoder& out, const std::error_code& code) {
  std::uint8_t index = 0;
  while (index < 3 && code.category() != category_of(index)) ++index;
  encode(out, index);
  encode(out, code.value());
}

std::optional<std::error_code> raise_code(Decoder& in) {
  const auto index = decode<std::uint8_t>(in);
  const auto value = decode<int>(in);
  if (index > 2) return std::nullopt;  // A category of the thrower's own.
  return std::error_code(value, category_of(index));
}

// what() is "prefix: message", and more for files; the constructor adds the
// message again.
std::string own_text(std::string text, const std::error_code& code) {
  constexpr std::string_view of_files = "filesystem error: ";
  if (text.starts_with(of_files)) text.erase(0, of_files.size());
  return text.substr(0, text.find(": " + code.message()));
}

template <class E>
void save_system_error(Encoder& out, const std::exception& error) {
  save_code(out, dynamic_cast<const E&>(error).code());
  if constexpr (std::is_same_v<E, std::filesystem::filesystem_error>) {
    encode(out, dynamic_cast<const E&>(error).path1());
    encode(out, dynamic_cast<const E&>(error).path2());
  }
}

template <class E>
void raise_system_error(Decoder& in, const std::string& text) {
  const auto code = raise_code(in);
  if (!code) std::throw_with_nested(std::runtime_error(text));
  const std::string prefix = own_text(text, *code);
  if constexpr (std::is_same_v<E, std::filesystem::filesystem_error>) {
    const auto first = decode<std::filesystem::path>(in);
    const auto second = decode<std::filesystem::path>(in);
    std::throw_with_nested(E(prefix, first, second, *code));
  } else if constexpr (std::is_same_v<E, std::ios_base::failure>) {
    std::throw_with_nested(E(prefix, *code));
  } else {
    std::throw_with_nested(E(*code, prefix));
  }
}

template <class E>
void add_system_error(Kinds& kinds) {
  kinds.add_with<E>(save_system_error<E>, raise_system_error<E>);
}

// Its text is that of the code.
void save_regex_error(Encoder& out, const std::exception& error) {
  encode(out, static_cast<int>(dynamic_cast<const std::regex_error&>(error).code()));
}

void raise_regex_error(Decoder& in, const std::string&) {
  const auto code = static_cast<std::regex_constants::error_type>(decode<int>(in));
  std::throw_with_nested(std::regex_error(code));
}

void save_future_error(Encoder& out, const std::exception& error) {
  encode(out, dynamic_cast<const std::future_error&>(error).code().value());
}

void raise_future_error(Decoder& in, const std::string&) {
  std::throw_with_nested(std::future_error(static_cast<std::future_errc>(decode<int>(in))));
}

void save_short_buffer(Encoder& out, const std::exception& error) {
  encode(out, dynamic_cast<const BufferTooShort&>(error).message());
}

void raise_short_buffer(Decoder& in, const std::string&) {
  std::throw_with_nested(BufferTooShort(decode<std::vector<std::byte>>(in)));
}

void save_encoding_error(Encoder& out, const std::exception& error) {
  encode(out, dynamic_cast<const MaybeEncodingError&>(error).exc());
  encode(out, dynamic_cast<const MaybeEncodingError&>(error).value());
}

void raise_encoding_error(Decoder& in, const std::string&) {
  auto reason = decode<std::string>(in);
  std::throw_with_nested(MaybeEncodingError(std::move(reason), decode<std::string>(in)));
}

void save_worker_died(Encoder& out, const std::exception& error) {
  encode(out, dynamic_cast<const WorkerDied&>(error).death());
}

void raise_worker_died(Decoder& in, const std::string&) {
  std::throw_with_nested(WorkerDied(decode<WorkerDeath>(in)));
}

// Not a std::exception, so none of the kinds; known by this name.
constexpr std::string_view system_exit = "mp::SystemExit";

Kinds& kinds() {
  static Kinds& instance = []() -> Kinds& {
    auto& made = *new Kinds;
    made.add_constant<std::exception>();
    made.add_by_text<std::runtime_error, std::logic_error, std::range_error, std::overflow_error,
                     std::underflow_error, std::invalid_argument, std::domain_error,
                     std::length_error, std::out_of_range>();
    made.add_by_text<Error, LogicError, TimeoutError, EOFError, AuthenticationError, OwnerDied,
                     PicklingError, BrokenBarrierError, ValueError, AssertionError, RuntimeError,
                     TypeError, IndexError, KeyError, AttributeError>();
    made.add_by_text<BrokenExecutor, BrokenProcessPool, BrokenThreadPool, PoolTerminated,
                     InvalidStateError>();
    made.add_constant<std::bad_alloc, std::bad_array_new_length, std::bad_cast, std::bad_any_cast,
                      std::bad_typeid, std::bad_exception, std::bad_function_call,
                      std::bad_weak_ptr, std::bad_optional_access, std::bad_variant_access, Empty,
                      Full, ShutDown, CancelledError>();
    add_system_error<std::system_error>(made);
    add_system_error<std::ios_base::failure>(made);
    add_system_error<std::filesystem::filesystem_error>(made);
    made.add_with<std::regex_error>(save_regex_error, raise_regex_error);
    made.add_with<std::future_error>(save_future_error, raise_future_error);
    made.add_with<BufferTooShort>(save_short_buffer, raise_short_buffer);
    made.add_with<MaybeEncodingError>(save_encoding_error, raise_encoding_error);
    made.add_with<WorkerDied>(save_worker_died, raise_worker_died);
    return made;
  }();
  return instance;
}

// std::throw_with_nested() throws a type of its own, which derives from the one that
// was meant, first, and from std::nested_exception.
const std::type_info& type_meant(const std::exception& error) {
  const std::type_info& type = typeid(error);
  if (dynamic_cast<const std::nested_exception*>(&error) == nullptr) return type;
  const auto* of_bases = dynamic_cast<const abi::__vmi_class_type_info*>(&type);
  return of_bases == nullptr ? type : *of_bases->__base_info[0].__base_type;
}

std::optional<ExceptionKind> find_kind(const std::exception& error) {
  const std::lock_guard guard(kinds().mutex);
  const auto& all = kinds().by_type;
  auto found = all.find(typeid(error));
  if (found == all.end()) found = all.find(type_meant(error));
  if (found == all.end()) return std::nullopt;
  return found->second;
}

void append_trace(std::string& trace, const std::exception& error) {
  if (!trace.empty()) trace += "\n  caused by ";
  trace += type_name(type_meant(error)) + ": " + error.what();
  try {
    std::rethrow_if_nested(error);
  } catch (const std::exception& cause) {
    append_trace(trace, cause);
  } catch (...) {
    trace += "\n  caused by something that is no std::exception";
  }
}

void encode_origin(Encoder& out, const RemoteOrigin& origin) {
  out(origin.type, origin.text, origin.trace, origin.process_name, origin.pid);
}

}  // namespace

bool register_exception_kind(const std::type_info& type, ExceptionKind kind) {
  const std::lock_guard guard(kinds().mutex);
  kinds().add(type, kind);
  return true;
}

std::string exception_name(const std::type_info& type) { return type_name(type); }

void encode_current_exception(Encoder& out, std::string_view process_name) {
  RemoteOrigin origin{.process_name = std::string(process_name), .pid = this_pid()};
  try {
    throw;
  } catch (const std::exception& error) {
    const auto kind = find_kind(error);
    origin.type = kind ? kind->name : type_name(type_meant(error));
    origin.text = error.what();
    append_trace(origin.trace, error);
    encode_origin(out, origin);
    out.text(kind ? kind->name : std::string());
    if (kind) kind->save(out, error);
  } catch (const SystemExit& leaving) {
    origin.type = system_exit;
    origin.text = leaving.text();
    encode_origin(out, origin);
    out.text(system_exit);
    out.number(leaving.code());
  } catch (...) {
    const std::type_info* type = abi::__cxa_current_exception_type();
    origin.type = type != nullptr ? type_name(*type) : "unknown";
    origin.text = "not a std::exception";
    origin.trace = origin.type;
    encode_origin(out, origin);
    out.text({});
  }
}

void throw_encoded_exception(Decoder& in, std::string where) {
  RemoteOrigin origin;
  in(origin.type, origin.text, origin.trace, origin.process_name, origin.pid);
  origin.where = std::move(where);
  const std::string name = in.text();
  if (name == system_exit) {
    const int code = in.number<int>();
    if (!origin.text.empty()) throw SystemExit(origin.text);
    throw SystemExit(code);
  }
  std::optional<ExceptionKind> kind;
  {
    const std::lock_guard guard(kinds().mutex);
    if (const auto found = kinds().by_name.find(name); found != kinds().by_name.end()) {
      kind = found->second;
    }
  }
  if (!kind) throw RemoteError(std::move(origin));
  try {
    throw RemoteTraceback(origin);
  } catch (const RemoteTraceback&) {
    kind->raise(in, origin.text);
  }
  throw RemoteError(std::move(origin));
}

std::exception_ptr decode_exception(Decoder& in, std::string where) {
  try {
    throw_encoded_exception(in, std::move(where));
  } catch (...) {
    return std::current_exception();
  }
}

std::string describe_exception(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& known) {
    const auto kind = find_kind(known);
    return (kind ? kind->name : type_name(typeid(known))) + ": " + known.what();
  } catch (...) {
    const std::type_info* type = abi::__cxa_current_exception_type();
    return type != nullptr ? type_name(*type) : "unknown";
  }
}

}  // namespace detail
}  // namespace mp
