#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mp/authentication.hpp"
#include "mp/context.hpp"
#include "mp/detail/callable.hpp"
#include "mp/detail/managed.hpp"
#include "mp/listener.hpp"
#include "mp/proxies.hpp"
#include "mp/server_limits.hpp"

/// Objects that live in a server process, on this machine or another, and are
/// used through proxies. Python: multiprocessing.managers.
namespace mp {

struct ManagerOptions {
  std::optional<Address> address = {};  ///< Empty: one that nobody else has, on this machine.
  std::optional<AuthenticationString> authkey = {};  ///< Empty: current_process().authkey().
  std::optional<StartMethod> start_method = {};      ///< Empty: the default when start() is called.
  /// For each step of shutdown(): until the server has taken the message,
  /// until it has ended, until it has ended after SIGTERM.
  Duration shutdown_timeout = std::chrono::seconds(1);
  ServerLimits limits = {};
};

/// A method to expose: `mp::method<&Counter::add>("add")`. A function that
/// takes the object first will do, too.
template <auto Function>
detail::MethodEntry method(std::string name) {
  return {std::move(name), detail::run_method<Function>};
}

/// An object made for a server, as a registered callable returns it.
class Referent {
 public:
  explicit Referent(std::shared_ptr<detail::ManagedObject> object) : object_(std::move(object)) {}
  [[nodiscard]] const std::shared_ptr<detail::ManagedObject>& object() const noexcept {
    return object_;
  }

 private:
  std::shared_ptr<detail::ManagedObject> object_;
};

namespace detail {
Referent managed_list(std::uint64_t signature);
Referent managed_dict(std::uint64_t signature, std::uint64_t value_signature);
Referent managed_queue(std::uint64_t signature, std::size_t maxsize);
}  // namespace detail

/// What a callable may return: objects that clients use through the proxies of
/// these names.
namespace managed {
template <class T>
Referent list() {
  return detail::managed_list(detail::signature<T>);
}
template <class K, class V>
Referent dict() {
  return detail::managed_dict(detail::signature<std::pair<K, V>>, detail::signature<V>);
}
template <class T>
Referent Queue(std::size_t maxsize = 0) {
  return detail::managed_queue(detail::signature<T>, maxsize);
}
Referent Lock();
Referent Event();
Referent Namespace();
/// An object of one's own with the methods that are exposed.
template <class T>
Referent object(std::shared_ptr<T> object, std::vector<detail::MethodEntry> methods) {
  return Referent(detail::make_user_object(detail::type_name(typeid(T)),
                                           detail::type_signature(typeid(T)), std::move(methods),
                                           std::move(object)));
}
}  // namespace managed

/// A server in this process. Python: managers.Server.
class ManagerServer {
 public:
  /// Serves until stop(), in the calling thread.
  void serve_forever();
  /// From any thread, or a signal handler.
  void stop() noexcept;
  [[nodiscard]] const Address& address() const noexcept;

 private:
  friend class BaseManager;
  struct State;
  explicit ManagerServer(std::shared_ptr<State> state) : state_(std::move(state)) {}
  std::shared_ptr<State> state_;
};

/// Starts a server process, or connects to one. Python: BaseManager.
///
/// Clients can ask a server for what is registered, and for nothing else. The
/// end of a manager that started its server is the server's end, and so is
/// the end of its process, however it comes. A manager belongs to the process
/// that made it; proxies go anywhere. The server serves one call at a time and
/// waits for no client.
class BaseManager {
 public:
  explicit BaseManager(ManagerOptions options = {});
  BaseManager(BaseManager&&) noexcept;
  BaseManager& operator=(BaseManager&&) noexcept;
  virtual ~BaseManager();

  /// Makes a class known by a name: clients may create objects of it, from
  /// arguments of the types Args, and call `methods` of them. Before start().
  ///
  /// Python's register() under another name, as `register` is a keyword of
  /// C++; it is a method of the manager here, not of its class, and the types of
  /// arguments and methods are named, as C++ cannot ask a class for them.
  template <class T, class... Args>
  void register_type(std::string name, std::vector<detail::MethodEntry> methods = {}) {
    detail::TypeEntry entry;
    entry.signature = detail::type_signature(typeid(T));
    entry.create = detail::create_object<T, Args...>;
    entry.methods = std::move(methods);
    add(std::move(name), std::move(entry));
  }
  /// Makes a function known by a name: clients get the object that it returns,
  /// a Referent. For servers in this process, and forked ones; under another
  /// start method start() throws PicklingError.
  void register_callable(std::string name, std::function<Referent()> callable);

