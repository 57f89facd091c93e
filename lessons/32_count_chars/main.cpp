// Who tells me that the work is done, or that it has failed?
//
// Python:  pool.map_async(count_chars, filelist, callback=success_callback)
// Watch:   which of the two callbacks is called, and with what.
// Run:     ./learn count_chars

#include <fmt/ranges.h>
#include <unistd.h>
#include <mp/mp.hpp>

#include <cerrno>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>
#include <vector>

namespace fs = std::filesystem;

// [count]
int count_chars(const std::string& filename) {
  std::ifstream fin(filename);
  if (!fin) throw std::system_error(errno, std::generic_category(), filename);
  using Chars = std::istreambuf_iterator<char>;
  return static_cast<int>(std::distance(Chars(fin), Chars()));
}
// [/count]

// [callbacks]
void success_callback(const std::vector<int>& result) {
  mp::println("Get result {}", result);
}

void error_callback(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& e) {
    mp::println("Throw exception {}", e.what());
  }
}
// [/callbacks]

int main() {
  // [files]
  // Four files, of 10, 200, 3000 and 40000 characters.
  const auto folder =
      fs::temp_directory_path() / fmt::format("count_chars-{}", ::getpid());
  fs::create_directory(folder);
  fs::current_path(folder);
  std::vector<std::string> filelist;
  for (int size : {10, 200, 3000, 40000}) {
    filelist.push_back(fmt::format("file{}", filelist.size() + 1));
    std::ofstream(filelist.back()) << std::string(size, 'x');
  }
  // [/files]

  {
    // [wait]
    mp::Pool pool(2);
    mp::println("{}", pool.map(count_chars, filelist));

    auto async_result = pool.map_async(count_chars, filelist);
    mp::println("Do something else while the workers count");
    mp::println("{}", async_result.get());
    // [/wait]

    // [told]
    // Or be told. When wait() returns, the callback has been called.
    auto told = pool.map_async(
        {.callback = success_callback, .error_callback = error_callback},
        count_chars, filelist);
    told.wait();
    // [/told]

    // [missing]
    // One file that is not there, and the map has failed.
    filelist.push_back("file5");
    auto missing = pool.map_async(
        {.callback = success_callback, .error_callback = error_callback},
        count_chars, filelist);
    missing.wait();
    // [/missing]
  }
  fs::current_path("/");
  fs::remove_all(folder);
}
