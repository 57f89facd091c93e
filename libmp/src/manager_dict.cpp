// Dicts, sets and namespaces: keys and elements as bytes, which nobody here
// reads.

#include <cstdint>
#include <optional>
#include <utility>

#include "manager_objects.hpp"
#include "manager_table.hpp"

namespace mp::detail {

namespace {

class DictObject final : public ManagedObject {
 public:
  DictObject(std::string kind, std::uint64_t signature, std::uint64_t value_signature)
      : ManagedObject(std::move(kind), signature), value_signature_(value_signature) {}

  void call(std::string_view method, Call& call) override {
    static const Methods<DictObject> methods{
        {"get", &DictObject::get},
        {"set", &DictObject::set},
        {"len", &DictObject::len},
        {"contains", &DictObject::contains},
        {"pop", &DictObject::pop},
        {"popitem", &DictObject::popitem},
        {"setdefault", &DictObject::setdefault},
        {"update", &DictObject::update},
        {"update_numbers", &DictObject::update_numbers},
        {"keys", &DictObject::keys},
        {"values", &DictObject::values},
        {"items", &DictObject::items},
        {"clear", &DictObject::clear},
        {"get_many", &DictObject::get_many},
        {"calculate", &DictObject::calculate},
        {"apply_item", &DictObject::apply_item},
        {"erase_many", &DictObject::erase_many},
        {"retain", &DictObject::retain},
        {"toggle", &DictObject::toggle},
    };
    call_method(*this, methods, method, call);
  }

  std::string text() const override { return "len=" + std::to_string(table_.size()); }

 private:
  Blob key(Call& call) { return std::move(call.element().bytes); }
  // Nothing, and an empty result, if there is no such key.
  std::optional<Place> find(Call& call) { return table_.find(key(call).view()); }
  void give_value(Call& call, Place place) {
    table_.with_value(place, [&](const Element& value) { call.give(value); });
  }
  void give_optional(Call& call, std::optional<Place> place) {
    call.result().number(place.has_value());
    if (place) give_value(call, *place);
  }
  void give_key(Call& call, Place place) {
    const auto bytes = table_.key(place);
    call.result().number(static_cast<std::uint32_t>(bytes.size()));
    call.result().bytes(bytes.data(), bytes.size());
  }
  Place require(Call& call) {
    const auto place = find(call);
    if (!place) throw KeyError("no such key");
    return *place;
  }

  void get(Call& call) { give_optional(call, find(call)); }
  void set(Call& call) {
    Blob where = key(call);
    table_.set(std::move(where), call.element());
  }
  void len(Call& call) { call.result().number<std::uint64_t>(table_.size()); }
  void contains(Call& call) { call.result().number(find(call).has_value()); }
  void pop(Call& call) {
    const auto place = find(call);
    give_optional(call, place);
    if (place) table_.erase(*place);
  }
  void popitem(Call& call) {
    if (table_.size() == 0) throw KeyError("popitem(): dictionary is empty");
    const Place place = table_.last();
    give_key(call, place);
    give_value(call, place);
    table_.erase(place);
  }
  void setdefault(Call& call) {
    Blob where = key(call);
    Element value = call.element();
    if (const auto place = table_.find(where.view())) return give_value(call, *place);
    call.give(value);
    table_.set(std::move(where), std::move(value));
  }
  void update(Call& call) {
    const std::size_t count = call.args().count(2 * sizeof(std::uint32_t));
    for (std::size_t i = 0; i < count; ++i) {
      if (i == 1) table_.reserve(count);  // By the first, it knows what they are like.
      set(call);
    }
  }
  // The same for numbers, which lie side by side without their lengths.
  void update_numbers(Call& call) {
    Decoder& in = call.args();
    const std::size_t key_size = in.number<std::uint8_t>();
    const std::size_t value_size = in.number<std::uint8_t>();
    if (key_size + value_size == 0) throw ValueError("numbers of no bytes");
    const auto rows = in.take(in.count(key_size + value_size) * (key_size + value_size));
    table_.set_numbers(rows, key_size, value_size, call.memory_of(rows));
  }
  void keys(Call& call) {
    call.result().number<std::uint64_t>(table_.size());
    table_.for_each([&](Place at) { give_key(call, at); });
  }
  void values(Call& call) {
    call.result().number<std::uint64_t>(table_.size());
    table_.for_each([&](Place at) { give_value(call, at); });
  }
  void items(Call& call) {
    call.result().number<std::uint64_t>(table_.size());
    table_.for_each([&](Place at) {
      give_key(call, at);
      give_value(call, at);
    });
  }
  void clear(Call&) { table_.clear(); }
  void get_many(Call& call) {
    const std::size_t count = call.args().count(sizeof(std::uint32_t));
    call.result().number<std::uint64_t>(count);
    for (std::size_t i = 0; i < count; ++i) give_optional(call, find(call));
  }
  // A set is a dict of nothing but keys; these are for its operators.
  void erase_many(Call& call) {
    for (const Element& each : call.elements()) {
      if (const auto place = table_.find(each.bytes.view())) table_.erase(*place);
    }
  }
  void retain(Call& call) {
    DictTable kept;
    for (Element& each : call.elements()) {
      if (table_.find(each.bytes.view())) kept.set(std::move(each.bytes), {});
    }
    table_ = std::move(kept);
  }
  void toggle(Call& call) {
    for (Element& each : call.elements()) {
      if (const auto place = table_.find(each.bytes.view())) {
        table_.erase(*place);
      } else {
        table_.set(std::move(each.bytes), {});
      }
    }
  }
  void calculate(Call& call) {
    table_.change(require(call), [&](Element& value) { call.calculate(value); });
  }
  void apply_item(Call& call) {
    table_.change(require(call), [&](Element& value) {
      Encoder before;
      put(before, value);
      Decoder changed(call.apply(AppliedTo::element, value_signature_, nullptr, before).view());
      value = call.element(changed);
    });
  }

  std::uint64_t value_signature_;
  DictTable table_;
};

}  // namespace

ObjectPtr make_dict(std::string kind, std::uint64_t signature, std::uint64_t value_signature) {
  return ManagedObject::make<DictObject>(std::move(kind), signature, value_signature);
}

}  // namespace mp::detail
