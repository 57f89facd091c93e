#pragma once

#include <array>
#include <bit>
#include <boost/pfr/core.hpp>
#include <boost/pfr/tuple_size.hpp>
#include <chrono>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "mp/detail/os.hpp"
#include "mp/errors.hpp"

/// Bytes for a T and back: what Python's pickle is to multiprocessing.
///
/// Picklable without a line of yours: numbers, enums, std::string, the
/// containers, optional, variant, pair, tuple, unique_ptr, chrono durations
/// and time points, filesystem::path, function pointers and lambdas that
/// capture nothing, mp's own handles, and every plain aggregate of these.
/// Any other class says which members count:
///
///     template <class Archive> void serialize(Archive& ar) { ar(name, size); }
///
/// and can be made without arguments. Not picklable: pointers, references,
/// views, lambdas that capture. A value may hold others of its own type, a tree
/// its branches: up to 500 in one another, beyond that is a PicklingError. Bytes are for processes
/// on one machine (or of one architecture): numbers are copied as they lie in memory.
namespace mp {

class Encoder;
class Decoder;

namespace detail {

template <class Coder>
class Nested;

template <class T>
concept Number = std::is_arithmetic_v<T> || std::is_enum_v<T>;

template <class T>
concept HasPickleMembers = requires(const T& value, Encoder& out, Decoder& in) {
  value.pickle(out);
  { T::unpickle(in) } -> std::same_as<T>;
};

template <class T>
concept HasSerialize = requires(T& value, Encoder& out) {
  value.serialize(out);
};

template <class T>
concept View =
    std::same_as<T, std::string_view> || std::ranges::view<T> || std::same_as<T, const char*>;

template <class T>
concept Container = std::ranges::sized_range<T> && !View<T> && requires(T c) {
  typename T::value_type;
  c.clear();
}
&&requires(T c, std::ranges::range_value_t<T> v) { c.insert(c.end(), std::move(v)); };

template <class T>
concept FlatContainer = Container<T> && std::ranges::contiguous_range<T> &&
    Number<typename T::value_type> && requires(T c) {
  c.resize(1);
};

template <class T>
inline constexpr bool is_tuple_like = false;
template <class... Ts>
inline constexpr bool is_tuple_like<std::tuple<Ts...>> = true;
template <class A, class B>
inline constexpr bool is_tuple_like<std::pair<A, B>> = true;
template <class T, std::size_t N>
inline constexpr bool is_tuple_like<std::array<T, N>> = true;

template <class T>
inline constexpr bool is_optional = false;
template <class T>
inline constexpr bool is_optional<std::optional<T>> = true;
template <class T>
inline constexpr bool is_unique_ptr = false;
template <class T>
inline constexpr bool is_unique_ptr<std::unique_ptr<T>> = !std::is_array_v<T>;
template <class T>
inline constexpr bool is_variant = false;
template <class... Ts>
inline constexpr bool is_variant<std::variant<Ts...>> = true;
template <class T>
inline constexpr bool is_duration = false;
template <class R, class P>
inline constexpr bool is_duration<std::chrono::duration<R, P>> = true;
template <class T>
inline constexpr bool is_time_point = false;
template <class C, class D>
inline constexpr bool is_time_point<std::chrono::time_point<C, D>> = true;

template <class T>
concept FunctionPointer = std::is_pointer_v<T> && std::is_function_v<std::remove_pointer_t<T>>;

/// A lambda that captures nothing, std::less<>, a tag: its type says it all.
template <class T>
concept Stateless = std::is_class_v<T> && std::is_empty_v<T> && std::is_default_constructible_v<T>;

template <class T>
concept PlainAggregate = std::is_aggregate_v<T> && std::is_class_v<T> && !Stateless<T> &&
                         std::is_default_constructible_v<T>;

// Recursion ends at a depth no honest type reaches, so that a struct that
// holds a vector of itself is no endless question.
inline constexpr int max_type_depth = 12;

template <class T, int Depth>
consteval bool picklable();

template <class T, int Depth>
consteval bool all_fields_picklable() {
  return []<std::size_t... I>(std::index_sequence<I...>) {
    return (picklable<std::remove_cvref_t<boost::pfr::tuple_element_t<I, T>>, Depth + 1>() && ...);
  }
  (std::make_index_sequence<boost::pfr::tuple_size_v<T>>());
}

template <class T, int Depth, std::size_t... I>
consteval bool all_elements_picklable(std::index_sequence<I...>) {
  if constexpr (is_variant<T>) {
    return (picklable<std::variant_alternative_t<I, T>, Depth + 1>() && ...);
  } else {
    return (picklable<std::remove_cv_t<std::tuple_element_t<I, T>>, Depth + 1>() && ...);
  }
}

template <class T, int Depth = 0>
consteval bool picklable() {
  if constexpr (Depth > max_type_depth) {
    return true;
  } else if constexpr (HasPickleMembers<T> || HasSerialize<T>) {
    return true;
  } else if constexpr (Number<T> || FunctionPointer<T> || std::same_as<T, std::string> ||
                       std::same_as<T, std::filesystem::path>) {
    return true;
  } else if constexpr (is_optional<T>) {
    return picklable<typename T::value_type, Depth + 1>();
  } else if constexpr (is_unique_ptr<T>) {
    return picklable<typename T::element_type, Depth + 1>();
  } else if constexpr (is_duration<T> || is_time_point<T>) {
    return true;
  } else if constexpr (is_variant<T>) {
    return all_elements_picklable<T, Depth>(std::make_index_sequence<std::variant_size_v<T>>());
  } else if constexpr (is_tuple_like<T>) {
    return all_elements_picklable<T, Depth>(std::make_index_sequence<std::tuple_size_v<T>>());
  } else if constexpr (Container<T>) {
    using Value = typename T::value_type;
    if constexpr (is_tuple_like<Value>) {  // A map's value_type has a const key.
      return all_elements_picklable<Value, Depth>(
          std::make_index_sequence<std::tuple_size_v<Value>>());
    } else {
      return picklable<Value, Depth + 1>();
    }
  } else if constexpr (View<T>) {
    return false;
  } else if constexpr (Stateless<T>) {
    return true;
  } else if constexpr (PlainAggregate<T>) {
    return all_fields_picklable<T, Depth>();
  } else {
    return false;
  }
}

}  // namespace detail

namespace detail {

// Values in one another. A reader in a thread with a stack of its own must not
// run over its end, whatever the bytes say.
inline constexpr int max_value_depth = 500;

/// One level of them, for a scope. Who is too deep throws.
template <class Coder>
class Nested {
 public:
  explicit Nested(Coder& coder) : coder_(coder) {
    if (coder_.depth_ == max_value_depth) Coder::too_deep();
    ++coder_.depth_;
  }
  Nested(const Nested&) = delete;
  Nested& operator=(const Nested&) = delete;
  ~Nested() { --coder_.depth_; }

