// Listeners and the admin thread; see admin_server.hpp.
#include "daemon/admin/admin_server.hpp"

#include <pthread.h>
#include <sys/socket.h>

#include <boost/asio/steady_timer.hpp>
#include <csignal>
#include <optional>
#include <thread>

#include "daemon/admin/connection.hpp"
#include "daemon/admin/listen.hpp"
#include "daemon/admin/routes.hpp"

namespace kvtier::daemon {
namespace {

namespace asio = boost::asio;
using Local = asio::local::stream_protocol;
using Tcp = asio::ip::tcp;

// After a failed accept (no file descriptors left) the backlog is looked at again after this.
constexpr std::chrono::milliseconds kAcceptPause{100};
// Who may not ask gets an answer, but little time for the question.
constexpr std::chrono::milliseconds kStrangerTimeout{500};
constexpr char kTooMany[] =
    "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: 85\r\n"
    "Connection: close\r\n\r\n"
    "{\"error\":{\"code\":\"full\",\"message\":\"too many connections to the daemon's admin "
    "side\"}}";

}  // namespace

struct AdminServer::Impl {
  Impl(const AdminOptions& given, Mailbox& mailbox)
      : options(given),
        state{CoreLink(mailbox, given.core_timeout), {}},
        acceptor(context),
        port_acceptor(context),
        pause(context),
        port_pause(context) {}

  Status listen() {
    readers = group_number(options.group);
    auto made = listen_unix(options.socket, readers);
    if (!made) return made.error();
    listener = *made;
    acceptor.assign(Local(), listener->fd);
    if (options.metrics_listen.empty()) return {};
    auto port_made = listen_loopback(options.metrics_listen);
    if (!port_made) return port_made.error();
    port = port_made->port;
    port_acceptor.assign(port_made->v6 ? Tcp::v6() : Tcp::v4(), port_made->fd);
    return {};
  }

  template <typename Acceptor, typename Serve>
  void accept(Acceptor& from, asio::steady_timer& timer, Serve serve) {
    from.async_accept([this, &from, &timer, serve](boost::system::error_code error,
                                                   typename Acceptor::protocol_type::socket peer) {
      if (error == asio::error::operation_aborted) return;
      if (!error) {
        serve(std::move(peer));
        return accept(from, timer, serve);
      }
      timer.expires_after(kAcceptPause);
      timer.async_wait([this, &from, &timer, serve](boost::system::error_code stopped) {
        if (!stopped) accept(from, timer, serve);
      });
    });
  }

  template <typename Socket>
  bool has_room(Socket& peer, uint32_t count, uint32_t count_max) {
    if (count < count_max) return true;
    // Fits into any socket's buffer; whoever does not read it loses nothing.
    [[maybe_unused]] const ssize_t sent =
        send(peer.native_handle(), kTooMany, sizeof kTooMany - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    return false;
  }

  void serve_local(Local::socket peer) {
    if (!has_room(peer, connections, options.connections_max)) return;
    const std::optional<Peer> who = peer_of(peer.native_handle());
    const Access access = who ? access_of(*who, options.uid, readers) : Access::kNone;
    const auto timeout = access == Access::kNone
                             ? std::min(kStrangerTimeout, options.client_timeout)
                             : options.client_timeout;
    serve_connection(std::move(peer),
                     {.access = access, .on_port = false, .client_timeout = timeout}, state,
                     connections);
  }

  void serve_port(Tcp::socket peer) {
    if (!has_room(peer, port_connections, std::max(1u, options.connections_max / 4))) return;
    serve_connection(
        std::move(peer),
        {.access = Access::kRead, .on_port = true, .client_timeout = options.client_timeout}, state,
        port_connections);
  }

  void run() {
    pthread_setname_np(pthread_self(), "kvtier-admin");
    accept(acceptor, pause, [this](Local::socket peer) { serve_local(std::move(peer)); });
    if (port_acceptor.is_open()) {
      accept(port_acceptor, port_pause, [this](Tcp::socket peer) { serve_port(std::move(peer)); });
    }
    for (;;) {
      try {
        context.run();
        return;
      } catch (const std::exception&) {
        // Out of memory for one answer: its connection is gone, the others go on.
      }
    }
  }

  // Signals are the main thread's business.
  void start_thread() {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    thread = std::thread([this] { run(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  ~Impl() {
    context.stop();
    if (thread.joinable()) thread.join();
    if (listener) unlink_unix(options.socket, *listener);
  }

  AdminOptions options;
  std::optional<gid_t> readers;
  std::optional<UnixListener> listener;
  uint16_t port = 0;
  uint32_t connections = 0, port_connections = 0;
  RouteState state;
  // Last: connections that still wait are destroyed with it, and they refer to the above.
  asio::io_context context{1};
  Local::acceptor acceptor;
  Tcp::acceptor port_acceptor;
  asio::steady_timer pause, port_pause;
  std::thread thread;
};

AdminServer::AdminServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
AdminServer::~AdminServer() = default;

Result<std::unique_ptr<AdminServer>> AdminServer::start(const AdminOptions& options,
                                                        Mailbox& mailbox) {
  auto impl = std::make_unique<Impl>(options, mailbox);
  if (Status listens = impl->listen(); !listens) return listens.error();
  try {
    impl->start_thread();
  } catch (const std::system_error& error) {
    return Error::format(Code::kSystem, "cannot start the admin thread: %s", error.what());
  }
  return std::unique_ptr<AdminServer>(new AdminServer(std::move(impl)));
}

uint16_t AdminServer::metrics_port() const {
  return impl_->port;
}

}  // namespace kvtier::daemon