  /// Starts the server process; there, `initializer(args...)` is called first.
  /// Throws ProcessError "Already started server" or "Manager has shut down",
  /// std::system_error if the address cannot be had, EOFError if the server
  /// ended before it served. Without freeze_support() see Process::start().
  void start() { start_server(nullptr); }
  template <class Function, class... Args>
  void start(Function&& initializer, Args&&... args) {
    start_server(
        detail::make_task(std::forward<Function>(initializer), std::forward<Args>(args)...));
  }
  /// Uses a server that runs: makes sure that it is there and has the key.
  /// Throws ValueError without an address, AuthenticationError for another key,
  /// std::system_error if nobody listens there, TimeoutError if the server has
  /// not answered for 30 seconds, EOFError if it went away or has sent this
  /// client away again and again, ProcessError as start().
  void connect();
  /// A server for this process, at the address, which is taken by this call.
  /// Throws ProcessError as start(), std::system_error if the address cannot be had.
  [[nodiscard]] ManagerServer get_server();

  /// Ends the server that start() started, by a message; if it does not take
  /// it, as it is in a method that does not return, say, or does not end, by
  /// SIGTERM and then SIGKILL. Twice, or without start(), nothing happens. Then
  /// it makes no more objects: AssertionError.
  void shutdown();
  /// Waits for the server's end; true if it has ended, or was never started.
  bool join(Timeout timeout = {});
  /// The server's, once it has ended.
  [[nodiscard]] std::optional<int> exitcode() const;
  [[nodiscard]] std::optional<pid_t> pid() const;

  /// Where clients find the server. Throws AssertionError "server not yet started"
  /// while that is not known.
  [[nodiscard]] Address address() const;
  /// Objects that live in the server, and a line on each of them with one on
  /// how many requests there were. Throw AssertionError without start() or connect().
  [[nodiscard]] std::size_t number_of_objects() const;
  [[nodiscard]] std::string debug_info() const;

  /// Asks for an object of a registered type, made from `args`, or of a
  /// callable. Throws AssertionError "server not yet started", AttributeError
  /// for a name that is not registered, TypeError for arguments or a Proxy
  /// that do not fit.
  template <class Proxy = BaseProxy, class... Args>
  [[nodiscard]] Proxy create(std::string_view type_id, const Args&... args) const {
    auto call = creation(type_id);
    detail::put_arguments(call->args(), server(), args...);
    return Proxy(finish_creation(*call));
  }

 protected:
  BaseManager(const char* class_name, ManagerOptions options);
  void add_builtin_types(std::initializer_list<const char*> names);

  template <class Proxy, class Write>
  [[nodiscard]] Proxy make(std::string_view type_id, Write write) const {
    auto call = creation(type_id);
    write(call->args());
    return Proxy(finish_creation(*call));
  }
  [[nodiscard]] const detail::ServerHandle* server() const;

 private:
  struct Impl;
  void add(std::string name, detail::TypeEntry entry);
  void start_server(std::unique_ptr<detail::Task> initializer);
  [[nodiscard]] std::unique_ptr<detail::RemoteCall> creation(std::string_view type_id) const;
  [[nodiscard]] std::shared_ptr<detail::ProxyState> finish_creation(detail::RemoteCall& call) const;

  std::shared_ptr<Impl> impl_;
};

/// Lists, dicts, queues and locks of any types. Python: SyncManager. The names
/// are Python's: `manager.list<std::string>()`, `manager.Lock()`.
class SyncManager : public BaseManager {
 public:
  explicit SyncManager(ManagerOptions options = {});