 private:
  Coder& coder_;
};

/// Only a class that is no mere bytes can hold one of its own type.
template <class T>
concept MayNest = std::is_class_v<T> && !std::is_trivially_copyable_v<T>;

}  // namespace detail

/// Whether T can cross to another process; known when the program is compiled.
template <class T>
concept Picklable = detail::picklable<T>();

/// Bytes being written and, beside them, descriptors that travel with them.
class Encoder {
 public:
  Encoder() = default;
  /// Writes into `memory`; what does not fit goes on in memory of its own.
  explicit Encoder(std::span<std::byte> memory) noexcept
      : data_(memory.data()), capacity_(memory.size()) {}
  Encoder(const Encoder&) = delete;
  Encoder& operator=(const Encoder&) = delete;

  void bytes(const void* data, std::size_t size) {
    if (size == 0) return;
    if (size > capacity_ - size_) grow(size);
    std::memcpy(data_ + size_, data, size);
    size_ += size;
  }
  template <detail::Number T>
  void number(T value) {
    bytes(&value, sizeof value);
  }
  void text(std::string_view value) {
    number<std::uint64_t>(value.size());
    bytes(value.data(), value.size());
  }
  /// Sends a duplicate of `fd` along; the caller keeps its own.
  void descriptor(int fd);
  /// As descriptor(), once for each `owner` however often it is asked for; read
  /// by Decoder::shared_descriptor().
  void shared_descriptor(int fd, const void* owner);
  /// A place in this program's code; refused where it is not one.
  void code(const void* address);
  /// Keeps `object` alive until the receiver is done with what was encoded
  /// (where the sender can know: until the child it starts has ended).
  void keep(std::shared_ptr<const void> object) { attachments().kept.push_back(std::move(object)); }
  /// The sender's word that it holds what take_kept() gives it until the one
  /// receiver has ended. Without it, shared memory that is sent is never used again.
  void keep_until_receiver_ends() noexcept { keeps_ = true; }
  [[nodiscard]] bool keeps_until_receiver_ends() const noexcept { return keeps_; }

  /// `ar(a, b, c)` of a class's own serialize().
  template <class... Ts>
  void operator()(const Ts&... values);

  void clear() noexcept;
  /// Starts afresh in `memory`, as if constructed with it.
  void clear(std::span<std::byte> memory) noexcept;
  /// Replaces the bytes at `at`, which were written before.
  template <detail::Number T>
  void patch(std::size_t at, T value) noexcept {
    std::memcpy(data_ + at, &value, sizeof value);
  }
  /// Takes back what was written after the first `size` bytes.
  void truncate(std::size_t size) noexcept { size_ = size; }
  [[nodiscard]] std::span<const std::byte> view() const noexcept { return {data_, size_}; }
  [[nodiscard]] std::span<const detail::UniqueFd> descriptors() const noexcept {
    if (attachments_ == nullptr) return {};
    return attachments_->fds;
  }
  [[nodiscard]] std::vector<std::shared_ptr<const void>> take_kept() noexcept {
    if (attachments_ == nullptr) return {};
    return std::exchange(attachments_->kept, {});
  }
  [[noreturn]] static void too_deep();

