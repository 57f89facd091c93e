#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "manager_wire.hpp"
#include "mp/detail/managed.hpp"
#include "mp/detail/os.hpp"
#include "mp/detail/remote.hpp"
#include "mp/errors.hpp"
#include "mp/pickle.hpp"
#include "mp/server_limits.hpp"

/// What lives in a manager's server. All of it is one thread's: a call runs
/// alone, from its first step to its last, and so needs no lock.
namespace mp::detail {

struct AppliedEntryFacts;
class Bytes;
class Errands;
class ManagedObject;
class ObjectServer;
class WaitQueue;
struct ServerClient;
struct Waiter;

using ObjectPtr = std::shared_ptr<ManagedObject>;

/// The objects of a server by number.
struct ObjectTable {
  std::unordered_map<std::uint64_t, std::weak_ptr<ManagedObject>> by_id = {};
  std::uint64_t last_id = 0;
};

/// A run of bytes; few of them lie in the object itself.
class Blob {
 public:
  Blob() = default;
  explicit Blob(std::string_view bytes) { assign(bytes); }
  Blob(Blob&& other) noexcept : size_(other.size_), inline_(other.inline_) { other.size_ = 0; }
  Blob& operator=(Blob&& other) noexcept {
    if (this != &other) {
      release();
      size_ = std::exchange(other.size_, 0);
      inline_ = other.inline_;
    }
    return *this;
  }
  ~Blob() { release(); }

  [[nodiscard]] std::string_view view() const noexcept {
    return {size_ <= inline_.size() ? inline_.data() : heap(), size_};
  }
  [[nodiscard]] Blob copy() const { return Blob(view()); }
  /// Takes `size` bytes from `in`.
  static Blob read(Decoder& in, std::size_t size);
  void assign(std::string_view bytes) {
    if (bytes.size() <= inline_.size() && size_ <= inline_.size()) {
      size_ = static_cast<std::uint32_t>(bytes.size());
      std::memcpy(inline_.data(), bytes.data(), bytes.size());
    } else {
      std::memcpy(room(bytes.size()), bytes.data(), bytes.size());
    }
  }

 private:
  char* room(std::size_t size);
  [[nodiscard]] char* heap() const noexcept {
    char* at = nullptr;
    std::memcpy(&at, inline_.data() + 4, sizeof at);
    return at;
  }
  void release() noexcept {
    if (size_ > inline_.size()) delete[] heap();
  }

  std::uint32_t size_ = 0;
  std::array<char, 12> inline_{};  // Or, from the fifth on, a pointer.
};

/// An element: its bytes, and the objects that it refers to.
struct Element {
  Blob bytes = {};
  std::unique_ptr<std::vector<ObjectPtr>> references = {};

  [[nodiscard]] Element copy() const;
  friend bool operator==(const Element& a, const Element& b) {
    return a.bytes.view() == b.bytes.view();
  }
};
/// As it crosses, without counting the references for anybody.
void put(Encoder& out, const Element& element);

/// A request for a method while it runs.
class Call {
 public:
  Call(ObjectServer& server, ServerClient& client, Decoder& args, Encoder& result)
      : server_(server), client_(client), args_(args), result_(result) {}

  [[nodiscard]] Decoder& args() noexcept { return args_; }
  [[nodiscard]] Encoder& result() noexcept { return result_; }
  [[nodiscard]] ServerClient& client() noexcept { return client_; }

  Element element() { return element(args_); }
  Element element(Decoder& in);
  std::vector<Element> elements() { return elements(args_); }
  std::vector<Element> elements(Decoder& in);
  /// The memory at whose end `bytes` of the arguments lie, to be taken by who
  /// wants to keep them; null if others have it.
  Bytes* memory_of(std::span<const std::byte> bytes);
  /// A position in a sequence of `size`, negative from its end; IndexError
  /// `<what> index out of range`.
  std::size_t index(std::size_t size, const char* what);
  ObjectPtr object() { return object(args_.number<std::uint64_t>()); }
  ObjectPtr object(std::uint64_t id);
  /// -1 is none.
  std::optional<std::chrono::steady_clock::time_point> deadline();
  void give(const Element& element) { give(element, result_); }
  void give(const Element& element, Encoder& out);
  void give(const std::vector<Element>& elements);
  /// Runs a function that the client names; what it returns is the result.
  /// Returns what it changed the value to.
  Encoder& apply(AppliedTo target, std::uint64_t signature, void* object, const Encoder& value);
  /// Throws unless the client may name that function.
  static const AppliedEntryFacts& require_applied(const std::string& name, AppliedTo target);
  /// A new object: its facts are the result, and the client has a reference.
  void give_object(const ObjectPtr& object, const std::string& type_id);
  /// `value op= operand` for numbers, as one step; the new value is the result.
  void calculate(Element& value);

