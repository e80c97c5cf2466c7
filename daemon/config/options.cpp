// The rows. Limits of options are set here and nowhere else. Constant data.
#include "daemon/config/options.hpp"

#include <array>

#include "kvtier/wire/types.hpp"

namespace kvtier::daemon {
namespace {

using wire::GiB;
using wire::KiB;
using wire::MiB;

constexpr uint64_t kTiB = 1024 * GiB;
constexpr uint64_t kMicrosecond = 1000;
constexpr uint64_t kMillisecond = 1000 * kMicrosecond;
constexpr uint64_t kSecond = 1000 * kMillisecond;
constexpr uint64_t kMinute = 60 * kSecond;
constexpr uint64_t kHour = 60 * kMinute;

constexpr uint64_t kChunksMax = uint64_t{1} << 30;  // an entry number has 32 bits; design: 30 M
constexpr uint64_t kTenantsMax = 1024;
constexpr uint64_t kSessionsMax = 4096;

constexpr std::string_view kDemands = "auto|never|require";
constexpr std::string_view kSwitch = "off|on";
constexpr std::string_view kEncodings = "none|lossless|fp8|int8|int4";

template <auto kSection, auto kMember>
FieldRef in(void* owner) {
  return &((static_cast<Config*>(owner)->*kSection).*kMember);
}

template <auto kMember>
FieldRef of_tenant(void* owner) {
  return &(static_cast<TenantConfig*>(owner)->*kMember);
}

template <auto kMember>
FieldRef of_space(void* owner) {
  return &(static_cast<SpaceConfig*>(owner)->*kMember);
}

using C = Config;

constexpr std::array kTables = {
    TableRow{"daemon", "The process, its sockets and its threads."},
    TableRow{"log", "What the daemon says about itself. Never token ids, salts or whole keys."},
    TableRow{"host", "The tier in host memory, shared with the engines."},
    TableRow{
        "nvme",
        "The tier on NVMe devices: what leaves host memory is kept there, across restarts too."},
    TableRow{"index", "The published index, in which clients look up without a message."},
    TableRow{"session", "The memory of each attached process: rings, lease cells, touch log."},
    TableRow{"verify", "When the checksum of a payload is compared."},
    TableRow{"tenants",
             "Each uid is a tenant of its own. This is what tenants get that have no "
             "[[tenant]] entry, and what an entry leaves out."},
    TableRow{"planner", "What is assumed until it has been measured or reported."},
};

constexpr std::array kOptions = {
    OptionRow{.name = "daemon.socket",
              .kind = ValueKind::kSocket,
              .default_text = "",
              .help =
                  "Where clients attach. Empty: kvtier.sock in the service's runtime directory, "
                  "/run/kvtier for root, $XDG_RUNTIME_DIR/kvtier, else a folder of the user's "
                  "under the temporary directory.",
              .field = in<&C::daemon, &C::Daemon::socket>},
    OptionRow{.name = "daemon.socket_mode",
              .kind = ValueKind::kMode,
              .default_text = "0660",
              .max = 0777,
              .help = "File mode of the socket: who may attach.",
              .field = in<&C::daemon, &C::Daemon::socket_mode>},
    OptionRow{.name = "daemon.socket_group",
              .kind = ValueKind::kGroup,
              .default_text = "",
              .help = "Group of the socket. Empty: the daemon's own.",
              .field = in<&C::daemon, &C::Daemon::socket_group>},
    OptionRow{.name = "daemon.admin_socket",
              .kind = ValueKind::kSocket,
              .default_text = "",
              .help = "Where the CLI and metrics readers ask. Empty: admin.sock beside the socket.",
              .field = in<&C::daemon, &C::Daemon::admin_socket>},
    OptionRow{.name = "daemon.state_directory",
              .kind = ValueKind::kPath,
              .default_text = "",
              .help = "What must outlive a restart, such as the tenants' salts. Empty: the "
                      "service's state directory, /var/lib/kvtier for root, else state/ beside the "
                      "socket.",
              .field = in<&C::daemon, &C::Daemon::state_directory>},
    OptionRow{.name = "daemon.metrics_listen",
              .kind = ValueKind::kListen,
              .default_text = "",
              .help = "Also serve Prometheus metrics on this loopback address, e.g. "
                      "\"127.0.0.1:9464\". Empty: only on the admin socket.",
              .field = in<&C::daemon, &C::Daemon::metrics_listen>},
    OptionRow{.name = "daemon.workers",
              .kind = ValueKind::kCount,
              .default_text = "auto",
              .min = 1,
              .max = 256,
              .special = {"auto", 0},
              .help = "Threads for work that costs CPU per byte. \"auto\": by the processors.",
              .field = in<&C::daemon, &C::Daemon::workers>},
    OptionRow{.name = "daemon.sessions_max",
              .kind = ValueKind::kCount,
              .default_text = "256",
              .min = 1,
              .max = kSessionsMax,
              .help = "Attached processes at once; more are refused with a clear error.",
              .field = in<&C::daemon, &C::Daemon::sessions_max>},
    OptionRow{.name = "daemon.spin",
              .kind = ValueKind::kDuration,
              .default_text = "0s",
              .max = 10 * kMillisecond,
              .reload = Reload::kLive,
              .help = "How long the core thread polls for work before it sleeps. More than 0 saves "
                      "a wake-up a request and costs CPU while busy.",
              .field = in<&C::daemon, &C::Daemon::spin_ns>},
    OptionRow{.name = "daemon.drain_timeout",
              .kind = ValueKind::kDuration,
              .default_text = "5s",
              .max = 10 * kMinute,
              .reload = Reload::kLive,
              .help = "How long SIGTERM waits for requests and workers before the daemon ends.",
              .field = in<&C::daemon, &C::Daemon::drain_timeout_ns>},
    OptionRow{.name = "daemon.keep",
              .kind = ValueKind::kChoice,
              .default_text = "auto",
              .choices = "auto|service-manager|holder|off",
              .help = "Who keeps host memory over a restart or a crash of the daemon: the service "
                      "manager (its unit needs FileDescriptorStoreMax=4096), a small process of "
                      "kvtierd's own beside daemon.socket, or nobody. \"auto\": the service "
                      "manager where it sets FDSTORE or KVTIER_KEEP=service-manager, else the "
                      "holder.",
              .field = in<&C::daemon, &C::Daemon::keep>},
    OptionRow{.name = "daemon.keep_for",
              .kind = ValueKind::kDuration,
              .default_text = "10m",
              .min = kSecond,
              .max = 7 * 24 * kHour,
              .help = "How long the holder waits for the next daemon before it gives the memory "
                      "back and ends.",
              .field = in<&C::daemon, &C::Daemon::keep_for_ns>},
    OptionRow{.name = "log.level",
              .kind = ValueKind::kChoice,
              .default_text = "info",
              .choices = "debug|info|warning|error",
              .reload = Reload::kLive,
              .help = "The least important messages that are written.",
              .field = in<&C::log, &C::Log::level>},
    OptionRow{.name = "log.format",
              .kind = ValueKind::kChoice,
              .default_text = "auto",
              .choices = "auto|journal|logfmt|text",
              .help = "\"auto\": journal under systemd, text on a terminal, logfmt otherwise.",
              .field = in<&C::log, &C::Log::format>},
    OptionRow{.name = "host.capacity",
              .kind = ValueKind::kSize,
              .default_text = "1GiB",
              .max = 64 * kTiB,
              .special = {"auto", kChosenAtStart},
              .help = "Memory for chunks. \"auto\": half of what is available at the start. 0: no "
                      "host tier.",
              .field = in<&C::host, &C::Host::capacity_bytes>},
    OptionRow{
        .name = "host.capacity_chunks",
        .kind = ValueKind::kCount,
        .default_text = "unlimited",
        .max = kChunksMax,
        .special = {"unlimited", kUnlimited},
        .help = "Exactly so many chunks stay findable, if memory holds them. 0: no host tier.",
        .field = in<&C::host, &C::Host::capacity_chunks>},
    OptionRow{.name = "host.segment_bytes_min",
              .kind = ValueKind::kSize,
              .default_text = "32MiB",
              .min = 64 * KiB,
              .max = 16 * GiB,
              .form = Form::kPowerOfTwo,
              .help = "The smallest piece in which memory is given to a tenant.",
              .field = in<&C::host, &C::Host::segment_bytes_min>},
    OptionRow{.name = "host.huge_pages",
              .kind = ValueKind::kChoice,
              .default_text = "auto",
              .choices = kDemands,
              .help = "2 MiB pages for chunks. \"auto\": where the machine has them free.",
              .field = in<&C::host, &C::Host::huge_pages>},
    OptionRow{
        .name = "host.lock",
        .kind = ValueKind::kChoice,
        .default_text = "auto",
        .choices = kDemands,
        .help = "Keep chunks from being swapped out (mlock). \"auto\": where limits allow it.",
        .field = in<&C::host, &C::Host::lock>},
    OptionRow{.name = "host.policy",
              .kind = ValueKind::kChoice,
              .default_text = "lru",
              .choices = "default|lru|arc|reuse|s3-fifo|gdsf",
              .reload = Reload::kLive,
              .help = "The order in which chunks are evicted; \"default\" chooses one by what "
                      "would have hit.",
              .field = in<&C::host, &C::Host::policy>},
    OptionRow{.name = "host.reclaim_batch",
              .kind = ValueKind::kCount,
              .default_text = "64",
              .min = 1,
              .max = 4096,
              .reload = Reload::kLive,
              .help = "Slots taken back at a time: one scan of all lease cells pays for them.",
              .field = in<&C::host, &C::Host::reclaim_batch>},
    OptionRow{.name = "host.lease_max",
              .kind = ValueKind::kDuration,
              .default_text = "30s",
              .min = 100 * kMillisecond,
              .max = 24 * kHour,
              .reload = Reload::kLive,
              .help = "A lease held longer than this may be revoked when its slot is needed.",
              .field = in<&C::host, &C::Host::lease_max_ns>},
    OptionRow{.name = "host.grant_stale_after",
              .kind = ValueKind::kDuration,
              .default_text = "10s",
              .min = 100 * kMillisecond,
              .max = kHour,
              .reload = Reload::kLive,
              .help = "A chunk whose store has taken longer than this is granted to the next that "
                      "asks; the first valid commit wins.",
              .field = in<&C::host, &C::Host::grant_stale_after_ns>},
    OptionRow{.name = "host.encode",
              .kind = ValueKind::kChoice,
              .default_text = "none",
              .choices = kEncodings,
              .reload = Reload::kLive,
              .help = "The codec in which engines store that ask for none by themselves. All but "
                      "\"lossless\" change the numbers, and are for typed spaces: opaque ones are "
                      "stored as they are, and the log says so when they are opened.",
              .field = in<&C::host, &C::Host::encode>},
    OptionRow{.name = "nvme.capacity",
              .kind = ValueKind::kSize,
              .default_text = "0B",
              .max = 256 * kTiB,
              .form = Form::kPages,
              .help = "Bytes on each of the paths, everything included; preallocated. 0: no NVMe "
                      "tier.",
              .field = in<&C::nvme, &C::Nvme::capacity_bytes>},
    OptionRow{.name = "nvme.paths",
              .kind = ValueKind::kPaths,
              .default_text = "",
              .help = "Directories, one a device, in each of which the daemon makes one large file "
                      "(slab), or block devices, which it takes whole only when they are blank. "
                      "Used evenly. None: the folder nvme of the state directory.",
              .field = in<&C::nvme, &C::Nvme::paths>},
    OptionRow{.name = "nvme.required",
              .kind = ValueKind::kChoice,
              .default_text = "off",
              .choices = kSwitch,
              .help = "\"on\": the daemon does not start when one of the paths cannot be used. "
                      "\"off\": it serves without that one.",
              .field = in<&C::nvme, &C::Nvme::required>},
    OptionRow{.name = "nvme.segment_size",
              .kind = ValueKind::kSize,
              .default_text = "auto",
              .min = MiB,
              .max = 16 * GiB,
              .form = Form::kPages,
              .special = {"auto", 0},
              .help = "What one tenant's chunks of one size get at a time; the largest chunk must "
                      "fit. \"auto\": a 64th of the capacity, 1MiB to 1GiB.",
              .field = in<&C::nvme, &C::Nvme::segment_bytes>},
    OptionRow{
        .name = "nvme.queue_depth",
        .kind = ValueKind::kCount,
        .default_text = "32",
        .min = 1,
        .max = 1024,
        .help = "Reads and writes that each device is given at once, of at most 2.25MiB each.",
        .field = in<&C::nvme, &C::Nvme::queue_depth>},
    OptionRow{.name = "nvme.io_timeout",
              .kind = ValueKind::kDuration,
              .default_text = "1500ms",
              .min = 50 * kMillisecond,
              .max = kMinute,
              .help = "A device that has not ended a read or write within this is taken out of "
                      "service until it answers quickly again.",
              .field = in<&C::nvme, &C::Nvme::io_timeout_ns>},
    OptionRow{.name = "nvme.slow_below",
              .kind = ValueKind::kRate,
              .default_text = "16MiB/s",
              .max = 64 * GiB,
              .help = "A device that moves less than this, or less than a 64th of its best, while "
                      "it is busy for most of a second is taken out of service. 0: none is.",
              .field = in<&C::nvme, &C::Nvme::slow_below>},
    OptionRow{.name = "nvme.write_budget",
              .kind = ValueKind::kRate,
              .default_text = "unlimited",
              .min = MiB,
              .max = 64 * GiB,
              .special = {"unlimited", kUnlimited},
              .help = "What may be written to each path in any second. With a budget, new segments "
                      "are not written beforehand.",
              .field = in<&C::nvme, &C::Nvme::write_budget>},
    OptionRow{.name = "nvme.write_budget_day",
              .kind = ValueKind::kSize,
              .default_text = "unlimited",
              .min = 64 * MiB,
              .max = 4096 * kTiB,
              .special = {"unlimited", kUnlimited},
              .help = "What may be written to each path in any 24 hours, across restarts.",
              .field = in<&C::nvme, &C::Nvme::write_budget_day>},
    OptionRow{.name = "nvme.prepare",
              .kind = ValueKind::kChoice,
              .default_text = "on",
              .choices = kSwitch,
              .help = "Write every part of a new slab once, in the background while nothing else "
                      "is to be done, so that first writes are not slow.",
              .field = in<&C::nvme, &C::Nvme::prepare>},
    OptionRow{.name = "nvme.iopoll",
              .kind = ValueKind::kChoice,
              .default_text = "off",
              .choices = kSwitch,
              .help = "Poll the devices for completions instead of taking interrupts: needs "
                      "devices with poll queues, and keeps a processor busy while chunks move.",
              .field = in<&C::nvme, &C::Nvme::iopoll>},
    OptionRow{.name = "nvme.sqpoll",
              .kind = ValueKind::kChoice,
              .default_text = "off",
              .choices = kSwitch,
              .help = "Let a kernel thread for each path take requests without a system call; it "
                      "keeps a processor busy.",
              .field = in<&C::nvme, &C::Nvme::sqpoll>},
    OptionRow{.name = "nvme.registered_buffers",
              .kind = ValueKind::kChoice,
              .default_text = "auto",
              .choices = kDemands,
              .help =
                  "Register host memory with io_uring, which then does not look up its pages for "
                  "each transfer. \"auto\" goes without where the kernel refuses (LimitMEMLOCK).",
              .field = in<&C::nvme, &C::Nvme::registered_buffers>},
    OptionRow{.name = "nvme.scrub_rate",
              .kind = ValueKind::kRate,
              .default_text = "off",
              .min = MiB,
              .max = 64 * GiB,
              .special = {"off", 0},
              .reload = Reload::kLive,
              .help = "How fast what lies below is read and compared all the time, while no reader "
                      "waits. \"off\": when kvtier verify --online asks for it.",
              .field = in<&C::nvme, &C::Nvme::scrub_rate>},
    OptionRow{.name = "nvme.when_behind",
              .kind = ValueKind::kChoice,
              .default_text = "auto",
              .choices = "auto|wait|drop",
              .reload = Reload::kLive,
              .help =
                  "When chunks are stored faster than they can be written below: \"wait\" makes "
                  "stores wait (until their deadline), \"drop\" loses the oldest chunks. \"auto\": "
                  "wait, or drop where there is a write budget.",
              .field = in<&C::nvme, &C::Nvme::when_behind>},
    OptionRow{.name = "nvme.demote_idle_after",
              .kind = ValueKind::kDuration,
              .default_text = "never",
              .max = 24 * kHour,
              .special = {"never", 0},
              .reload = Reload::kLive,
              .help = "When a tenant has stored nothing for so long, its chunks are written below "
                      "before their memory is needed.",
              .field = in<&C::nvme, &C::Nvme::demote_idle_after_ns>},
    OptionRow{.name = "nvme.encode",
              .kind = ValueKind::kChoice,
              .default_text = "none",
              .choices = kEncodings,
              .reload = Reload::kLive,
              .help = "The codec in which raw chunks are written below: a worker encodes them, and "
                      "loads decode what comes back. All but \"lossless\" change the numbers, and "
                      "are for typed spaces: chunks of opaque ones are written as they are, as are "
                      "those that a codec refuses or does not make smaller.",
              .field = in<&C::nvme, &C::Nvme::encode>},
    OptionRow{.name = "index.chunks_max",
              .kind = ValueKind::kCount,
              .default_text = "auto",
              .min = 1024,
              .max = kChunksMax,
              .special = {"auto", 0},
              .help = "Entries of a tenant's index. \"auto\": as many as the host tier can hold.",
              .field = in<&C::index, &C::Index::chunks_max>},
    OptionRow{.name = "index.huge_pages",
              .kind = ValueKind::kChoice,
              .default_text = "auto",
              .choices = kDemands,
              .help = "2 MiB pages for the index. \"auto\": where the machine has them free.",
              .field = in<&C::index, &C::Index::huge_pages>},
    OptionRow{.name = "session.lease_cells",
              .kind = ValueKind::kCount,
              .default_text = "4096",
              .min = 64,
              .max = wire::kLeaseCellsMax,
              .form = Form::kPowerOfTwo,
              .help = "Leases that one process can hold at once.",
              .field = in<&C::session, &C::Session::lease_cells>},
    OptionRow{.name = "session.submission_entries",
              .kind = ValueKind::kCount,
              .default_text = "256",
              .min = 16,
              .max = 16384,
              .form = Form::kPowerOfTwo,
              .help = "Requests under way in one session.",
              .field = in<&C::session, &C::Session::submission_entries>},
    OptionRow{.name = "session.completion_entries",
              .kind = ValueKind::kCount,
              .default_text = "1024",
              .min = 16,
              .max = 65536,
              .form = Form::kPowerOfTwo,
              .help = "Answers that wait for the client to read them.",
              .field = in<&C::session, &C::Session::completion_entries>},
    OptionRow{.name = "session.touch_entries",
              .kind = ValueKind::kCount,
              .default_text = "16384",
              .min = 64,
              .max = 1u << 20,
              .form = Form::kPowerOfTwo,
              .help = "Entries of the touch log, which tells the policy of hits and may lose some.",
              .field = in<&C::session, &C::Session::touch_entries>},
    OptionRow{.name = "session.argument_bytes",
              .kind = ValueKind::kSize,
              .default_text = "1MiB",
              .min = 64 * KiB,
              .max = 64 * MiB,
              .form = Form::kPages,
              .help = "Room for the arguments of requests: keys, token ids, extra ids.",
              .field = in<&C::session, &C::Session::argument_bytes>},
    OptionRow{.name = "session.requests_per_turn",
              .kind = ValueKind::kCount,
              .default_text = "64",
              .min = 1,
              .max = 16384,
              .reload = Reload::kLive,
              .help = "Requests of one session that are served before the next session's turn.",
              .field = in<&C::session, &C::Session::requests_per_turn>},
    OptionRow{.name = "verify.host",
              .kind = ValueKind::kChoice,
              .default_text = "always",
              .choices = "always|sampled|never",
              .reload = Reload::kLive,
              .help = "For loads from host memory, what clients do that do not say otherwise. "
                      "\"always\" costs about a tenth of the copy; \"sampled\" suits DMA.",
              .field = in<&C::verify, &C::Verify::host>},
    OptionRow{.name = "verify.background_rate",
              .kind = ValueKind::kRate,
              .default_text = "1GiB/s",
              .min = MiB,
              .max = kTiB,
              .reload = Reload::kLive,
              .help = "How fast workers check the chunks that were kept over a restart. Until a "
                      "chunk's turn has come, every load of it is checked.",
              .field = in<&C::verify, &C::Verify::background_rate>},
    OptionRow{.name = "tenants.unlisted",
              .kind = ValueKind::kChoice,
              .default_text = "serve",
              .choices = "serve|refuse",
              .help = "What a uid gets that no [[tenant]] entry names.",
              .field = in<&C::tenants, &C::Tenants::unlisted>},
    OptionRow{.name = "tenants.tenants_max",
              .kind = ValueKind::kCount,
              .default_text = "64",
              .min = 1,
              .max = kTenantsMax,
              .help = "Tenants at once, with and without an entry.",
              .field = in<&C::tenants, &C::Tenants::tenants_max>},
    OptionRow{.name = "tenants.host_share",
              .kind = ValueKind::kShare,
              .default_text = "100%",
              .max = kShareWhole,
              .help = "The most of the host tier that one tenant can hold. Shares may add up to "
                      "more than 100%: they are limits, not reservations.",
              .field = in<&C::tenants, &C::Tenants::host_share_ppm>},
    OptionRow{.name = "tenants.host_max",
              .kind = ValueKind::kSize,
              .default_text = "unlimited",
              .max = 64 * kTiB,
              .special = {"unlimited", kUnlimited},
              .help = "The same limit in bytes; the smaller of the two counts.",
              .field = in<&C::tenants, &C::Tenants::host_bytes_max>},
    OptionRow{.name = "tenants.sessions_max",
              .kind = ValueKind::kCount,
              .default_text = "64",
              .min = 1,
              .max = kSessionsMax,
              .help = "Attached processes of one tenant at once.",
              .field = in<&C::tenants, &C::Tenants::sessions_max>},
    OptionRow{.name = "tenants.spaces_max",
              .kind = ValueKind::kCount,
              .default_text = "64",
              .min = 1,
              .max = wire::kSpacesMax,
              .help = "Spaces (tensor shapes) of one tenant.",
              .field = in<&C::tenants, &C::Tenants::spaces_max>},
    OptionRow{.name = "planner.host_bandwidth_initial",
              .kind = ValueKind::kRate,
              .default_text = "4GiB/s",
              .min = MiB,
              .max = 16 * kTiB,
              .help = "Bandwidth of a load from host memory, before the first was measured.",
              .field = in<&C::planner, &C::Planner::host_bandwidth_initial>},
    OptionRow{.name = "planner.host_latency_initial",
              .kind = ValueKind::kDuration,
              .default_text = "20us",
              .max = kSecond,
              .help = "Time until the first byte of such a load.",
              .field = in<&C::planner, &C::Planner::host_latency_initial_ns>},
    OptionRow{.name = "planner.recompute_default",
              .kind = ValueKind::kDuration,
              .default_text = "100us",
              .min = 1,
              .max = kSecond,
              .help = "Time to recompute one token in a space whose engine has reported nothing.",
              .field = in<&C::planner, &C::Planner::recompute_default_per_token>},
};

constexpr std::array kTenantOptions = {
    OptionRow{.name = "name",
              .kind = ValueKind::kName,
              .default_text = "",
              .help = "Required. Stands in messages, metrics and the CLI.",
              .field = of_tenant<&TenantConfig::name>},
    OptionRow{.name = "socket",
              .kind = ValueKind::kSocket,
              .default_text = "",
              .help = "A socket of this tenant's own: whoever may open it belongs to the tenant.",
              .field = of_tenant<&TenantConfig::socket>},
    OptionRow{.name = "mode",
              .kind = ValueKind::kMode,
              .default_text = "0660",
              .max = 0777,
              .help = "File mode of that socket.",
              .field = of_tenant<&TenantConfig::mode>},
    OptionRow{.name = "group",
              .kind = ValueKind::kGroup,
              .default_text = "",
              .help = "Group of that socket. Empty: the daemon's own.",
              .field = of_tenant<&TenantConfig::group>},
    OptionRow{.name = "uids",
              .kind = ValueKind::kUids,
              .default_text = "",
              .max = UINT32_MAX - 1,
              .help = "Users that belong to this tenant when they come through daemon.socket.",
              .field = of_tenant<&TenantConfig::uids>},
    OptionRow{.name = "host_share",
              .kind = ValueKind::kShare,
              .default_text = "100%",
              .max = kShareWhole,
              .help = "As tenants.host_share, which it defaults to.",
              .field = of_tenant<&TenantConfig::host_share_ppm>},
    OptionRow{.name = "host_max",
              .kind = ValueKind::kSize,
              .default_text = "unlimited",
              .max = 64 * kTiB,
              .special = {"unlimited", kUnlimited},
              .help = "As tenants.host_max, which it defaults to.",
              .field = of_tenant<&TenantConfig::host_bytes_max>},
    OptionRow{.name = "sessions_max",
              .kind = ValueKind::kCount,
              .default_text = "64",
              .min = 1,
              .max = kSessionsMax,
              .help = "As tenants.sessions_max, which it defaults to.",
              .field = of_tenant<&TenantConfig::sessions_max>},
    OptionRow{.name = "spaces_max",
              .kind = ValueKind::kCount,
              .default_text = "64",
              .min = 1,
              .max = wire::kSpacesMax,
              .help = "As tenants.spaces_max, which it defaults to.",
              .field = of_tenant<&TenantConfig::spaces_max>},
};

constexpr std::array kSpaceOptions = {
    OptionRow{.name = "model",
              .kind = ValueKind::kModel,
              .default_text = "",
              .reload = Reload::kLive,
              .help = "Required. The model as its engines name it, or the beginning of the name "
                      "and '*'.",
              .field = of_space<&SpaceConfig::model>},
    OptionRow{.name = "encode",
              .kind = ValueKind::kChoice,
              .default_text = "none",
              .choices = kEncodings,
              .reload = Reload::kLive,
              .help = "As host.encode, which it defaults to.",
              .field = of_space<&SpaceConfig::encode>},
    OptionRow{.name = "nvme_encode",
              .kind = ValueKind::kChoice,
              .default_text = "none",
              .choices = kEncodings,
              .reload = Reload::kLive,
              .help = "As nvme.encode, which it defaults to.",
              .field = of_space<&SpaceConfig::nvme_encode>},
};

}  // namespace

std::span<const OptionRow> option_rows() {
  return kOptions;
}
std::span<const OptionRow> tenant_rows() {
  return kTenantOptions;
}
std::span<const OptionRow> space_rows() {
  return kSpaceOptions;
}
std::span<const TableRow> table_rows() {
  return kTables;
}

const OptionRow* find_option(std::span<const OptionRow> rows, std::string_view name) {
  for (const OptionRow& row : rows) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

}  // namespace kvtier::daemon
