// Named shared memory that a manager's server has made, and unlinks at its end.

#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>
#include <system_error>
#include <utility>

#include "manager_objects.hpp"
#include "mp/logging.hpp"
#include "mp/shared_memory_manager.hpp"

namespace mp {
namespace detail {

namespace {

class SegmentObject final : public ManagedObject {
 public:
  explicit SegmentObject(std::ptrdiff_t size)
      : ManagedObject("SharedMemory"), memory_({.create = true, .size = size}) {
    // Its users map it: here it would only keep the memory of what they unlink.
    memory_.close();
  }
  SegmentObject(const SegmentObject&) = delete;
  SegmentObject& operator=(const SegmentObject&) = delete;

  ~SegmentObject() override {
    try {
      memory_.unlink();
    } catch (const std::system_error& error) {
      // A user may have been earlier.
      if (error.code() == std::errc::no_such_file_or_directory) return;
      log(logging::error, "shared memory '{}' stays: {}", memory_.name(), error.what());
    }
  }

  void call(std::string_view method, Call& call) override {
    static const Methods<SegmentObject> methods{{"name", &SegmentObject::name}};
    call_method(*this, methods, method, call);
  }

  [[nodiscard]] bool lives_as_long_as_the_server() const override { return true; }
  [[nodiscard]] std::string text() const override { return memory_.repr(); }

 private:
  void name(Call& call) { call.result().text(memory_.name()); }

  SharedMemory memory_;
};

class SegmentProxy : public BaseProxy {
 public:
  explicit SegmentProxy(std::shared_ptr<ProxyState> state)
      : BaseProxy(std::move(state), {"SharedMemory"}, 0) {}
  [[nodiscard]] std::string name() const {
    auto call = request("name");
    return call.result().text();
  }
};

}  // namespace

ObjectPtr make_segment(std::int64_t size) { return ManagedObject::make<SegmentObject>(size); }

}  // namespace detail

SharedMemoryManager::SharedMemoryManager(ManagerOptions options)
    : BaseManager("SharedMemoryManager", std::move(options)) {
  add_builtin_types({"SharedMemory"});
}

SharedMemory SharedMemoryManager::SharedMemory(std::ptrdiff_t size) const {
  const auto segment = make<detail::SegmentProxy>(
      "SharedMemory", [&](Encoder& out) { out.number<std::int64_t>(size); });
  return mp::SharedMemory({.name = segment.name()});
}

ShareableList SharedMemoryManager::ShareableList(const std::vector<ShareableItem>& items) const {
  const auto size = mp::ShareableList::size_for(items);
  return mp::ShareableList(SharedMemory(static_cast<std::ptrdiff_t>(size)), items);
}

}  // namespace mp