 private:
  friend class detail::Nested<Encoder>;
  // What goes along with the bytes.
  struct Attachments {
    std::vector<detail::UniqueFd> fds;
    std::vector<std::pair<const void*, std::uint32_t>> shared_fds;  // Their owners, which of fds.
    std::vector<std::shared_ptr<const void>> kept;
  };
  void grow(std::size_t more);
  Attachments& attachments();

  // Small messages never touch the heap. With two of these a pool's job is no larger
  // than what the C library's allocator keeps at hand, 1032 bytes.
  std::array<std::byte, 224> inline_;
  std::byte* data_ = inline_.data();
  std::size_t size_ = 0;
  std::size_t capacity_ = sizeof inline_;
  std::unique_ptr<std::byte[]> heap_;
  std::unique_ptr<Attachments> attachments_;  // None: as with most.
  bool keeps_ = false;
  int depth_ = 0;
};

/// Bytes being read. Nothing in them is believed: every length is held
/// against what is left before memory is taken; each fault is a PicklingError.
class Decoder {
 public:
  explicit Decoder(std::span<const std::byte> bytes, std::span<detail::UniqueFd> fds = {})
      : bytes_(bytes), fds_(fds) {}

  void bytes(void* data, std::size_t size) {
    if (size > bytes_.size()) truncated();
    if (size != 0) std::memcpy(data, bytes_.data(), size);
    bytes_ = bytes_.subspan(size);
  }
  template <detail::Number T>
  T number() {
    if constexpr (std::same_as<T, bool>) {
      const auto value = number<std::uint8_t>();
      if (value > 1) malformed("a bool that is neither true nor false");
      return value == 1;
    } else {
      T value;
      bytes(&value, sizeof value);
      return value;
    }
  }
  /// A count of elements of at least `least` bytes each, held against what is left.
  std::size_t count(std::size_t least) {
    const auto value = number<std::uint64_t>();
    if (least != 0 && value > bytes_.size() / least) truncated();
    if (value > max_empty_elements && least == 0) truncated();
    return static_cast<std::size_t>(value);
  }
  std::string text() {
    const std::size_t size = count(1);
    std::string value(reinterpret_cast<const char*>(bytes_.data()), size);
    bytes_ = bytes_.subspan(size);
    return value;
  }
  detail::UniqueFd descriptor();
  /// One that several values name; still owned by the message, to be duplicated.
  int shared_descriptor();
  const void* code();
  /// The next `size` bytes, to be decoded by themselves.
  std::span<const std::byte> take(std::size_t size) {
    if (size > bytes_.size()) truncated();
    const auto part = bytes_.first(size);
    bytes_ = bytes_.subspan(size);
    return part;
  }

  /// Bytes that come from another program may not name places in the code.
  void forbid_code() noexcept { code_allowed_ = false; }

  template <class... Ts>
  void operator()(Ts&... values);

  [[nodiscard]] std::size_t left() const noexcept { return bytes_.size(); }
  [[noreturn]] static void truncated();
  [[noreturn]] static void malformed(const char* what);
  [[noreturn]] static void too_deep() { malformed("values are nested too deeply"); }

 private:
  friend class detail::Nested<Decoder>;
  static constexpr std::uint64_t max_empty_elements = 1U << 20;

  std::span<const std::byte> bytes_;
  std::span<detail::UniqueFd> fds_;
  bool code_allowed_ = true;
  int depth_ = 0;
};

template <Picklable T>
void encode(Encoder& out, const T& value);
template <Picklable T>
T decode(Decoder& in);

/// The bytes of a value that carries no descriptors, else PicklingError.
/// Python: pickle.dumps.
template <Picklable T>
std::vector<std::byte> dumps(const T& value) {
  Encoder out;
  encode(out, value);
  if (!out.descriptors().empty()) {
    throw PicklingError("a value that holds descriptors needs a connection to travel on");
  }
  return {out.view().begin(), out.view().end()};
}

/// The value of its bytes, all of them; PicklingError where they are no such
/// value. They do not say of which type they are. Python: pickle.loads.
template <Picklable T>
T loads(std::span<const std::byte> bytes) {
  Decoder in(bytes);
  T value = decode<T>(in);
  if (in.left() != 0) Decoder::malformed("bytes left over");
  return value;
}

}  // namespace mp

#include "mp/detail/pickle_impl.hpp"
