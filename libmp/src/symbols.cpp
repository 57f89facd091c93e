// The name of a function, for error texts: from the executable's own table of
// symbols, as the loader knows only what is exported.

#include "symbols.hpp"

#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string_view>

#include "mp/detail/os.hpp"

namespace mp::detail {

namespace {

std::string demangled(const char* name) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> text(
      abi::__cxa_demangle(name, nullptr, nullptr, &status), std::free);
  return status == 0 ? text.get() : name;
}

class MappedFile {
 public:
  explicit MappedFile(const char* path) {
    const UniqueFd fd(::open(path, O_RDONLY | O_CLOEXEC));
    struct stat info {};
    if (!fd || ::fstat(fd.get(), &info) != 0) return;
    void* data = ::mmap(nullptr, static_cast<std::size_t>(info.st_size), PROT_READ, MAP_PRIVATE,
                        fd.get(), 0);
    if (data == MAP_FAILED) return;
    bytes_ = {static_cast<const std::byte*>(data), static_cast<std::size_t>(info.st_size)};
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile() {
    if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  }
  /// `count` objects at `offset`; empty if the file does not have them.
  template <class T>
  [[nodiscard]] std::span<const T> objects(std::size_t offset, std::size_t count) const {
    if (offset > bytes_.size() || count > (bytes_.size() - offset) / sizeof(T)) return {};
    return {reinterpret_cast<const T*>(bytes_.data() + offset), count};
  }

 private:
  std::span<const std::byte> bytes_;
};

// Where the executable was loaded, which its symbols' values are relative to.
std::uintptr_t load_address() {
  std::uintptr_t base = 0;
  ::dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* data) {
        *static_cast<std::uintptr_t*>(data) = info->dlpi_addr;
        return 1;  // The executable comes first.
      },
      &base);
  return base;
}

std::string find_in_executable(std::uintptr_t address) {
  const MappedFile file("/proc/self/exe");
  const auto header = file.objects<ElfW(Ehdr)>(0, 1);
  if (header.empty()) return {};
  const auto sections = file.objects<ElfW(Shdr)>(header[0].e_shoff, header[0].e_shnum);
  for (const auto& section : sections) {
    if (section.sh_type != SHT_SYMTAB || section.sh_link >= sections.size()) continue;
    const auto& names = sections[section.sh_link];
    const auto text = file.objects<char>(names.sh_offset, names.sh_size);
    for (const auto& symbol :
         file.objects<ElfW(Sym)>(section.sh_offset, section.sh_size / sizeof(ElfW(Sym)))) {
      if ((symbol.st_info & 0xf) != STT_FUNC || symbol.st_value != address) continue;
      if (symbol.st_name < text.size()) return demangled(text.data() + symbol.st_name);
    }
  }
  return {};
}

}  // namespace

std::string symbol_name(const void* code) {
  static auto& mutex = *new ForkSafeMutex;
  static auto& known = *new std::map<const void*, std::string>;
  const std::lock_guard guard(mutex);
  if (const auto found = known.find(code); found != known.end()) return found->second;
  std::string name = find_in_executable(reinterpret_cast<std::uintptr_t>(code) - load_address());
  Dl_info info{};
  if (name.empty() && ::dladdr(code, &info) != 0 && info.dli_saddr == code) {
    name = demangled(info.dli_sname);
  }
  return known.emplace(code, std::move(name)).first->second;
}

}  // namespace mp::detail
