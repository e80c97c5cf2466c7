// Putting the daemon together, and taking it apart in the right order. The thread that runs this
// becomes the core thread. See program.hpp.
#include "daemon/program.hpp"

#include <sys/random.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <memory>
#include <thread>

#include "daemon/admin/admin_server.hpp"
#include "daemon/config/checks.hpp"
#include "daemon/config/paths.hpp"
#include "daemon/config/reload.hpp"
#include "daemon/config/units.hpp"
#include "daemon/core/core.hpp"
#include "daemon/keep/choose_keeper.hpp"
#include "daemon/keep/holder_keeper.hpp"
#include "daemon/log/log.hpp"
#include "daemon/machine.hpp"
#include "daemon/memory/guard.hpp"
#include "daemon/service_manager.hpp"
#include "daemon/session/server.hpp"
#include "daemon/session/versions.hpp"
#include "daemon/tiers/make_nvme_tier.hpp"
#include "kvtier/version.hpp"

namespace kvtier::daemon {
namespace {

constexpr unsigned kWorkersAutoMax = 8;

int failed(const Error& error, int status) {
  log_event(LogCode::kStartFailed, "{}", error.message());
  return status;
}

void prepare_signals() {
  std::signal(SIGPIPE, SIG_IGN);
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, signal);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  install_fault_guard();
}

uint64_t random_epoch() {
  uint64_t epoch = 0;
  while (epoch == 0) {
    if (::getrandom(&epoch, sizeof epoch, 0) != sizeof epoch) epoch = 0;
  }
  return epoch;
}

// Half of the processors: the others are for the engines.
size_t worker_count(const Config& config) {
  if (config.daemon.workers != 0) return config.daemon.workers;
  return std::clamp(std::thread::hardware_concurrency() / 2, 1u, kWorkersAutoMax);
}

std::vector<ListenOptions> attach_sockets(const Config& config, const DaemonPaths& paths) {
  std::vector<ListenOptions> sockets;
  sockets.push_back({.path = paths.socket,
                     .mode = static_cast<uint32_t>(config.daemon.socket_mode),
                     .group = config.daemon.socket_group,
                     .tenant = ""});
  for (const TenantConfig& tenant : config.tenant) {
    if (tenant.socket.empty()) continue;
    sockets.push_back({.path = tenant.socket,
                       .mode = static_cast<uint32_t>(tenant.mode),
                       .group = tenant.group,
                       .tenant = tenant.name});
  }
  return sockets;
}

// Sockets of the service manager where it made them, our own otherwise.
Status open_sockets(Server& server, const std::vector<ListenOptions>& wanted,
                    std::vector<Fd> inherited) {
  for (const ListenOptions& options : wanted) {
    const auto given = std::find_if(inherited.begin(), inherited.end(), [&](const Fd& socket) {
      return bound_path(socket) == options.path;
    });
    Result<Listener> listener = given == inherited.end()
                                    ? Listener::open(options)
                                    : Listener::adopt(std::move(*given), options);
    if (!listener.ok()) return listener.error();
    if (Status s = server.listen(std::move(listener).value()); !s) return s;
  }
  for (const Fd& left : inherited) {
    if (!left) continue;
    return Error::format(Code::kInvalidArgument,
                         "the service manager gave a socket at '%s', which is neither "
                         "daemon.socket nor a tenant's",
                         bound_path(left).c_str());
  }
  return {};
}

// Reading the configuration again. From SIGHUP the files are read by a worker; an operator's
// request waits for its answer, so there the core thread reads them.
class Reloader {
 public:
  Reloader(Core& core, Executor& executor, std::string file)
      : core_(core), executor_(executor), file_(std::move(file)) {}

  void later() {
    if (file_.empty()) {
      log_event(LogCode::kConfigUnchanged, "there is no configuration file to read again");
      return;
    }
    tell_reloading();
    const auto plan = std::make_shared<ReloadPlan>();
    const auto current = std::make_shared<Config>(core_.config());
    // Refused when the workers are overloaded: whoever asked sees that, and asks again.
    const bool queued =
        executor_.submit({[plan, current, file = file_] { *plan = plan_reload(*current, file); },
                          [this, plan] { [[maybe_unused]] const auto applied = apply(*plan); }});
    if (!queued)
      tell_reloaded("Serving; the workers were too busy to read the configuration again");
  }

