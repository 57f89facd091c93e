#include <gtest/gtest.h>

#include <mp/remote_error.hpp>

#include <cstddef>
#include <functional>
#include <future>
#include <regex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

namespace {

struct Registered : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct Stranger : std::runtime_error {
  using std::runtime_error::runtime_error;
};
class WithMembers : public std::exception {
 public:
  WithMembers() = default;
  WithMembers(int line, std::string file) : line(line), file(std::move(file)) {}
  template <class Archive>
  void serialize(Archive& ar) {
    ar(line, file);
  }
  int line = 0;
  std::string file = {};
};

const bool known = mp::register_exception<Registered>() && mp::register_exception<WithMembers>();

// What comes out at the other end of `thrower`'s exception.
void cross(const std::function<void()>& thrower) {
  mp::Encoder out;
  try {
    thrower();
  } catch (...) {
    mp::detail::encode_current_exception(out, "Worker-1");
  }
  mp::Decoder in(out.view());
  mp::detail::throw_encoded_exception(in);
}

mp::RemoteOrigin origin_under(const std::exception& error) {
  try {
    std::rethrow_if_nested(error);
  } catch (const mp::RemoteTraceback& traceback) {
    return traceback.origin();
  }
  return {};
}

TEST(RemoteErrorTest, AStandardExceptionKeepsItsTypeAndTextAndSaysWhereItIsFrom) {
  try {
    cross([] { throw std::out_of_range("index 7"); });
    FAIL();
  } catch (const std::out_of_range& error) {
    EXPECT_STREQ(error.what(), "index 7");
    const auto origin = origin_under(error);
    EXPECT_EQ(origin.type, "std::out_of_range");
    EXPECT_EQ(origin.process_name, "Worker-1");
    EXPECT_GT(origin.pid, 0);
  }
}

TEST(RemoteErrorTest, LibmpsOwnKeepTheirTypes) {
  EXPECT_THROW(cross([] { throw mp::Empty(); }), mp::Empty);
  EXPECT_THROW(cross([] { throw mp::KeyError("k"); }), mp::KeyError);
  EXPECT_THROW(cross([] { throw mp::OwnerDied("gone"); }), mp::OwnerDied);
  EXPECT_THROW(cross([] { throw std::bad_alloc(); }), std::bad_alloc);
}

TEST(RemoteErrorTest, ErrorsThatAreMadeOfACodeOrOfBytesKeepThem) {
  try {
    cross([] { std::regex("("); });
    FAIL();
  } catch (const std::regex_error& error) {
    EXPECT_EQ(error.code(), std::regex_constants::error_paren);
  }
  try {
    cross([] { throw std::future_error(std::future_errc::no_state); });
    FAIL();
  } catch (const std::future_error& error) {
    EXPECT_EQ(error.code(), std::future_errc::no_state);
  }
  try {
    cross([] { throw mp::BufferTooShort(std::vector<std::byte>(3, std::byte{7})); });
    FAIL();
  } catch (const mp::BufferTooShort& error) {
    EXPECT_EQ(error.message(), std::vector<std::byte>(3, std::byte{7}));
  }
}

struct Strange : std::error_category {
  [[nodiscard]] const char* name() const noexcept override { return "strange"; }
  [[nodiscard]] std::string message(int) const override { return "strange indeed"; }
};

TEST(RemoteErrorTest, ACodeThatOnlyTheThrowerKnowsLeavesTheTextAndTheOrigin) {
  static const Strange strange;
  try {
    cross([] { throw std::system_error(7, strange, "device"); });
    FAIL();
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "device: strange indeed");
    EXPECT_EQ(origin_under(error).type, "std::system_error");
  }
}

TEST(RemoteErrorTest, ASystemErrorKeepsItsCode) {
  try {
    cross([] { throw std::system_error(ENOENT, std::generic_category(), "open(a)"); });
    FAIL();
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code().value(), ENOENT);
    EXPECT_EQ(std::string(error.what()), "open(a): No such file or directory");
  }
}

TEST(RemoteErrorTest, RegisteredTypesCrossByTextOrByValue) {
  EXPECT_THROW(cross([] { throw Registered("mine"); }), Registered);
  try {
    cross([] { throw WithMembers(12, "a.cpp"); });
    FAIL();
  } catch (const WithMembers& error) {
    EXPECT_EQ(error.line, 12);
    EXPECT_EQ(error.file, "a.cpp");
  }
}

TEST(RemoteErrorTest, AStrangerIsARemoteErrorWithItsName) {
  try {
    cross([] { throw Stranger("who?"); });
    FAIL();
  } catch (const mp::RemoteError& error) {
    EXPECT_NE(error.origin().type.find("Stranger"), std::string::npos);
    EXPECT_EQ(error.origin().text, "who?");
    EXPECT_NE(std::string(error.what()).find("Worker-1"), std::string::npos);
  }
}

TEST(RemoteErrorTest, WhatIsNoExceptionIsARemoteErrorToo) {
  try {
    cross([] { throw 42; });
    FAIL();
  } catch (const mp::RemoteError& error) {
    EXPECT_EQ(error.origin().type, "int");
  }
}

TEST(RemoteErrorTest, CausesAreToldAndTheOuterTypeIsKept) {
  try {
    cross([] {
      try {
        throw std::runtime_error("disk full");
      } catch (...) {
        std::throw_with_nested(mp::ValueError("cannot save"));
      }
    });
    FAIL();
  } catch (const mp::ValueError& error) {
    EXPECT_STREQ(error.what(), "cannot save");
    EXPECT_NE(origin_under(error).trace.find("caused by std::runtime_error: disk full"),
              std::string::npos);
  }
}

struct Refusal : std::runtime_error {
  using runtime_error::runtime_error;
};
struct LateRefusal : Refusal {
  using Refusal::Refusal;
};
struct UnknownRefusal : Refusal {
  using Refusal::Refusal;
};
// In this order: what was thrown is not found by what it derives from.
const bool refusals_known =
    mp::register_exception<LateRefusal>() && mp::register_exception<Refusal>();

template <class E>
void throw_nested() {
  try {
    throw std::bad_alloc();
  } catch (...) {
    std::throw_with_nested(E("why"));
  }
}

TEST(RemoteErrorTest, WhatIsThrownWithACauseIsTakenForWhatItIs) {
  ASSERT_TRUE(refusals_known);
  EXPECT_THROW(cross(throw_nested<LateRefusal>), LateRefusal);
  try {
    cross(throw_nested<Refusal>);
    FAIL();
  } catch (const std::exception& error) {
    EXPECT_NE(dynamic_cast<const Refusal*>(&error), nullptr);
    EXPECT_EQ(dynamic_cast<const LateRefusal*>(&error), nullptr);
    EXPECT_EQ(origin_under(error).trace.find("Nested"), std::string::npos);
  }
  try {
    cross(throw_nested<UnknownRefusal>);
    FAIL();
  } catch (const mp::RemoteError& error) {
    EXPECT_NE(error.origin().type.find("UnknownRefusal"), std::string::npos);
    EXPECT_EQ(error.origin().type.find("Nested"), std::string::npos);
  }
}

TEST(RemoteErrorTest, BytesThatAreNoExceptionAreAPicklingError) {
  const std::string garbage(12, '\xff');
  mp::Decoder in(std::as_bytes(std::span(garbage)));
  EXPECT_THROW(mp::detail::throw_encoded_exception(in), mp::PicklingError);
}

}  // namespace