  template <class T>
  [[nodiscard]] ListProxy<T> list() const {
    return list(std::vector<T>());
  }
  template <class T>
  [[nodiscard]] ListProxy<T> list(std::initializer_list<T> values) const {
    return list(std::vector<T>(values));
  }
  template <std::ranges::sized_range Values>
  [[nodiscard]] auto list(const Values& values) const {
    using T = std::ranges::range_value_t<Values>;
    return sequence<ListProxy<T>, T>("list", values);
  }
  template <class K, class V>
  [[nodiscard]] DictProxy<K, V> dict() const {
    return make<DictProxy<K, V>>("dict", [](Encoder& out) {
      out.number(detail::signature<std::pair<K, V>>);
      out.number(detail::signature<V>);
    });
  }
  template <class K, class V>
  [[nodiscard]] DictProxy<K, V> dict(const std::map<K, V>& items) const {
    auto proxy = dict<K, V>();
    proxy.update(items);
    return proxy;
  }
  template <class T>
  [[nodiscard]] SetProxy<T> set() const {
    return make<SetProxy<T>>("set", [](Encoder& out) {
      out.number(detail::signature<T>);
      out.number(detail::signature<T>);
    });
  }
  template <std::ranges::sized_range Values>
  [[nodiscard]] auto set(const Values& values) const {
    auto proxy = set<std::ranges::range_value_t<Values>>();
    proxy |= values;
    return proxy;
  }
  template <class T>
  [[nodiscard]] SetProxy<T> set(std::initializer_list<T> values) const {
    return set(std::vector<T>(values));
  }
  /// Empty; Python's takes attributes, here set() does.
  [[nodiscard]] NamespaceProxy Namespace() const;
  template <class T>
  [[nodiscard]] ValueProxy<detail::Stored<T>> Value(const T& value) const {
    using Kept = detail::Stored<T>;
    return sequence<ValueProxy<Kept>, Kept>("Value", std::array<Kept, 1>{Kept(value)});
  }
  template <std::ranges::sized_range Values>
  [[nodiscard]] auto Array(const Values& values) const {
    using T = std::ranges::range_value_t<Values>;
    return sequence<ArrayProxy<T>, T>("Array", values);
  }
  template <class T>
  [[nodiscard]] ArrayProxy<T> Array(std::initializer_list<T> values) const {
    return Array(std::vector<T>(values));
  }
  /// maxsize 0: without bound.
  template <class T>
  [[nodiscard]] QueueProxy<T> Queue(std::int64_t maxsize = 0) const {
    return queue<T>("Queue", maxsize);
  }
  template <class T>
  [[nodiscard]] JoinableQueueProxy<T> JoinableQueue(std::int64_t maxsize = 0) const {
    return queue<T>("JoinableQueue", maxsize);
  }
  [[nodiscard]] LockProxy Lock() const;
  [[nodiscard]] RLockProxy RLock() const;
  /// Throws ValueError for a negative value.
  [[nodiscard]] SemaphoreProxy Semaphore(std::int64_t value = 1) const;
  [[nodiscard]] SemaphoreProxy BoundedSemaphore(std::int64_t value = 1) const;
  /// On an RLock of its own, or on a lock of this manager.
  [[nodiscard]] ConditionProxy Condition() const;
  [[nodiscard]] ConditionProxy Condition(const LockProxy& lock) const;
  [[nodiscard]] ConditionProxy Condition(const RLockProxy& lock) const;
  [[nodiscard]] EventProxy Event() const;
  /// Throws ValueError for fewer than one. No action, no time-out: see BarrierProxy.
  [[nodiscard]] BarrierProxy Barrier(std::int64_t parties) const;
  /// Workers of the server's. Throws as mp::Pool does, and ValueError for more
  /// than the server's limit.
  [[nodiscard]] PoolProxy Pool(const ManagerPoolOptions& options = {}) const;
  [[nodiscard]] PoolProxy Pool(int processes) const {
    return Pool(ManagerPoolOptions{.processes = processes});
  }
  /// Each worker first calls initializer(args...), a function as a pool's tasks
  /// are: `manager.Pool({.processes = 2}, mp::by_name<prepare>, 7)`. Keep the
  /// proxies among the arguments while the pool has workers to start.
  template <class Initializer, class... Args>
  [[nodiscard]] PoolProxy Pool(const ManagerPoolOptions& options, Initializer,
                               const Args&... args) const {
    detail::require_stateless<Initializer>();
    using Task = detail::ApplyAsTask<Initializer, detail::Stored<Args>...>;
    return make<PoolProxy>("Pool", [&](Encoder& out) {
      encode(out, options);
      out.text(detail::applied_name<Task>());
      detail::put_item<detail::Stored<Args>...>(out, args...);
    });
  }
  template <class Initializer, class... Args>
  [[nodiscard]] PoolProxy Pool(int processes, Initializer initializer, const Args&... args) const {
    return Pool(ManagerPoolOptions{.processes = processes}, initializer, args...);
  }

 private:
  template <class Proxy, class T, class Values>
  [[nodiscard]] Proxy sequence(const char* type_id, const Values& values) const {
    return make<Proxy>(type_id, [&](Encoder& out) {
      out.number(detail::signature<T>);
      out.number<std::uint64_t>(std::ranges::size(values));
      for (const auto& value : values) detail::put_element<T>(out, value, server());
    });
  }
  template <class T>
  [[nodiscard]] QueueProxy<T> queue(const char* type_id, std::int64_t maxsize) const {
    return make<QueueProxy<T>>(type_id, [&](Encoder& out) {
      out.number(detail::signature<T>);
      out.number(maxsize);
    });
  }
  [[nodiscard]] ConditionProxy condition_on(const BaseProxy& lock) const;
};

/// A SyncManager that has started. Python: multiprocessing.Manager().
[[nodiscard]] SyncManager Manager(ManagerOptions options = {});

}  // namespace mp