  Result<std::vector<std::string>> now() {
    if (file_.empty()) {
      return Error(Code::kInvalidArgument, "the daemon was started without a configuration file");
    }
    tell_reloading();
    return apply(plan_reload(core_.config(), file_));
  }

 private:
  Result<std::vector<std::string>> apply(const ReloadPlan& plan) {
    switch (plan.verdict) {
      case ReloadPlan::Verdict::kNothingChanged:
        log_event(LogCode::kConfigUnchanged, "{}", plan.message);
        tell_reloaded("Serving; the configuration has not changed");
        return std::vector<std::string>();
      case ReloadPlan::Verdict::kRefused:
        log_event(LogCode::kConfigRefused, "{}", plan.message);
        tell_reloaded("Serving; a changed configuration was refused: " + plan.message);
        return Error(Code::kInvalidArgument, plan.message.c_str());
      case ReloadPlan::Verdict::kApply:
        break;
    }
    core_.apply_config(plan.config);
    if (Log* log = process_log()) log->set_level(plan.config.log.level);
    log_event(LogCode::kConfigReloaded, "{}", plan.message);
    tell_reloaded("Serving; " + plan.message);
    return plan.diff.live;
  }

  Core& core_;
  Executor& executor_;
  std::string file_;
};

// All parts of the running daemon. Members are destroyed last first; what the destructor names goes
// before: the operators' thread asks the core, and workers touch memory of the core's.
struct Parts {
  ~Parts() {
    admin.reset();
    executor.reset();
  }

