#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mp {

/// A key that connections prove to each other without sending it. No codec
/// takes it: it goes to children when they are started, and nowhere else.
/// Python: AuthenticationString.
class AuthenticationString {
 public:
  AuthenticationString() = default;
  AuthenticationString(std::string_view text)
      : bytes_(std::as_bytes(std::span(text)).begin(), std::as_bytes(std::span(text)).end()) {}
  AuthenticationString(const std::string& text) : AuthenticationString(std::string_view(text)) {}
  AuthenticationString(const char* text) : AuthenticationString(std::string_view(text)) {}
  explicit AuthenticationString(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}

  [[nodiscard]] const std::vector<std::byte>& bytes() const noexcept { return bytes_; }
  friend bool operator==(const AuthenticationString&, const AuthenticationString&) = default;

 private:
  std::vector<std::byte> bytes_;
};

}  // namespace mp
