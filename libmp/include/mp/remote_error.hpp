#pragma once

#include <sys/types.h>

#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <utility>

#include "mp/errors.hpp"
#include "mp/pickle.hpp"

/// Exceptions that cross from one process to another.
///
/// What is thrown there is thrown again here, of the same type if that is one
/// of the standard library's, one of libmp's or a registered one. The new
/// exception is nested over a RemoteTraceback, which tells what happened
/// there: std::rethrow_if_nested() shows it. Of any other type, one derived from
/// those included, it is RemoteError. What was thrown by std::throw_with_nested()
/// is taken for the exception that was given to it.
namespace mp {

/// What is known of an exception that another process threw.
struct RemoteOrigin {
  std::string type = {};          ///< Its type as the source writes it: "std::out_of_range".
  std::string text = {};          ///< Its what().
  std::string trace = {};         ///< Type and text of it and of all that was nested in it.
  std::string process_name = {};  ///< Who threw it: "ForkPoolWorker-2".
  pid_t pid = 0;
  std::string where = {};  ///< The function that was called there, if that is known here.
};

/// Nested in an exception that was thrown again. Python: RemoteTraceback.
class RemoteTraceback : public Error {
 public:
  explicit RemoteTraceback(RemoteOrigin origin);
  [[nodiscard]] const RemoteOrigin& origin() const noexcept { return origin_; }

 private:
  RemoteOrigin origin_;
};

/// Another process threw something that has no name here.
class RemoteError : public Error {
 public:
  explicit RemoteError(RemoteOrigin origin);
  [[nodiscard]] const RemoteOrigin& origin() const noexcept { return origin_; }

 private:
  RemoteOrigin origin_;
};

namespace detail {

/// How exceptions of one type cross.
struct ExceptionKind {
  std::string name = {};
  void (*save)(Encoder&, const std::exception&) = nullptr;
  /// Throws the exception, nested over the one that is being handled.
  void (*raise)(Decoder&, const std::string& text) = nullptr;
};
bool register_exception_kind(const std::type_info& type, ExceptionKind kind);
std::string exception_name(const std::type_info& type);

/// The exception that is being handled, as bytes; `process_name` is who throws it.
void encode_current_exception(Encoder& out, std::string_view process_name);
/// Throws it again; what cannot be read is a PicklingError. `where` names the
/// function that was called there.
[[noreturn]] void throw_encoded_exception(Decoder& in, std::string where = {});
std::exception_ptr decode_exception(Decoder& in, std::string where = {});
/// "type: text" of a stored exception.
std::string describe_exception(const std::exception_ptr& error);

}  // namespace detail

/// Makes exceptions of type E cross as what they are: as a value if E is
/// picklable, else by its what(), from which E is constructed. At namespace
/// scope: `const bool known = mp::register_exception<MyError>();`.
template <class E>
bool register_exception() {
  static_assert(std::is_base_of_v<std::exception, E>);
  static_assert(Picklable<E> || std::is_constructible_v<E, const std::string&>,
                "an exception crosses as a value or by its what()");
  return detail::register_exception_kind(typeid(E), {detail::exception_name(typeid(E)),
                                                     [](Encoder& out, const std::exception& error) {
                                                       if constexpr (Picklable<E>)
                                                         encode(out, dynamic_cast<const E&>(error));
                                                       (void)out, (void)error;
                                                     },
                                                     [](Decoder& in, const std::string& text) {
                                                       if constexpr (Picklable<E>) {
                                                         std::throw_with_nested(decode<E>(in));
                                                       } else {
                                                         std::throw_with_nested(E(text));
                                                       }
                                                       (void)in, (void)text;
                                                     }});
}

}  // namespace mp
