// Lists, arrays and single values: elements as bytes, which nobody here reads.

#include <algorithm>
#include <cstdint>
#include <utility>

#include "manager_objects.hpp"

namespace mp::detail {

namespace {

// A few bytes from a client must not take all memory there is.
constexpr std::uint64_t max_multiplied = std::uint64_t{1} << 24;

class ListObject final : public ManagedObject {
 public:
  ListObject(ListUse use, std::uint64_t signature, std::vector<Element> elements)
      : ManagedObject(use == ListUse::list    ? "list"
                      : use == ListUse::array ? "Array"
                                              : "Value",
                      signature),
        fixed_(use != ListUse::list),
        elements_(std::move(elements)) {}

  void call(std::string_view method, Call& call) override {
    static const Methods<ListObject> reading_and_setting{
        {"get", &ListObject::get},
        {"set", &ListObject::set},
        {"len", &ListObject::len},
        {"copy", &ListObject::copy},
        {"slice", &ListObject::slice},
        {"set_slice", &ListObject::set_slice},
        {"get_many", &ListObject::get_many},
        {"calculate", &ListObject::calculate},
        {"apply_item", &ListObject::apply_item},
        {"index", &ListObject::index},
        {"count", &ListObject::count},
    };
    static const Methods<ListObject> changing_size{
        {"append", &ListObject::append},     {"extend", &ListObject::extend},
        {"insert", &ListObject::insert},     {"pop", &ListObject::pop},
        {"remove", &ListObject::remove},     {"erase", &ListObject::erase},
        {"reverse", &ListObject::reverse},   {"clear", &ListObject::clear},
        {"multiply", &ListObject::multiply}, {"apply", &ListObject::apply},
    };
    if (!fixed_ && changing_size.contains(method)) {
      return call_method(*this, changing_size, method, call);
    }
    call_method(*this, reading_and_setting, method, call);
  }

  std::string text() const override { return "len=" + std::to_string(elements_.size()); }

 private:
  struct Range {
    std::ptrdiff_t start;
    std::ptrdiff_t stop;
  };
  // As Python cuts a slice: anything goes, and is cut to what there is.
  Range range(Call& call) const {
    const auto size = static_cast<std::int64_t>(elements_.size());
    const auto bound = [&](std::int64_t at) {
      return static_cast<std::ptrdiff_t>(
          std::clamp<std::int64_t>(at < 0 ? at + size : at, 0, size));
    };
    const auto start = bound(call.args().number<std::int64_t>());
    const auto stop = bound(call.args().number<std::int64_t>());
    return {start, std::max(start, stop)};
  }
  Element& at(Call& call, const char* what = "list") {
    return elements_[call.index(elements_.size(), what)];
  }

  void get(Call& call) { call.give(at(call)); }
  void set(Call& call) {
    Element& place = at(call, "list assignment");
    place = call.element();
  }
  void len(Call& call) { call.result().number<std::uint64_t>(elements_.size()); }
  void copy(Call& call) { call.give(elements_); }

  void slice(Call& call) {
    const Range part = range(call);
    call.result().number<std::uint64_t>(static_cast<std::uint64_t>(part.stop - part.start));
    for (auto i = part.start; i < part.stop; ++i) {
      call.give(elements_[static_cast<std::size_t>(i)]);
    }
  }

  void set_slice(Call& call) {
    const Range part = range(call);
    auto with = call.elements();
    const auto begin = elements_.begin() + part.start;
    if (fixed_ && static_cast<std::ptrdiff_t>(with.size()) != part.stop - part.start) {
      throw ValueError("an array keeps its size");
    }
    const auto place = elements_.erase(begin, elements_.begin() + part.stop);
    elements_.insert(place, std::make_move_iterator(with.begin()),
                     std::make_move_iterator(with.end()));
  }

  void get_many(Call& call) {
    const std::size_t count = call.args().count(sizeof(std::int64_t));
    call.result().number<std::uint64_t>(count);
    for (std::size_t i = 0; i < count; ++i) call.give(at(call));
  }

  void calculate(Call& call) { call.calculate(at(call)); }

  void apply_item(Call& call) {
    Element& place = at(call);
    Encoder value;
    put(value, place);
    Decoder changed(call.apply(AppliedTo::element, signature(), nullptr, value).view());
    place = call.element(changed);
  }

  void apply(Call& call) {
    Encoder value;
    value.number<std::uint64_t>(elements_.size());
    for (const Element& element : elements_) put(value, element);
    Decoder changed(call.apply(AppliedTo::list, signature(), nullptr, value).view());
    elements_ = call.elements(changed);
  }

  // -1 if there is none.
  void index(Call& call) {
    const Range part = range(call);
    const Element wanted = call.element();
    const auto end = elements_.begin() + part.stop;
    const auto found = std::find(elements_.begin() + part.start, end, wanted);
    call.result().number<std::int64_t>(found == end ? -1 : found - elements_.begin());
  }
  void count(Call& call) {
    const Element wanted = call.element();
    call.result().number<std::uint64_t>(
        static_cast<std::uint64_t>(std::count(elements_.begin(), elements_.end(), wanted)));
  }

  void append(Call& call) { elements_.push_back(call.element()); }
  void extend(Call& call) {
    auto more = call.elements();
    elements_.insert(elements_.end(), std::make_move_iterator(more.begin()),
                     std::make_move_iterator(more.end()));
  }
  void insert(Call& call) {
    const auto size = static_cast<std::int64_t>(elements_.size());
    auto at = call.args().number<std::int64_t>();
    at = std::clamp<std::int64_t>(at < 0 ? at + size : at, 0, size);
    elements_.insert(elements_.begin() + at, call.element());
  }
  void pop(Call& call) {
    if (elements_.empty()) throw IndexError("pop from empty list");
    const std::size_t at = call.index(elements_.size(), "pop");
    call.give(elements_[at]);
    elements_.erase(elements_.begin() + static_cast<std::ptrdiff_t>(at));
  }
  void remove(Call& call) {
    const auto found = std::find(elements_.begin(), elements_.end(), call.element());
    if (found == elements_.end()) throw ValueError("list.remove(x): x not in list");
    elements_.erase(found);
  }
  void erase(Call& call) {
    const Range part = range(call);
    elements_.erase(elements_.begin() + part.start, elements_.begin() + part.stop);
  }
  void reverse(Call&) { std::reverse(elements_.begin(), elements_.end()); }
  void clear(Call&) { elements_.clear(); }
  void multiply(Call& call) {
    const auto times = std::max<std::int64_t>(call.args().number<std::int64_t>(), 0);
    const std::size_t size = elements_.size();
    if (size != 0 && static_cast<std::uint64_t>(times) > max_multiplied / size) {
      throw ValueError("a list of more than 2^24 elements by one multiplication");
    }
    if (times == 0) elements_.clear();
    elements_.reserve(size * static_cast<std::size_t>(times));
    for (std::int64_t i = 1; i < times; ++i) {
      for (std::size_t j = 0; j < size; ++j) elements_.push_back(elements_[j].copy());
    }
  }

  bool fixed_;
  std::vector<Element> elements_;
};

}  // namespace

ObjectPtr make_list(ListUse use, std::uint64_t signature, std::vector<Element> elements) {
  return ManagedObject::make<ListObject>(use, signature, std::move(elements));
}

}  // namespace mp::detail