  SystemClock clock;
  std::unique_ptr<FdKeeper> keeper;
  std::unique_ptr<Executor> executor;
  std::unique_ptr<Core> core;
  std::unique_ptr<Reloader> reloader;
  std::unique_ptr<Server> server;
  std::unique_ptr<AdminServer> admin;
};

struct Start {
  RunOptions options;
  std::vector<Fd> sockets;        // of the service manager
  std::shared_ptr<KeptFds> kept;  // of the daemon before
};

Status make_core(const Config& config, const DaemonPaths& paths, const Start& start, Parts* parts) {
  Result<std::unique_ptr<Executor>> executor = make_thread_executor(worker_count(config));
  if (!executor.ok()) return executor.error();
  parts->executor = std::move(executor).value();
  CoreOptions options;
  options.config = config;
  options.epoch = random_epoch();
  options.memory_available_bytes = available_memory_bytes() + start.kept->bytes();
  options.memory_left_bytes = [] { return available_memory_bytes(); };
  options.state_directory = paths.state_directory;
  options.protocol_min = served_versions().min;
  options.protocol_max = served_versions().max;
  options.keeper = parts->keeper.get();
  options.kept = start.kept;
  options.cold = start.options.cold;
  Result<std::unique_ptr<Tier>> tier = make_nvme_tier(config, paths.state_directory, parts->clock);
  if (!tier.ok()) return tier.error();
  Result<std::unique_ptr<Core>> core =
      Core::create(options, *parts->executor, parts->clock, std::move(tier).value());
  if (!core.ok()) return core.error();
  parts->core = std::move(core).value();
  return {};
}

Status make_servers(const Config& config, const DaemonPaths& paths, Start& start, Parts* parts) {
  parts->reloader =
      std::make_unique<Reloader>(*parts->core, *parts->executor, start.options.config_file);
  parts->core->set_reload([reloader = parts->reloader.get()] { return reloader->now(); });
  ServerOptions options;
  options.signals = true;
  options.on_reload = [reloader = parts->reloader.get()] { reloader->later(); };
  const auto watchdog = std::make_shared<Watchdog>(Watchdog::from_environment());
  if (watchdog->interval_ns() != 0) {
    options.idle_tick_ns = std::min(options.idle_tick_ns, watchdog->interval_ns());
    options.on_tick = [watchdog](uint64_t now_ns) { watchdog->feed(now_ns); };
  }
  options.on_drain = [] { tell_service_manager("STOPPING=1\nSTATUS=Stopping"); };
  Result<std::unique_ptr<Server>> server =
      Server::create(options, *parts->core, *parts->executor, parts->clock);
  if (!server.ok()) return server.error();
  parts->server = std::move(server).value();
  if (Status s =
          open_sockets(*parts->server, attach_sockets(config, paths), std::move(start.sockets));
      !s) {
    return s;
  }
  AdminOptions admin;
  admin.socket = paths.admin_socket;
  admin.metrics_listen = config.daemon.metrics_listen;
  Result<std::unique_ptr<AdminServer>> started =
      AdminServer::start(admin, parts->server->mailbox());
  if (!started.ok()) return started.error();
  parts->admin = std::move(started).value();
  return {};
}

void say_ready(const Config& config, const DaemonPaths& paths) {
  size_t more = 0;
  for (const TenantConfig& tenant : config.tenant) more += tenant.socket.empty() ? 0u : 1u;
  log_event(LogCode::kReady, "serving on {} and {} tenant sockets; administrators on {}",
            paths.socket, more, paths.admin_socket);
  tell_service_manager("READY=1\nSTATUS=Serving on " + paths.socket);
}

// Takes over what was kept. The memory that is in use behind it is not missing from the machine.
Status take_kept(const Config& config, const DaemonPaths& paths, Start* start, Parts* parts) {
  Inherited inherited = take_inherited();
  start->sockets = std::move(inherited.sockets);
  KeeperChoice choice;
  choice.mode = config.daemon.keep;
  choice.keep_for_ns = config.daemon.keep_for_ns;
  choice.attach_socket = paths.socket;
  choice.inherited = std::move(inherited.kept);
  Result<std::unique_ptr<FdKeeper>> keeper = choose_keeper(std::move(choice));
  if (!keeper.ok()) return keeper.error();
  parts->keeper = std::move(keeper).value();
  start->kept = std::make_shared<KeptFds>(parts->keeper == nullptr ? std::vector<KeptFd>()
                                                                   : parts->keeper->take());
  return {};
}

int serve(const Config& config, const RunOptions& run_options) {
  const std::string& file = run_options.config_file;
  const Result<DaemonPaths> paths = choose_paths(config, environment_of_process());
  if (!paths.ok()) return failed(paths.error(), kExitConfig);
  const uint64_t open_files = raise_open_files_limit();
  if (Status ready = prepare_directories(*paths); !ready) return failed(ready.error(), kExitFailed);
  Start start;
  start.options = run_options;
  Parts parts;
  if (Status s = take_kept(config, *paths, &start, &parts); !s) {
    return failed(s.error(), kExitFailed);
  }
  const uint64_t capacity =
      host_capacity_bytes(config, available_memory_bytes() + start.kept->bytes());
  if (Status fits = check_host_capacity(config, capacity); !fits) {
    return failed(fits.error(), kExitConfig);
  }
  log_event(LogCode::kStarting, "kvtierd {} with {}, host tier of {}, {} open files",
            KVTIER_VERSION, file.empty() ? std::string("the default configuration") : file,
            format_size(capacity), open_files);
  if (Status s = make_core(config, *paths, start, &parts); !s) {
    return failed(s.error(), kExitFailed);
  }
  if (Status s = make_servers(config, *paths, start, &parts); !s) {
    return failed(s.error(), kExitFailed);
  }
  say_ready(config, *paths);
  parts.server->run();
  log_event(LogCode::kStopped, "stopped");
  return kExitStopped;
}

}  // namespace

int run_daemon(const Config& config, const RunOptions& options) {
  prepare_signals();
  LogOptions log;
  log.format = config.log.format;
  log.level = config.log.level;
  if (Status started = start_log(log); !started) {
    std::fprintf(stderr, "kvtierd: %s\n", started.error().message());
    return kExitFailed;
  }
  const int status = serve(config, options);
  stop_log();
  return status;
}

int release_memory(const Config& config) {
  const Result<DaemonPaths> paths = choose_paths(config, environment_of_process());
  const Status ended = paths.ok() ? end_holder(holder_path(paths->socket)) : paths.error();
  if (ended.ok()) std::printf("the holder has ended; host memory was given back\n");
  if (ended.ok() || ended.code() == Code::kNotFound) return kExitStopped;
  std::fprintf(stderr, "kvtierd: %s\n", ended.error().message());
  return kExitFailed;
}

}  // namespace kvtier::daemon
