// See connection.hpp.
#include "daemon/admin/connection.hpp"

#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <optional>

namespace kvtier::daemon {
namespace {

namespace beast = boost::beast;
namespace http = boost::beast::http;

template <typename Protocol>
class Connection : public std::enable_shared_from_this<Connection<Protocol>> {
 public:
  Connection(typename Protocol::socket socket, ConnectionOptions options, RouteState& state,
             uint32_t& count)
      : stream_(std::move(socket)), options_(options), state_(state), count_(count) {}

  void read() {
    parser_.emplace();
    parser_->header_limit(kRequestHeadBytesMax);
    parser_->body_limit(kRequestBodyBytesMax);
    stream_.expires_after(options_.client_timeout);
    http::async_read(stream_, buffer_, *parser_,
                     [self = this->shared_from_this()](beast::error_code error, size_t) {
                       self->on_read(error);
                     });
  }

 private:
  void on_read(beast::error_code error) {
    if (error == http::error::header_limit || error == http::error::body_limit) {
      return write(error_answer(413, "invalid_argument", "the request is too large"), false);
    }
    if (error && error.category() == make_error_code(http::error::bad_method).category() &&
        error != http::error::end_of_stream && error != http::error::partial_message) {
      return write(error_answer(400, "invalid_argument", "this is not an HTTP request"), false);
    }
    if (error) return;  // gone, or too slow
    const auto& request = parser_->get();
    const AdminRequest asked{.method = std::string(request.method_string()),
                             .target = std::string(request.target()),
                             .access = options_.access,
                             .on_port = options_.on_port};
    head_only_ = request.method() == http::verb::head;
    const bool again = request.keep_alive() && ++requests_ < kRequestsPerConnectionMax;
    write(answer_request(asked, state_), again);
  }

  void write(AdminAnswer answer, bool keep_alive) {
    response_ = {};
    response_.version(11);
    response_.result(answer.status);
    response_.set(http::field::content_type, answer.content_type);
    response_.set(http::field::cache_control, "no-store");
    if (!answer.allow.empty()) response_.set(http::field::allow, answer.allow);
    response_.keep_alive(keep_alive);
    response_.body() = std::move(answer.body);
    response_.prepare_payload();
    if (head_only_) response_.body().clear();
    stream_.expires_after(options_.client_timeout);
    http::async_write(
        stream_, response_,
        [self = this->shared_from_this(), keep_alive](beast::error_code error, size_t) {
          if (!error && keep_alive) self->read();
        });
  }

  beast::basic_stream<Protocol> stream_;
  beast::flat_buffer buffer_{kRequestHeadBytesMax + kRequestBodyBytesMax};
  std::optional<http::request_parser<http::string_body>> parser_;
  http::response<http::string_body> response_;
  ConnectionOptions options_;
  RouteState& state_;
  ConnectionCount count_;
  uint32_t requests_ = 0;
  bool head_only_ = false;
};

}  // namespace

void serve_connection(boost::asio::local::stream_protocol::socket socket, ConnectionOptions options,
                      RouteState& state, uint32_t& count) {
  using Local = Connection<boost::asio::local::stream_protocol>;
  std::make_shared<Local>(std::move(socket), options, state, count)->read();
}

void serve_connection(boost::asio::ip::tcp::socket socket, ConnectionOptions options,
                      RouteState& state, uint32_t& count) {
  using Port = Connection<boost::asio::ip::tcp>;
  std::make_shared<Port>(std::move(socket), options, state, count)->read();
}

}  // namespace kvtier::daemon