  /// No reply now: `attempt` writes it, when woken, and returns true; else
  /// `expire` does at the deadline. What either throws is the reply.
  using Attempt = std::function<bool(Encoder&)>;
  void park(WaitQueue& queue, ObjectPtr object,
            std::optional<std::chrono::steady_clock::time_point> deadline, Attempt attempt,
            Attempt expire);
  [[nodiscard]] bool parked() const noexcept { return parked_; }
  /// give() for a call that will be over by the time of its reply.
  std::function<void(const Element&, Encoder&)> giver();
  [[nodiscard]] const std::shared_ptr<Errands>& errands() const noexcept;
  [[nodiscard]] const ServerLimits& limits() const noexcept;
  /// The waiter has no deadline any more.
  void cancel_timer(Waiter& waiter);

 private:
  ObjectServer& server_;
  ServerClient& client_;
  Decoder& args_;
  Encoder& result_;
  Encoder changed_;
  bool parked_ = false;
};

/// A call that waits; a client has one at most.
struct Waiter {
  ObjectServer* server = nullptr;
  ServerClient* client = nullptr;
  ObjectPtr object = {};  // Kept until the reply.
  Call::Attempt attempt = {};
  Call::Attempt expire = {};
  std::optional<std::chrono::steady_clock::time_point> deadline = {};
  WaitQueue* queue = nullptr;
  std::list<Waiter*>::iterator place = {};
};

/// Calls that wait for the same thing, the first come first.
class WaitQueue {
 public:
  WaitQueue() = default;
  WaitQueue(const WaitQueue&) = delete;
  WaitQueue& operator=(const WaitQueue&) = delete;

  /// Lets waiters try, in order, until one has to wait on.
  void wake();
  [[nodiscard]] std::size_t size() const noexcept { return waiters_.size(); }
  [[nodiscard]] bool empty() const noexcept { return waiters_.empty(); }
  [[nodiscard]] Waiter& front() const { return *waiters_.front(); }
  void add(Waiter& waiter);
  void remove(Waiter& waiter);

 private:
  std::list<Waiter*> waiters_;
  bool waking_ = false;
  bool again_ = false;  // Asked to while it was at it.
};

/// What proxies refer to.
class ManagedObject : public std::enable_shared_from_this<ManagedObject> {
 public:
  explicit ManagedObject(std::string kind, std::uint64_t signature = 0)
      : kind_(std::move(kind)), signature_(signature) {}
  ManagedObject(const ManagedObject&) = delete;
  ManagedObject& operator=(const ManagedObject&) = delete;
  virtual ~ManagedObject() = default;

  /// Runs a method; throws AttributeError for a name that is not exposed.
  virtual void call(std::string_view method, Call& call) = 0;
  /// A client's connection has ended while it held this.
  virtual void holder_died(ServerClient&) {}
  /// Whether the server keeps it when the last proxy is gone.
  [[nodiscard]] virtual bool lives_as_long_as_the_server() const { return false; }
  /// For debug_info(), a line at most.
  [[nodiscard]] virtual std::string text() const = 0;

  [[nodiscard]] const std::string& kind() const noexcept { return kind_; }
  [[nodiscard]] std::uint64_t signature() const noexcept { return signature_; }
  [[nodiscard]] std::uint64_t id() const noexcept { return id_; }
  /// Gives it a number in `table`, once.
  void enter(const std::shared_ptr<ObjectTable>& table);

  template <class T, class... Args>
  static std::shared_ptr<T> make(Args&&... args) {
    return std::shared_ptr<T>(new T(std::forward<Args>(args)...), destroy);
  }

 private:
  // Objects that hold objects that hold objects … go one after the other,
  // however deep they lie in each other.
  static void destroy(ManagedObject* object);

  std::string kind_;
  std::uint64_t signature_;
  std::uint64_t id_ = 0;
  std::shared_ptr<ObjectTable> table_;
};

/// A class's methods by name.
template <class T>
using Methods = std::unordered_map<std::string_view, void (T::*)(Call&)>;

template <class T>
void call_method(T& object, const Methods<T>& methods, std::string_view name, Call& call) {
  const auto found = methods.find(name);
  if (found == methods.end()) {
    throw AttributeError("'" + object.kind() + "' has no exposed method '" + std::string(name) +
                         "'");
  }
  (object.*found->second)(call);
}

// --- what there is (manager_list.cpp, manager_dict.cpp, manager_queue.cpp, …) ---

enum class ListUse : std::uint8_t { list, array, value };
ObjectPtr make_list(ListUse use, std::uint64_t signature, std::vector<Element> elements);
ObjectPtr make_dict(std::string kind, std::uint64_t signature, std::uint64_t value_signature);
ObjectPtr make_queue(std::string kind, std::uint64_t signature, std::int64_t maxsize);
ObjectPtr make_lock(bool recursive);
ObjectPtr make_semaphore(std::int64_t value, bool bounded);
/// Throws TypeError if `lock` is none of the two locks.
ObjectPtr make_condition(ObjectPtr lock);
ObjectPtr make_event();
ObjectPtr make_barrier(std::int64_t parties);
ObjectPtr make_segment(std::int64_t size);
ObjectPtr make_pool(Call& call);

/// Makes a built-in object as `create` asks for it; null for an unknown kind.
ObjectPtr make_builtin(std::string_view kind, Call& call);

}  // namespace mp::detail
