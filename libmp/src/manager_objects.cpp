#include "manager_objects.hpp"

#include <cstring>
#include <utility>

#include "manager_server.hpp"
#include "mp/detail/callable.hpp"

namespace mp::detail {

// --- Blob --------------------------------------------------------------------

char* Blob::room(std::size_t size) {
  release();
  size_ = 0;
  if (size <= inline_.size()) {
    size_ = static_cast<std::uint32_t>(size);
    return inline_.data();
  }
  char* memory = new char[size];
  size_ = static_cast<std::uint32_t>(size);
  std::memcpy(inline_.data() + 4, &memory, sizeof memory);
  return memory;
}

Blob Blob::read(Decoder& in, std::size_t size) {
  if (size > in.left()) Decoder::truncated();
  Blob blob;
  in.bytes(blob.room(size), size);
  return blob;
}

Element Element::copy() const {
  return {bytes.copy(),
          references ? std::make_unique<std::vector<ObjectPtr>>(*references) : nullptr};
}

// --- ManagedObject -----------------------------------------------------------

void ManagedObject::enter(const std::shared_ptr<ObjectTable>& table) {
  if (table_ == table) return;
  table_ = table;
  id_ = ++table->last_id;
  table->by_id.emplace(id_, weak_from_this());
}

void ManagedObject::destroy(ManagedObject* object) {
  thread_local std::vector<ManagedObject*>* waiting = nullptr;
  if (waiting != nullptr) {
    waiting->push_back(object);
    return;
  }
  std::vector<ManagedObject*> all{object};
  waiting = &all;
  while (!all.empty()) {
    object = all.back();
    all.pop_back();
    if (object->table_) object->table_->by_id.erase(object->id_);
    delete object;
  }
  waiting = nullptr;
}

// --- numbers -----------------------------------------------------------------

namespace {

template <class T>
T calculated(T value, char operation, T operand) {
  // Unsigned: two's complement all round, and no overflow to be undefined.
  using Wide = std::conditional_t<std::is_floating_point_v<T>, T, std::uint64_t>;
  const auto a = static_cast<Wide>(value);
  const auto b = static_cast<Wide>(operand);
  switch (operation) {
    case '+':
      return static_cast<T>(a + b);
    case '-':
      return static_cast<T>(a - b);
    case '*':
      return static_cast<T>(a * b);
    default:
      throw ValueError("an operation that is not +, - or *");
  }
}

template <class T>
Blob calculate_as(const Blob& value, char operation, Decoder& args) {
  const auto bytes = value.view();
  if (bytes.size() != sizeof(T)) throw TypeError("the value is no number of that type");
  T number;
  std::memcpy(&number, bytes.data(), sizeof number);
  number = calculated(number, operation, args.number<T>());
  return Blob({reinterpret_cast<const char*>(&number), sizeof number});
}

}  // namespace

void Call::calculate(Element& value) {
  const auto kind = args_.number<NumberKind>();
  const auto operation = args_.number<char>();
  const auto with = [&]<class T>(std::type_identity<T>) {
    value.bytes = calculate_as<T>(value.bytes, operation, args_);
  };
  switch (kind) {
    case NumberKind::i8:
      with(std::type_identity<std::int8_t>());
      break;
    case NumberKind::i16:
      with(std::type_identity<std::int16_t>());
      break;
    case NumberKind::i32:
      with(std::type_identity<std::int32_t>());
      break;
    case NumberKind::i64:
      with(std::type_identity<std::int64_t>());
      break;
    case NumberKind::u8:
      with(std::type_identity<std::uint8_t>());
      break;
    case NumberKind::u16:
      with(std::type_identity<std::uint16_t>());
      break;
    case NumberKind::u32:
      with(std::type_identity<std::uint32_t>());
      break;
    case NumberKind::u64:
      with(std::type_identity<std::uint64_t>());
      break;
    case NumberKind::f32:
      with(std::type_identity<float>());
      break;
    case NumberKind::f64:
      with(std::type_identity<double>());
      break;
    default:
      throw TypeError("no kind of number");
  }
  give(value);
}

// --- objects of registered types ---------------------------------------------

namespace {

class UserObject final : public ManagedObject {
 public:
  UserObject(std::string kind, std::uint64_t signature, std::vector<MethodEntry> methods,
             std::shared_ptr<void> object)
      : ManagedObject(std::move(kind), signature),
        methods_(std::move(methods)),
        object_(std::move(object)) {}

