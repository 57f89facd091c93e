#include "mp/pickle.hpp"

#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>

namespace mp {

void Encoder::grow(std::size_t more) {
  const std::size_t wanted = std::max(size_ + more, capacity_ * 2);
  auto larger = std::make_unique_for_overwrite<std::byte[]>(wanted);
  if (size_ != 0) std::memcpy(larger.get(), data_, size_);
  heap_ = std::move(larger);
  data_ = heap_.get();
  capacity_ = wanted;
}

void Encoder::too_deep() { throw PicklingError("cannot pickle: values are nested too deeply"); }

void Encoder::clear() noexcept {
  size_ = 0;
  attachments_.reset();
}

void Encoder::clear(std::span<std::byte> memory) noexcept {
  clear();
  heap_.reset();
  data_ = memory.data();
  capacity_ = memory.size();
}

Encoder::Attachments& Encoder::attachments() {
  if (attachments_ == nullptr) attachments_ = std::make_unique<Attachments>();
  return *attachments_;
}

void Encoder::descriptor(int fd) {
  auto& fds = attachments().fds;
  fds.push_back(detail::UniqueFd::duplicate(fd));
  number(static_cast<std::uint32_t>(fds.size() - 1));
}

void Encoder::shared_descriptor(int fd, const void* owner) {
  auto& [fds, shared_fds, kept] = attachments();
  for (const auto& [known, index] : shared_fds) {
    if (known == owner) return number(index);
  }
  descriptor(fd);
  shared_fds.emplace_back(owner, static_cast<std::uint32_t>(fds.size() - 1));
}

int Decoder::shared_descriptor() {
  const auto index = number<std::uint32_t>();
  if (index >= fds_.size() || !fds_[index]) malformed("a descriptor that did not come along");
  return fds_[index].get();
}

detail::UniqueFd Decoder::descriptor() {
  const auto index = number<std::uint32_t>();
  if (index >= fds_.size() || !fds_[index]) malformed("a descriptor that did not come along");
  return std::move(fds_[index]);
}

void Decoder::truncated() { throw PicklingError("cannot unpickle: the bytes end too early"); }

void Decoder::malformed(const char* what) {
  throw PicklingError(std::string("cannot unpickle: ") + what);
}

// --- places in the code ------------------------------------------------------
//
// An address means nothing in another process: the system loads each image
// where it likes. What is the same in both is the image's name and the offset
// in it, provided that both run the same build, which its build id (or, built
// without one, its program headers) tells.

namespace {

struct Image {
  std::string name;  // Empty: the executable itself.
  const std::byte* base = nullptr;
  std::uint64_t build = 0;
};

std::uint64_t hash_bytes(const void* data, std::size_t size) {
  std::uint64_t hash = 14695981039346656037U;
  const auto* bytes = static_cast<const unsigned char*>(data);
  for (std::size_t i = 0; i < size; ++i) hash = (hash ^ bytes[i]) * 1099511628211U;
  return hash;
}

std::uint64_t build_of(const dl_phdr_info& info) {
  for (int i = 0; i < info.dlpi_phnum; ++i) {
    const auto& header = info.dlpi_phdr[i];
    if (header.p_type != PT_NOTE) continue;
    const auto* at = reinterpret_cast<const char*>(info.dlpi_addr + header.p_vaddr);
    const auto* end = at + header.p_memsz;
    while (at + sizeof(ElfW(Nhdr)) <= end) {
      ElfW(Nhdr) note;
      std::memcpy(&note, at, sizeof note);
      const char* name = at + sizeof note;
      const char* description = name + ((note.n_namesz + 3U) & ~3U);
      if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
          std::memcmp(name, "GNU", 4) == 0) {
        return hash_bytes(description, note.n_descsz);
      }
      at = description + ((note.n_descsz + 3U) & ~3U);
    }
  }
  return hash_bytes(info.dlpi_phdr, info.dlpi_phnum * sizeof(ElfW(Phdr)));
}

bool contains(const dl_phdr_info& info, const void* address) {
  const auto where = reinterpret_cast<ElfW(Addr)>(address) - info.dlpi_addr;
  return std::any_of(info.dlpi_phdr, info.dlpi_phdr + info.dlpi_phnum, [&](const auto& header) {
    return header.p_type == PT_LOAD && (header.p_flags & PF_X) != 0 && where >= header.p_vaddr &&
           where < header.p_vaddr + header.p_memsz;
  });
}

template <class Predicate>
std::optional<Image> find_image(Predicate matches) {
  struct Search {
    Predicate& matches;
    std::optional<Image> found;
  } search{matches, {}};
  ::dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* data) {
        auto& self = *static_cast<Search*>(data);
        if (!self.matches(*info)) return 0;
        self.found = Image{info->dlpi_name, reinterpret_cast<const std::byte*>(info->dlpi_addr),
                           build_of(*info)};
        return 1;
      },
      &search);
  return search.found;
}

// The executable never changes, and nearly all functions are in it: its image
// is looked for once.
struct Executable {
  Image image;
  const std::byte* begin = nullptr;  // Its code.
  const std::byte* end = nullptr;

  [[nodiscard]] bool has(const void* address) const { return address >= begin && address < end; }
};

const Executable& executable() {
  static const Executable found = [] {
    Executable self;
    const auto image = find_image([&](const dl_phdr_info& info) {
      if (*info.dlpi_name != '\0') return false;
      for (const auto& header : std::span(info.dlpi_phdr, info.dlpi_phnum)) {
        if (header.p_type != PT_LOAD || (header.p_flags & PF_X) == 0) continue;
        self.begin = reinterpret_cast<const std::byte*>(info.dlpi_addr + header.p_vaddr);
        self.end = self.begin + header.p_memsz;
      }
      return true;
    });
    if (image) self.image = *image;
    return self;
  }();
  return found;
}

}  // namespace

void Encoder::code(const void* address) {
  const auto place = [&](const Image& image) {
    text(image.name);
    number(image.build);
    number(static_cast<std::uint64_t>(static_cast<const std::byte*>(address) - image.base));
  };
  if (const Executable& self = executable(); self.has(address)) {
    // The same with a name of no length, in one piece: it stands twice in each task.
    const std::array<std::uint64_t, 3> at{
        0, self.image.build,
        static_cast<std::uint64_t>(static_cast<const std::byte*>(address) - self.image.base)};
    return bytes(at.data(), sizeof at);
  }
  const auto image = find_image([&](const dl_phdr_info& info) { return contains(info, address); });
  if (!image) throw PicklingError("cannot pickle a function that is in no loaded image");
  place(*image);
}

const void* Decoder::code() {
  if (!code_allowed_) malformed("a function from another program");
  const auto name_bytes = take(count(1));
  const std::string_view name(reinterpret_cast<const char*>(name_bytes.data()), name_bytes.size());
  const auto build = number<std::uint64_t>();
  const auto offset = number<std::uint64_t>();
  const Executable& self = executable();
  const std::byte* in_executable = self.image.base + offset;
  if (name.empty() && build == self.image.build && self.has(in_executable)) return in_executable;
  const void* address = nullptr;
  const auto image = find_image([&](const dl_phdr_info& info) {
    address = reinterpret_cast<const void*>(info.dlpi_addr + offset);
    return name == info.dlpi_name && contains(info, address);
  });
  if (!image) malformed("a function of an image that is not loaded here");
  if (image->build != build) malformed("a function of another build of this program");
  return address;
}

}  // namespace mp
