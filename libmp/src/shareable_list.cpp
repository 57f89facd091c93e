#include <algorithm>
#include <cstring>
#include <limits>

#include "mp/shared_memory.hpp"

namespace mp {

/// The memory of a list: this header, a slot for each item, then their data.
/// Read as bytes from outside: every place is held against the size.
struct ShareableList::Slot {
  std::uint64_t offset;    ///< Of the data, from the start of the memory.
  std::uint32_t capacity;  ///< Room for data, fixed when the list is made.
  std::uint32_t length;
  std::uint64_t kind;  ///< Which alternative of ShareableItem.
};

namespace {

struct Header {
  std::uint64_t magic;
  std::uint64_t count;
};
constexpr std::uint64_t list_magic = 0x31747369'6c2d706d;  // "mp-list1"
constexpr std::size_t number_room = 8;

template <class... Fs>
struct Overloaded : Fs... {
  using Fs::operator()...;
};
template <class... Fs>
Overloaded(Fs...) -> Overloaded<Fs...>;

std::span<const std::byte> data_of(const ShareableItem& item) {
  return std::visit(
      Overloaded{[](const std::monostate&) { return std::span<const std::byte>(); },
                 [](const std::string& text) { return std::as_bytes(std::span(text)); },
                 [](const std::vector<std::byte>& bytes) { return std::span(bytes); },
                 [](const auto& number) { return std::as_bytes(std::span(&number, 1)); }},
      item);
}

// As Python rounds: room for at least one byte more.
std::size_t capacity_for(const ShareableItem& item) {
  const bool sized = item.index() >= 4;
  return sized ? (data_of(item).size() / 8 + 1) * 8 : number_room;
}

template <class T>
T number_from(std::span<const std::byte> data) {
  T value{};
  std::memcpy(&value, data.data(), std::min(data.size(), sizeof value));
  return value;
}

ShareableItem item_from(std::uint64_t kind, std::span<const std::byte> data) {
  switch (kind) {
    case 0:
      return std::monostate();
    case 1:
      return !data.empty() && data[0] != std::byte{0};
    case 2:
      return number_from<std::int64_t>(data);
    case 3:
      return number_from<double>(data);
    case 4:
      return std::string(reinterpret_cast<const char*>(data.data()), data.size());
    case 5:
      return std::vector<std::byte>(data.begin(), data.end());
    default:
      throw ValueError("the shared memory holds no list");
  }
}

std::string text_of(const ShareableItem& item) {
  const auto quoted = [](std::span<const std::byte> data) {
    std::string text = "'";
    for (const std::byte byte : data) {
      const auto c = static_cast<char>(byte);
      if (c == '\'' || c == '\\') {
        text += '\\';
        text += c;
      } else if (static_cast<unsigned char>(c) < 0x20) {
        text += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
      } else {
        text += c;
      }
    }
    return text + '\'';
  };
  return std::visit(
      Overloaded{[](const std::monostate&) { return std::string("None"); },
                 [](bool value) { return std::string(value ? "True" : "False"); },
                 [&](const std::string&) { return quoted(data_of(item)); },
                 [&](const std::vector<std::byte>&) { return 'b' + quoted(data_of(item)); },
                 [](const auto& number) { return fmt::format("{}", number); }},
      item);
}

}  // namespace

std::size_t ShareableList::size_for(const std::vector<ShareableItem>& items) {
  std::size_t size = sizeof(Header) + items.size() * sizeof(Slot);
  for (const auto& item : items) {
    if (data_of(item).size() > std::numeric_limits<std::uint32_t>::max() - 8) {
      throw ValueError("an item of 4 GiB or more does not fit a list");
    }
    size += capacity_for(item);
  }
  return size;
}

ShareableList::ShareableList(const std::vector<ShareableItem>& items, const std::string& name)
    : ShareableList(
          SharedMemory(
              {.name = name, .create = true, .size = static_cast<std::ptrdiff_t>(size_for(items))}),
          items) {}

ShareableList::ShareableList(SharedMemory memory, const std::vector<ShareableItem>& items)
    : memory_(std::move(memory)) {
  if (memory_.buf().size() < size_for(items)) throw ValueError("the shared memory is too small");
  std::byte* const start = memory_.buf().data();
  auto* slots = reinterpret_cast<Slot*>(start + sizeof(Header));
  std::uint64_t offset = sizeof(Header) + items.size() * sizeof(Slot);
  for (std::size_t i = 0; i < items.size(); ++i) {
    const auto data = data_of(items[i]);
    slots[i] = {offset, static_cast<std::uint32_t>(capacity_for(items[i])),
                static_cast<std::uint32_t>(data.size()), items[i].index()};
    if (!data.empty()) std::memcpy(start + offset, data.data(), data.size());
    offset += slots[i].capacity;
  }
  *reinterpret_cast<Header*>(start) = {list_magic, items.size()};
}

ShareableList::ShareableList(SharedMemory memory) : memory_(std::move(memory)) {
  const auto bytes = memory_.buf();
  const auto* header = reinterpret_cast<const Header*>(bytes.data());
  if (bytes.size() < sizeof(Header) || header->magic != list_magic ||
      header->count > (bytes.size() - sizeof(Header)) / sizeof(Slot)) {
    throw ValueError("the shared memory holds no list");
  }
}

ShareableList ShareableList::attach(const std::string& name) {
  return ShareableList(SharedMemory({.name = name}));
}

ShareableList ShareableList::unpickle(Decoder& in) {
  return ShareableList(SharedMemory::unpickle(in));
}

std::size_t ShareableList::size() const noexcept {
  const auto bytes = memory_.buf();
  return bytes.empty() ? 0 : reinterpret_cast<const Header*>(bytes.data())->count;
}

ShareableList::Slot& ShareableList::slot(std::ptrdiff_t index, const char* message) const {
  const auto count = static_cast<std::ptrdiff_t>(size());
  if (index < 0) index += count;
  if (index < 0 || index >= count) throw IndexError(message);
  return reinterpret_cast<Slot*>(memory_.buf().data() + sizeof(Header))[index];
}

std::span<std::byte> ShareableList::checked_data(const Slot& slot) const {
  const auto bytes = memory_.buf();
  if (slot.offset > bytes.size() || slot.capacity > bytes.size() - slot.offset) {
    throw ValueError("the shared memory holds no list");
  }
  return bytes.subspan(slot.offset, slot.capacity);
}

ShareableItem ShareableList::get(std::ptrdiff_t index) const {
  const Slot& from = slot(index, "index out of range");
  const auto data = checked_data(from);
  return item_from(from.kind, data.first(std::min<std::size_t>(from.length, data.size())));
}

void ShareableList::set(std::ptrdiff_t index, const ShareableItem& item) const {
  Slot& to = slot(index, "assignment index out of range");
  const auto data = data_of(item);
  const auto room = checked_data(to);
  if (data.size() > room.size()) throw ValueError("bytes/str item exceeds available storage");
  if (!data.empty()) std::memcpy(room.data(), data.data(), data.size());
  to.length = static_cast<std::uint32_t>(data.size());
  to.kind = item.index();
}

std::vector<ShareableItem> ShareableList::to_vector() const {
  std::vector<ShareableItem> items;
  for (std::size_t i = 0; i < size(); ++i) items.push_back(get(static_cast<std::ptrdiff_t>(i)));
  return items;
}

std::size_t ShareableList::count(const ShareableItem& item) const {
  const auto items = to_vector();
  return static_cast<std::size_t>(std::count(items.begin(), items.end(), item));
}

std::size_t ShareableList::index(const ShareableItem& item) const {
  const auto items = to_vector();
  const auto found = std::find(items.begin(), items.end(), item);
  if (found == items.end()) throw ValueError(text_of(item) + " not in this container");
  return static_cast<std::size_t>(found - items.begin());
}

std::string ShareableList::repr() const {
  std::string text = "ShareableList([";
  for (const auto& item : to_vector()) {
    if (!text.ends_with('[')) text += ", ";
    text += text_of(item);
  }
  return text + fmt::format("], name='{}')", memory_.name());
}

}  // namespace mp
