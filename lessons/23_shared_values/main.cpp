// Which values can processes share, and who guards them?
//
// Python:  Value('i'), Value(c_bool, True, lock=False), Value('l', 0,
//          lock=my_lock), Array('i', 5); with resized_size.get_lock(): ...
// Watch:   who guards what: a lock of its own, none, or mine.
// Run:     ./learn shared_values

#include <mp/mp.hpp>

#include <fmt/ranges.h>

#include <filesystem>
#include <fstream>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace fs = std::filesystem;

// [types]
// A typecode is the name of a C type; here the type itself is named. It must
// be plain data: a pointer would lead into the memory of one process only.
template <class T>
void show_type(const char* code, const char* name) {
  mp::Value<T> value;
  mp::println("{}  {:<19}{}", code, name, sizeof(value.value.get()));
}

void show_all_types() {
  show_type<char>("c", "char");
  show_type<wchar_t>("u", "wchar_t");
  show_type<signed char>("b", "signed char");
  show_type<unsigned char>("B", "unsigned char");
  show_type<short>("h", "short");
  show_type<unsigned short>("H", "unsigned short");
  show_type<int>("i", "int");
  show_type<unsigned int>("I", "unsigned int");
  show_type<long>("l", "long");
  show_type<unsigned long>("L", "unsigned long");
  show_type<long long>("q", "long long");
  show_type<unsigned long long>("Q", "unsigned long long");
  show_type<float>("f", "float");
  show_type<double>("d", "double");
  show_type<bool>("-", "bool");
}
// [/types]

// [work]
void work(mp::Value<int> counter, mp::RawValue<bool> is_running,
          mp::Lock my_lock, mp::Value<long> size_counter,
          mp::Array<int> squares) {
  counter.value += 1;
  {
    std::lock_guard guard(my_lock);
    size_counter.value += 1000;
  }
  for (int i = 0; i < 5; ++i) squares[i] = i * i;
  is_running.value = false;
}
// [/work]

// [resize]
// Four processes add to one total. Each addition reads it and writes it; the
// lock is held from before the one to after the other, whoever runs meanwhile.
void resize(fs::path folder, std::string name, mp::Value<long> resized_size) {
  const fs::path out_filepath = folder / name;
  for (int length = 1; length <= 100; ++length) {
    std::ofstream(out_filepath) << std::string(length, '.');
    std::lock_guard guard(resized_size.get_lock());
    long before = resized_size.value;
    std::this_thread::yield();
    resized_size.value = before + long(fs::file_size(out_filepath));
  }
}
// [/resize]

int main() {
  show_all_types();

  // [values]
  mp::Value<int> counter;               // Starts at 0, with its own lock.
  mp::RawValue<bool> is_running(true);  // Without a lock.
  mp::Lock my_lock;                     // For all that belongs together.
  mp::Value<long> size_counter(0, my_lock);
  mp::Array<int> squares(5);
  mp::Process p(work, counter, is_running, my_lock, size_counter, squares);
  p.start();
  p.join();
  mp::println("counter {}", counter.value);
  mp::println("is_running {}", int(is_running.value));
  mp::println("size_counter {}", size_counter.value);
  mp::println("squares {}", squares.to_vector());
  // [/values]

  // [total]
  mp::Value<long> resized_size;
  const auto folder = fs::temp_directory_path() /
                      fmt::format("resized-{}", *mp::current_process().pid());
  fs::create_directory(folder);
  std::vector<mp::Process> processes;
  for (const char* name : {"one", "two", "three", "four"}) {
    processes.emplace_back(resize, folder, name, resized_size);
  }
  for (auto& process : processes) process.start();
  for (auto& process : processes) process.join();
  fs::remove_all(folder);
  mp::println("resized_size {}", resized_size.value);
  // [/total]
}
