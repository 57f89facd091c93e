#pragma once

#include <fmt/format.h>
#include <mp/mp.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace web {

namespace http = boost::beast::http;
namespace ip = boost::asio::ip;

// Page n has n thousand lines: what the server sends and what main expects.
inline std::string text_of(int n) {
  std::string text;
  for (int line = 0; line < 1000 * n; ++line) text += fmt::format("{}\n", n);
  return text;
}

// [serve]
// A real web server, on a port of this machine that nobody else uses. It
// answers one request after the other, until it is terminated.
inline void serve(mp::Connection port) {
  boost::asio::io_context context;
  ip::tcp::acceptor acceptor(context, {ip::address_v4::loopback(), 0});
  port.send(acceptor.local_endpoint().port());
  for (;;) {
    ip::tcp::socket socket = acceptor.accept();
    boost::beast::flat_buffer buffer;
    http::request<http::string_body> request;
    http::read(socket, buffer, request);

    http::response<http::string_body> response(http::status::not_found, 11);
    const std::string target = request.target();
    if (target.starts_with("/page")) {
      response.result(http::status::ok);
      response.body() = text_of(std::stoi(target.substr(5)));
    }
    response.keep_alive(false);
    response.prepare_payload();
    http::write(socket, response);
  }
}
// [/serve]

// [get]
// The text of one page; an error, with its number, if there is none.
inline std::string get(std::uint16_t port, const std::string& target) {
  boost::asio::io_context context;
  ip::tcp::socket socket(context);
  socket.connect({ip::address_v4::loopback(), port});
  http::request<http::empty_body> request(http::verb::get, target, 11);
  request.set(http::field::host, "localhost");
  http::write(socket, request);

  boost::beast::flat_buffer buffer;
  http::response<http::string_body> page;
  http::read(socket, buffer, page);
  if (page.result() != http::status::ok)
    throw std::runtime_error(fmt::format("{}: {}", target, page.result_int()));
  return page.body();
}
// [/get]

}  // namespace web
