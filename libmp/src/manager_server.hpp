#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "handshake.hpp"
#include "manager_bytes.hpp"
#include "manager_errands.hpp"
#include "manager_objects.hpp"
#include "mp/detail/managed.hpp"
#include "mp/listener.hpp"
#include "mp/server_limits.hpp"
#include "private_fd.hpp"
#include "spin.hpp"

namespace mp::detail {

using Clock = std::chrono::steady_clock;

/// A client process, as far as references go.
struct Session {
  struct Held {
    ObjectPtr object;
    std::uint64_t count = 0;
  };
  std::uint64_t id = 0;
  std::size_t connections = 0;
  std::unordered_map<std::uint64_t, Held> references = {};
};

/// A connection: one thread of one client process.
struct ServerClient {
  PrivateFd socket = {};
  std::string who = {};                       // For the log.
  bool is_stranger = false;                   // Has not proved that it has the key.
  std::unique_ptr<Handshake> handshake = {};  // Until both have.
  std::list<ServerClient*>::iterator stranger = {};
  Clock::time_point came = {};
  Session* session = nullptr;          // From hello on.
  Bytes input = {};                    // A request that has not all arrived.
  std::vector<std::byte> output = {};  // A reply that the client has not taken yet.
  std::size_t output_sent = 0;
  std::uint32_t events = 0;  // What epoll was asked for.
  std::unique_ptr<Waiter> waiter = {};
  // Locks and units that go back when it ends. Holding one does not keep it.
  std::set<std::weak_ptr<ManagedObject>, std::owner_less<>> holds = {};
  bool gone = false;
};

void control_epoll(int epoll, int operation, int fd, std::uint32_t events, void* data);

/// The process that has a manager's objects, in one thread.
///
/// Invariants:
///   1. No client is waited for: sockets are non-blocking, and a client that
///      does not take its reply is not read from.
///   2. A stranger gets a challenge and nothing else; until it has answered,
///      no frame of it is longer than a handshake's. Strangers are few, each
///      for a limited time; when there are too many, others wait to be accepted.
///   3. What is parked has its Waiter in the client and in one WaitQueue.
///   4. Objects live while a session, an element, a lease or a callable has them,
///      or as long as the server if they say so.
class ObjectServer {
 public:
  ObjectServer(Address address, AuthenticationString authkey, Registry registry,
               ServerLimits limits);
  ObjectServer(const ObjectServer&) = delete;
  ObjectServer& operator=(const ObjectServer&) = delete;
  ~ObjectServer();

  /// Serves until a client or stop() asks for the end.
  void serve();
  /// From any thread, or a signal handler.
  void stop() noexcept;
  [[nodiscard]] const Address& address() const noexcept { return address_; }

  // --- for calls that run ---
  ObjectPtr find(std::uint64_t id) const;
  void refer(ServerClient& client, const ObjectPtr& object);
  void park(ServerClient& client, std::unique_ptr<Waiter> waiter);
  void cancel_timer(Waiter& waiter);
  void give_object(ServerClient& client, const ObjectPtr& object, const std::string& type_id,
                   Encoder& out);
  [[nodiscard]] const std::shared_ptr<Errands>& errands() const noexcept { return errands_; }
  [[nodiscard]] const ServerLimits& limits() const noexcept { return limits_; }
  /// The waiter's call is over; `reply` writes its result or throws. False:
  /// it is not over.
  bool finish(Waiter& waiter, const Call::Attempt& reply);

 private:
  struct Lease {
    ObjectPtr object;
    std::uint64_t session = 0;
  };

  void wait_for_events();
  void on_event(ServerClient& client, std::uint32_t events);
  void accept_some();
  bool accept_one();
  void meet(ServerClient& client);
  bool make_room();
  void accept_again_at(Clock::time_point time);
  void on_readable(ServerClient& client);
  void greet(ServerClient& client);
  void no_stranger(ServerClient& client);
  void read_on(ServerClient& client);
  void take_bytes(ServerClient& client, std::span<const std::byte> bytes);
  void take_request(ServerClient& client, std::span<const std::byte> bytes);
  void dispatch(ServerClient& client, Request request, Decoder& in, bool& parked);
  void hello(ServerClient& client, Decoder& in);
  void create(ServerClient& client, Decoder& in);
  void release(ServerClient& client, std::uint64_t id);
  void redeem(ServerClient& client, Decoder& in);
  std::string debug_info() const;
  ObjectPtr require(std::uint64_t id) const;
  void reply(ServerClient& client, const Encoder& result);
  void flush(ServerClient& client);
  void watch(ServerClient& client, std::uint32_t events);
  void refuse(ServerClient& client, std::string_view why);
  void drop(ServerClient& client);
  void give_back(ServerClient& client);
  void unpark(ServerClient& client);
  void end_session(Session& session);
  void run_timers();
  std::optional<Clock::time_point> next_timer() const;
  void bury();

  Address address_;
  const AuthenticationString authkey_;
  Registry registry_;
  const ServerLimits limits_;
  // First, so that it goes last: objects have errands at their end.
  std::shared_ptr<Errands> errands_ = std::make_shared<Errands>();
  PrivateFd listening_;
  PrivateFd stop_;
  PrivateFd epoll_;
  std::optional<Clock::time_point> accept_again_;  // Nobody is accepted before.
  bool accept_fails_ = false;                      // It has been logged.
  bool stopping_ = false;
  std::map<ServerClient*, std::unique_ptr<ServerClient>> clients_;
  std::vector<ServerClient*> gone_;     // With room for all: drop() shall not fail.
  std::list<ServerClient*> strangers_;  // The oldest first.
  std::unordered_map<std::uint64_t, Session> sessions_;
  std::unordered_map<std::uint64_t, Lease> leases_;
  std::uint64_t last_lease_ = 0;
  std::uint64_t requests_ = 0;
  std::multimap<Clock::time_point, std::uint64_t> lease_ends_;  // Whose senders have ended.
  std::set<std::pair<Clock::time_point, Waiter*>> timers_;
  std::shared_ptr<ObjectTable> objects_ = std::make_shared<ObjectTable>();
  std::vector<ObjectPtr> kept_;
  std::optional<Encoder> result_;
  std::vector<std::byte> buffer_;
  AdaptiveSpin spin_;
};

}  // namespace mp::detail
