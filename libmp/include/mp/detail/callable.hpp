#pragma once

#include <memory>
#include <string>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>

#include "mp/pickle.hpp"

namespace mp::detail {

/// The name of a type as the source writes it.
std::string type_name(const std::type_info& type);

/// What a child is to do: a target and its arguments, of whatever types.
///
/// Under fork a task is just there. Under spawn and forkserver it travels as
/// the place of the function that can rebuild it, then its target and
/// arguments; the receiver is the same build of the same program.
class Task {
 public:
  using Reviver = std::unique_ptr<Task> (*)(Decoder&);

  Task() = default;
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;
  virtual ~Task() = default;
  /// Calls the target; once.
  virtual void run() = 0;
  /// Throws PicklingError if the target or an argument cannot cross.
  virtual void pickle(Encoder& out) const = 0;

  static std::unique_ptr<Task> unpickle(Decoder& in) {
    return reinterpret_cast<Reviver>(const_cast<void*>(in.code()))(in);
  }
};

/// Throws the PicklingError for a value of type T that cannot cross.
template <class T>
void require_picklable(const char* role) {
  if constexpr (!Picklable<T>) {
    throw PicklingError(std::string("cannot pickle the ") + role + " of type " +
                        type_name(typeid(T)) +
                        ": it has pointers, captures or members that no serialize() names; only "
                        "a forked child, which inherits it, can have it");
  }
}

template <class Target, class... Args>
class BoundTask final : public Task {
 public:
  explicit BoundTask(Target target, Args... args)
      : target_(std::move(target)), args_(std::move(args)...) {}

  void run() override { std::apply(std::move(target_), std::move(args_)); }

  void pickle(Encoder& out) const override {
    require_picklable<Target>("target");
    (require_picklable<Args>("argument"), ...);
    if constexpr (Picklable<Target> && (Picklable<Args> && ...)) {
      out.code(reinterpret_cast<const void*>(static_cast<Reviver>(&revive)));
      encode(out, target_);
      encode(out, args_);
    }
  }

 private:
  static std::unique_ptr<Task> revive(Decoder& in) {
    if constexpr (Picklable<Target> && (Picklable<Args> && ...)) {
      auto target = decode<Target>(in);
      return std::apply(
          [&](Args&&... args) {
            return std::make_unique<BoundTask>(std::move(target), std::move(args)...);
          },
          decode<std::tuple<Args...>>(in));
    } else {
      return nullptr;
    }
  }

  Target target_;
  std::tuple<Args...> args_;
};

/// Keeps target and arguments as std::thread does, except that a text
/// literal is kept as a std::string where the target takes one.
template <class Target, class... Args>
std::unique_ptr<Task> make_task(Target&& target, Args&&... args) {
  using Kept = std::decay_t<Target>;
  if constexpr (std::is_invocable_v<Kept, Stored<Args>...>) {
    return std::make_unique<BoundTask<Kept, Stored<Args>...>>(std::forward<Target>(target),
                                                              std::forward<Args>(args)...);
  } else {
    static_assert(std::is_invocable_v<Kept, std::decay_t<Args>...>,
                  "mp: the target cannot be called with these arguments");
    return std::make_unique<BoundTask<Kept, std::decay_t<Args>...>>(std::forward<Target>(target),
                                                                    std::forward<Args>(args)...);
  }
}

}  // namespace mp::detail