  void call(std::string_view method, Call& call) override {
    if (method == "apply") {
      call.apply(AppliedTo::object, signature(), object_.get(), {});
      return;
    }
    for (const MethodEntry& entry : methods_) {
      if (entry.name != method) continue;
      Encoder result;
      entry.run(object_.get(), call.args(), result);
      Decoder out(result.view());
      call.result().number(out.number<std::uint64_t>());
      if (out.left() != 0) call.give(call.element(out));
      return;
    }
    throw AttributeError("'" + kind() + "' has no exposed method '" + std::string(method) + "'");
  }

  std::string text() const override { return {}; }

 private:
  std::vector<MethodEntry> methods_;
  std::shared_ptr<void> object_;
};

}  // namespace

std::shared_ptr<ManagedObject> make_user_object(std::string kind, std::uint64_t signature,
                                                std::vector<MethodEntry> methods,
                                                std::shared_ptr<void> object) {
  return ManagedObject::make<UserObject>(std::move(kind), signature, std::move(methods),
                                         std::move(object));
}

void wrong_arguments(const char* what) {
  throw TypeError(std::string("the method ") + what +
                  ": as its declaration has them, to the last type");
}

// --- registries --------------------------------------------------------------

void TypeEntry::pickle(Encoder& out) const {
  if (kind == Kind::callable) {
    throw PicklingError(
        "a registered callable can be had by a server that is forked or in this process only");
  }
  out(kind, signature, methods, create != nullptr);
  if (create != nullptr) encode(out, create);
}

TypeEntry TypeEntry::unpickle(Decoder& in) {
  TypeEntry entry;
  in(entry.kind, entry.signature, entry.methods);
  if (decode<bool>(in)) entry.create = decode<decltype(entry.create)>(in);
  return entry;
}

// --- built-in objects ----------------------------------------------------------

ObjectPtr make_builtin(std::string_view kind, Call& call) {
  Decoder& in = call.args();
  if (kind == "list" || kind == "Array" || kind == "Value") {
    const auto use = kind == "list"    ? ListUse::list
                     : kind == "Array" ? ListUse::array
                                       : ListUse::value;
    const auto signature = in.number<std::uint64_t>();
    return make_list(use, signature, call.elements());
  }
  if (kind == "dict" || kind == "set" || kind == "Namespace") {
    const auto signature = in.number<std::uint64_t>();
    return make_dict(std::string(kind), signature, in.number<std::uint64_t>());
  }
  if (kind == "Queue" || kind == "JoinableQueue") {
    const auto signature = in.number<std::uint64_t>();
    return make_queue(std::string(kind), signature, in.number<std::int64_t>());
  }
  if (kind == "Lock") return make_lock(false);
  if (kind == "RLock") return make_lock(true);
  if (kind == "Semaphore") return make_semaphore(in.number<std::int64_t>(), false);
  if (kind == "BoundedSemaphore") return make_semaphore(in.number<std::int64_t>(), true);
  if (kind == "Condition") return make_condition(call.object());
  if (kind == "Event") return make_event();
  if (kind == "Barrier") return make_barrier(in.number<std::int64_t>());
  if (kind == "Pool") return make_pool(call);
  if (kind == "SharedMemory") return make_segment(in.number<std::int64_t>());
  return nullptr;
}

}  // namespace mp::detail
