// See world.hpp. The steps of the simulation; each does something a client, an operator or bad luck
// might do, and compares what it sees with the model.
#include "tests/simulation/world.hpp"

#include <sys/eventfd.h>

#include <algorithm>
#include <cstdio>
#include <list>

#include "kernels/checksum.hpp"
#include "kvtier/wire/chunk_header.hpp"
#include "tests/simulation/cast.hpp"
#include "tests/simulation/loss_check.hpp"

namespace kvtier::simulation {

namespace {

using daemon::Core;
using daemon::PrefetchAnswer;
using daemon::SlotState;
using wire::ReserveOutcome;

constexpr uint32_t kStepsPerLook = 8;  // at what might be lost

class World {
 public:
  explicit World(const RunOptions& options)
      : options_(options), random_(options.seed), environment_(random_, clock_) {}

  void run() {
    start_daemon();
    const uint32_t processes = random_.between(1, 3);
    for (uint32_t i = 0; i < processes; ++i) add_process();
    for (uint32_t step = 0; step < options_.steps; ++step) {
      ++tally_.steps;
      do_step();
      turn();
      check_bounds();
      if (step % kStepsPerLook == 0) loss_.look(*core_, committed_);
    }
    finish();
    tally_.expected = loss_.expected();
  }
  const Tally& tally() const { return tally_; }

 private:
  template <typename... Args>
  void say(fmt::format_string<Args...> text, Args&&... args) {
    if (!options_.verbose) return;
    std::fprintf(stderr, "%6.3f %s\n", static_cast<double>(clock_.now_ns()) * 1e-9,
                 fmt::format(text, std::forward<Args>(args)...).c_str());
  }

  // --- the daemon

  void start_daemon() {
    executor_ = daemon::make_inline_executor();
    core_ = environment_.start(*executor_);
    if (core_ == nullptr) fail("the daemon does not start: {}", environment_.error());
  }

  // What the session server does between two requests.
  void turn() {
    clock_.advance_ns(uint64_t{random_.between(1, 200)} * 10'000);
    executor_->complete();
    core_->poll_tier();
    if (core_->next_deadline_ns() <= clock_.now_ns()) core_->expire_prefetches();
    if (clock_.now_ns() - ticked_ns_ >= Core::kTickNs) {
      ticked_ns_ = clock_.now_ns();
      core_->tick();
    }
    for (const PrefetchAnswer& answer : core_->take_prefetch_answers()) take_answer(answer);
  }

  // Until nothing is under way, or for so many turns.
  void settle(int turns) {
    for (int i = 0; i < turns; ++i) turn();
  }

  // --- processes and sessions

  void add_process() {
    Process process;
    process.tenant = random_.below(2);
    process.uid = 1000 + process.tenant;
    process.pid = next_pid_++;
    processes_.push_back(std::move(process));
    attach(processes_.back());
  }

  void attach(Process& process) {
    auto tenant = core_->tenant_by_uid(process.uid);
    if (!tenant.ok()) fail("no tenant for uid {}: {}", process.uid, tenant.error().message());
    auto admitted = core_->admit({*tenant, process.pid, process.uid, "simulated", false, &pidfd_});
    if (!admitted.ok()) {
      say("process {} is not admitted: {}", process.pid, admitted.error().message());
      return;
    }
    Session& session = **admitted;
    Attachment attachment;
    attachment.session = session.id;
    attachment.epoch = core_->epoch();
    attachment.memory = std::make_unique<SessionView>(session);
    const auto& index = *core_->tenant(*tenant).index;
    attachment.published =
        std::make_shared<Mapping>(map_shared(index.read_only_fd(), index.bytes(), false));
    process.attachments.push_back(std::move(attachment));
    say("process {} attaches as session {}", process.pid, session.id);
    give_up_older(process);
  }

  // The client library gives up ended attachments as soon as it holds nothing of them.
  void give_up_older(Process& process) {
    Attachment* now = current(process);
    if (now == nullptr) return;
    for (auto old = process.attachments.begin(); &*old != now;) {
      if (!old->held.empty() || !old->writing.empty()) {
        ++old;
        continue;
      }
      Session* caller = core_->find_session(now->session);
      const Status given = core_->give_up(*caller, old->session, old->epoch);
      say("process {} gives up session {}: {}", process.pid, old->session,
          given.ok() ? "ok" : given.error().message());
      old = process.attachments.erase(old);
    }
  }

  Attachment* current(Process& process) {
    if (process.attachments.empty() || !process.attachments.back().live) return nullptr;
    return &process.attachments.back();
  }
  Session* session_of(const Attachment& attachment) {
    return attachment.live ? core_->find_session(attachment.session) : nullptr;
  }
  Process* some_process() {
    std::vector<Process*> alive;
    for (Process& process : processes_) {
      if (process.alive) alive.push_back(&process);
    }
    return alive.empty() ? nullptr : alive[random_.below(static_cast<uint32_t>(alive.size()))];
  }

  // The id of a simulated space in this daemon, opened when first used.
  uint32_t space_id(Session& session, const Process& process, uint32_t space) {
    const auto known = space_ids_.find({process.tenant, space});
    if (known != space_ids_.end()) return known->second;
    wire::SpaceSpecWire spec = {};
    std::snprintf(spec.model, sizeof spec.model, "%s", kSpaces[space].model);
    spec.tokens_per_chunk = kTokensPerChunk;
    spec.shard = kSpaces[space].shard;
    spec.shards = kSpaces[space].shards;
    spec.chunk_bytes_max = kSpaces[space].payload_bytes;
    auto opened = core_->open_space(session, spec);
    if (!opened.ok()) fail("space {} does not open: {}", space, opened.error().message());
    header_bytes_ = opened->header_bytes;
    return space_ids_[{process.tenant, space}] = opened->id;
  }

  // --- steps

  void do_step() {
    const uint32_t choice = random_.below(100);
    Process* process = some_process();
    if (process == nullptr || (choice < 2 && processes_.size() < 8)) return add_process();
    if (current(*process) == nullptr && choice < 90) {
      // Between the daemon's death and its own re-attachment a client still reads and writes.
      if (random_.percent(50)) return go_on_without_daemon(*process);
      return attach(*process);
    }
    if (choice < 30) return store(*process);
    if (choice < 55) return match(*process);
    if (choice < 65) return prefetch(*process);
    if (choice < 67) return cancel(*process);
    if (choice < 77) return let_go(*process);
    if (choice < 82) return end_writing(*process);
    if (choice < 84) return hint(*process);
    if (choice < 86) return end_session(*process);
    if (choice < 87) return end_process(*process);
    if (choice < 89) return operate();
    if (choice < 93) return environment_.change_faults(), say("faults change");
    if (choice < 95) return pass_time();
    if (choice < 96 && environment_.restarts()) restart();
  }

  ChunkName some_chunk(const Process& process) {
    ChunkName name;
    name.tenant = process.tenant;
    name.space = random_.below(kSpaceCount);
    name.prompt = std::min(random_.below(kPrompts), random_.below(kPrompts));
    name.position = 0;
    return name;
  }

  void store(Process& process) {
    Attachment& at = *current(process);
    Session* session = session_of(at);
    if (session == nullptr) return lose_session(at);
    ChunkName name = some_chunk(process);
    const uint32_t chunks = random_.between(1, kChunksPerPromptMax);
    const uint32_t space = space_id(*session, process, name.space);
    for (name.position = 0; name.position < chunks; ++name.position) {
      const uint32_t tokens[kTokensPerChunk] = {name.tenant, name.prompt, name.position, 7};
      daemon::ReserveRequest request = {};
      request.arg.key = key_of(name);
      request.arg.payload_bytes = kSpaces[name.space].payload_bytes;
      request.arg.position = name.position;
      request.tokens = tokens;
      wire::ReserveAnswer answer = {};
      core_->reserve(*session, space, {&request, 1}, {&answer, 1});
      const auto outcome = static_cast<ReserveOutcome>(answer.outcome);
      if (outcome == ReserveOutcome::kPresent || outcome == ReserveOutcome::kInProgress) continue;
      if (outcome == ReserveOutcome::kBusy) settle(2);
      if (outcome != ReserveOutcome::kGranted) return;
      const Writing writing{wire::Place(answer.place), name,
                            slot_memory(*session, at, answer.place)};
      if (writing.slot == nullptr) fail("the segment of a grant is gone: {}", text_of(name));
      if (!header_says(writing.slot, name, kSpaces[name.space].payload_bytes)) {
        fail("a granted slot has another header: {}", text_of(name));
      }
      say("process {} reserves {} at {:x}", process.pid, text_of(name), answer.place);
      at.writing.push_back(writing);
      if (random_.percent(85)) {
        commit(process, at, at.writing.size() - 1);
      }
    }
  }

  std::span<std::byte> payload(const Writing& writing) {
    return {writing.slot + header_bytes_, kSpaces[writing.name.space].payload_bytes};
  }

  void commit(Process& process, Attachment& at, size_t which) {
    const Writing writing = at.writing[which];
    at.writing.erase(at.writing.begin() + static_cast<ptrdiff_t>(which));
    fill_content(writing.name, payload(writing));
    Session* session = session_of(at);
    if (session == nullptr) return;
    const bool checksum = random_.percent(90);
    wire::CommitArg argument = {writing.place.word(), 0, checksum ? wire::kCommitHasChecksum : 0u,
                                0};
    if (checksum)
      argument.checksum = kernels::hash_only(payload(writing).data(), payload(writing).size());
    wire::CommitAnswer answer = {};
    core_->commit(*session, {&argument, 1}, {&answer, 1});
    const auto outcome = static_cast<wire::CommitOutcome>(answer.outcome);
    say("process {} commits {}: {}", process.pid, text_of(writing.name), answer.outcome);
    if (outcome == wire::CommitOutcome::kUnknownGrant) {
      fail("a grant was taken from a living session: {}", text_of(writing.name));
    }
    if (outcome != wire::CommitOutcome::kStored) return;
    ++tally_.stored;
    committed_.insert(writing.name);
  }

  // Where the process sees a place; maps the segment when it has not yet.
  std::byte* slot_memory(Session& session, Attachment& at, uint64_t word) {
    const wire::Place place(word);
    const auto view = wire::PublishedView::of(at.published->data());
    const uint64_t uid = view.segments[place.segment()].uid.load();
    auto& mapping = at.segments[{place.segment(), uid}];
    if (mapping == nullptr) {
      auto fd = core_->segment_fd(session, place.segment(), uid);
      if (!fd.ok()) return nullptr;
      mapping = std::make_shared<Mapping>(map_shared(fd->fd, fd->bytes, true));
    }
    return mapping->data() + place.slot() * view.segments[place.segment()].slot_bytes.load();
  }

  void match(Process& process) {
    Attachment& at = *current(process);
    Session* session = session_of(at);
    if (session == nullptr) return lose_session(at);
    ChunkName name = some_chunk(process);
    const uint32_t space = space_id(*session, process, name.space);
    for (name.position = 0; name.position < kChunksPerPromptMax; ++name.position) {
      const auto cell = free_cell(at);
      if (!cell.has_value()) return;
      const LeaseResult lease = take_lease(at, space, key_of(name), *cell);
      if (lease.outcome == LeaseOutcome::kLower) {
        ++tally_.lower_hits;
        if (committed_.count(name) == 0) fail("found below, never committed: {}", text_of(name));
      }
      if (lease.outcome != LeaseOutcome::kHeld) return;
      if (committed_.count(name) == 0) fail("a phantom: {}", text_of(name));
      if (!use(process, *session, at, name, lease, *cell)) return;
    }
  }

  // Reads a leased chunk as an engine would. False: it was not usable.
  bool use(Process& process, Session& session, Attachment& at, const ChunkName& name,
           const LeaseResult& lease, uint32_t cell) {
    const wire::Place place = lease.found.place;
    const std::byte* slot = slot_memory(session, at, place.word());
    if (slot == nullptr) {
      at.memory->cell(cell).store(0, std::memory_order_release);
      return false;
    }
    const bool checked = (lease.found.flags & wire::kCheckOnLoad) != 0;
    const bool right = is_right(name, slot);
    if (!load_holds(at, lease.revocations)) {
      at.memory->cell(cell).store(0, std::memory_order_release);
      return false;
    }
    if (!right) {
      // What a checksum on the first load after a restart is for.
      if (!checked || !is_damage(name, slot)) {
        fail("wrong bytes: {} at {:x}: header {}, {} words of the payload, flags {}, damaged {}",
             text_of(name), place.word(),
             header_says(slot, name, kSpaces[name.space].payload_bytes) ? "right" : "wrong",
             wrong_words(name, {slot + header_bytes_, kSpaces[name.space].payload_bytes}),
             lease.found.flags, environment_.damaged_host());
      }
      ++tally_.bad_chunks;
      core_->bad_chunk(session, place, wire::BadKind::kChecksum);
      at.memory->cell(cell).store(0, std::memory_order_release);
      return false;
    }
    ++tally_.hits;
    say("process {} leases {} at {:x}", process.pid, text_of(name), place.word());
    at.memory->touch(place);
    Held held;
    held.cell = cell;
    held.place = place;
    held.name = name;
    held.revocations = lease.revocations;
    held.slot = slot;
    at.held.push_back(std::move(held));
    return true;
  }

  bool is_right(const ChunkName& name, const std::byte* slot) {
    const uint64_t bytes = kSpaces[name.space].payload_bytes;
    return header_says(slot, name, bytes) && wrong_words(name, {slot + header_bytes_, bytes}) == 0;
  }
  // Bad luck that was made on purpose changes a byte at a time; another chunk in its place is not.
  bool is_damage(const ChunkName& name, const std::byte* slot) {
    const uint64_t bytes = kSpaces[name.space].payload_bytes;
    return wrong_words(name, {slot + header_bytes_, bytes}) <= environment_.damaged_host() &&
           environment_.damaged_host() > 0;
  }

  std::optional<uint32_t> free_cell(const Attachment& at) {
    for (uint32_t i = 0; i < kCells; ++i) {
      const bool used = std::any_of(at.held.begin(), at.held.end(),
                                    [i](const Held& held) { return held.cell == i; });
      if (!used) return i;
    }
    return std::nullopt;
  }

  // Ends some leases: until then the bytes must have stayed.
  void let_go(Process& process) {
    for (Attachment& at : process.attachments) {
      for (size_t i = at.held.size(); i-- > 0;) {
        if (random_.percent(50)) release(at, i);
      }
    }
    give_up_older(process);
  }

  void release(Attachment& at, size_t which) {
    const Held held = at.held[which];
    at.held.erase(at.held.begin() + static_cast<ptrdiff_t>(which));
    const bool revoked = at.memory->header().revocations.load() != held.revocations;
    if (revoked) {
      ++tally_.revoked;
    } else if (!is_right(held.name, held.slot) && !is_damage(held.name, held.slot)) {
      fail("a leased slot changed: {} at {:x}", text_of(held.name), held.place.word());
    }
    at.memory->cell(held.cell).store(0, std::memory_order_release);
    ++tally_.released;
  }

  void end_writing(Process& process) {
    for (Attachment& at : process.attachments) {
      if (at.writing.empty()) continue;
      if (at.live && random_.percent(70)) {
        commit(process, at, at.writing.size() - 1);
        continue;
      }
      // An engine's copy that ends late, whatever became of the daemon: bytes go where the grant
      // is, so no one else may use the slot yet.
      const Writing writing = at.writing.back();
      at.writing.pop_back();
      fill_content(writing.name, payload(writing));
      ++tally_.late_writes;
      Session* session = session_of(at);
      if (session == nullptr) continue;
      const wire::CommitArg argument = {writing.place.word(), 0, 0, 0};
      core_->abort(*session, {&argument, 1});
    }
    give_up_older(process);
  }

  void go_on_without_daemon(Process& process) {
    if (random_.percent(50)) return let_go(process);
    end_writing(process);
  }

  void prefetch(Process& process) {
    Attachment& at = *current(process);
    Session* session = session_of(at);
    if (session == nullptr) return lose_session(at);
    ChunkName name = some_chunk(process);
    const uint32_t space = space_id(*session, process, name.space);
    const uint32_t count = random_.between(1, kChunksPerPromptMax);
    std::vector<wire::KeyArg> keys;
    for (name.position = 0; name.position < count; ++name.position) keys.push_back({key_of(name)});
    name.position = 0;
    const uint64_t deadline = clock_.now_ns() + uint64_t{random_.between(1, 400)} * 1'000'000;
    const uint64_t user_data = next_user_data_++;
    asked_[{session->id, user_data}] = {name, count, deadline};
    say("process {} prefetches {} chunks of {}", process.pid, count, text_of(name));
    core_->prefetch(*session, user_data, space, keys, deadline);
  }

  void take_answer(const PrefetchAnswer& answer) {
    const auto found = asked_.find({answer.session, answer.user_data});
    if (found == asked_.end()) {
      const Session* ended = core_->find_session(answer.session);
      if (ended == nullptr || ended->state != daemon::SessionState::kAttached) return;
      fail("an answer to a prefetch that nobody waits for");
    }
    const Asked asked = found->second;
    asked_.erase(found);
    say("prefetch {} of session {}: status {}, {} resident", answer.user_data, answer.session,
        static_cast<int>(answer.status), answer.count);
    if (answer.status == Code::kOk && answer.count != asked.count) {
      fail("a prefetch is ok with {} of {} chunks", answer.count, asked.count);
    }
    ++(answer.status == Code::kOk ? tally_.prefetched : tally_.prefetch_failed);
    // Held until its deadline; what came of a prefetch that failed is not held at all.
    Session* session = core_->find_session(answer.session);
    if (session == nullptr || answer.status != Code::kOk || clock_.now_ns() >= asked.deadline_ns) {
      return;
    }
    const auto& index = *core_->tenant(session->tenant).index;
    ChunkName name = asked.first;
    for (name.position = 0; name.position < answer.count; ++name.position) {
      const uint32_t space = space_ids_.at({name.tenant, name.space});
      const wire::FoundChunk chunk = wire::find_chunk(index.view(), key_of(name), space);
      if (chunk.found != wire::Found::kHost) {
        fail("a prefetch says {} is resident, and it is not", text_of(name));
      }
      if (committed_.count(name) == 0) fail("prefetched, never committed: {}", text_of(name));
    }
  }

  void cancel(Process& process) {
    Attachment& at = *current(process);
    Session* session = session_of(at);
    if (session == nullptr) return lose_session(at);
    for (const auto& [id, asked] : asked_) {
      if (id.first != session->id) continue;
      [[maybe_unused]] const Status cancelled = core_->cancel(*session, id.second);
      say("process {} cancels prefetch {}", process.pid, id.second);
      return;
    }
  }

  void hint(Process& process) {
    Attachment& at = *current(process);
    Session* session = session_of(at);
    if (session == nullptr) return lose_session(at);
    ChunkName name = some_chunk(process);
    const uint32_t space = space_id(*session, process, name.space);
    std::vector<wire::KeyArg> keys;
    for (name.position = 0; name.position < 4; ++name.position) keys.push_back({key_of(name)});
    const auto kind = static_cast<wire::HintKind>(random_.between(1, 3));
    [[maybe_unused]] const Status hinted =
        core_->hint(*session, space, keys, kind, random_.percent(50) ? 0.0 : 0.05);
  }

  // The daemon ended the session (a kill by an operator): the client attaches anew later.
  void lose_session(Attachment& at) { at.live = false; }

  void end_session(Process& process) {
    Attachment& at = *current(process);
    Session* session = session_of(at);
    if (session == nullptr) return lose_session(at);
    forget_asked(session->id);
    if (random_.percent(50)) {
      // Orderly: all copies done, all leases back.
      while (!at.held.empty()) release(at, at.held.size() - 1);
      at.writing.clear();
      core_->remove_session(*session);
      process.attachments.pop_back();
      say("process {} detaches", process.pid);
    } else {
      core_->orphan_session(*session);
      at.live = false;
      say("process {} loses its socket", process.pid);
    }
  }

  void end_process(Process& process) {
    if (processes_.size() < 2) return;
    say("process {} ends", process.pid);
    for (Attachment& at : process.attachments) {
      forget_asked(at.session);
      if (Session* session = core_->find_session(at.session)) core_->remove_session(*session);
    }
    process.attachments.clear();
    process.alive = false;
    std::erase_if(processes_, [](const Process& one) { return !one.alive; });
  }

  void forget_asked(uint32_t session) {
    std::erase_if(asked_, [session](const auto& one) { return one.first.first == session; });
  }

  void operate() {
    if (random_.percent(80)) return;
    const std::string tenant = random_.percent(50) ? "uid-1000" : "uid-1001";
    say("an operator flushes {}", tenant);
    [[maybe_unused]] const auto flushed = core_->flush(tenant);
  }

  void pass_time() {
    const uint64_t ms = random_.percent(20) ? random_.between(100, 3000) : random_.between(1, 50);
    for (uint64_t i = 0; i < ms; i += 10) {
      clock_.advance_ns(10'000'000);
      turn();
    }
  }

  // --- restarts

  void restart() {
    const Ending ending = environment_.some_ending();
    say("the daemon ends: {}", name_of(ending));
    ++tally_.restarts;
    tally_.kills += ending == Ending::kKill ? 1u : 0u;
    tally_.power_cuts += ending == Ending::kPowerCut ? 1u : 0u;
    asked_.clear();
    space_ids_.clear();
    loss_.ends(*core_, committed_);
    environment_.stop(ending, std::move(core_));
    loss_.ended(ending);
    executor_.reset();
    if (ending == Ending::kPowerCut) {
      processes_.clear();
    }
    for (Process& process : processes_) {
      for (Attachment& at : process.attachments) at.live = false;
      if (random_.percent(15)) end_without_daemon(process);
    }
    std::erase_if(processes_, [](const Process& one) { return !one.alive; });
    start_daemon();
    loss_.started(*core_, committed_);
    environment_.end_processes_unseen(*core_, [this](int pid) {
      return std::any_of(processes_.begin(), processes_.end(),
                         [pid](const Process& process) { return process.pid == pid; });
    });
  }

  void end_without_daemon(Process& process) {
    process.attachments.clear();
    process.alive = false;
  }

  // --- invariants

  void check_bounds() {
    const auto snapshot = core_->snapshot();
    for (const auto& tier : snapshot.tiers) {
      if (tier.capacity_bytes != 0 && tier.used_bytes > tier.capacity_bytes) {
        fail("tier {} uses {} of {} bytes", tier.name, tier.used_bytes, tier.capacity_bytes);
      }
    }
  }

  // Everybody leaves, all that is under way ends: nothing may be left over.
  void finish() {
    environment_.heal();
    for (Process& process : processes_) {
      for (Attachment& at : process.attachments) {
        while (!at.held.empty()) release(at, at.held.size() - 1);
        if (Session* session = core_->find_session(at.session)) core_->remove_session(*session);
      }
    }
    asked_.clear();
    for (int i = 0; i < 6000; ++i) {
      clock_.advance_ns(20'000'000);
      executor_->complete();
      core_->poll_tier();
      core_->expire_prefetches();
      core_->tick();
      [[maybe_unused]] const auto late = core_->take_prefetch_answers();
      if (i > 20 && !core_->tier_active() && executor_->pending() == 0 && left_over() == 0) break;
    }
    if (core_->session_count() != 0) fail("{} sessions are left", core_->session_count());
    if (left_over() != 0) {
      const auto host = core_->snapshot().tiers.front();
      fail("left over: {} granted, {} retired slots, {} being filled", host.granted_slots,
           host.retired_slots, filling());
    }
  }

  uint64_t filling() {
    uint64_t count = 0;
    auto& slots = core_->host().slots();
    for (daemon::SlotId slot = 0; slot < slots.high_water(); ++slot) {
      if (slots[slot].state.load() == SlotState::kFilling) ++count;
    }
    return count;
  }
  uint64_t left_over() {
    const auto host = core_->snapshot().tiers.front();
    return host.granted_slots + host.retired_slots + filling();
  }

  RunOptions options_;
  Random random_;
  daemon::VirtualClock clock_;
  Environment environment_;
  std::unique_ptr<daemon::Executor> executor_;
  std::unique_ptr<Core> core_;
  std::deque<Process> processes_;
  std::map<std::pair<uint32_t, uint32_t>, uint32_t> space_ids_;  // (tenant, space) -> id
  std::map<std::pair<uint32_t, uint64_t>, Asked> asked_;         // (session, user data)
  std::set<ChunkName> committed_;                                // ever
  LossCheck loss_{environment_};
  const daemon::Fd pidfd_{::eventfd(0, EFD_CLOEXEC)};  // stands for every process's
  uint32_t header_bytes_ = 4096;
  int next_pid_ = 100;
  uint64_t next_user_data_ = 1;
  uint64_t ticked_ns_ = 0;
  Tally tally_;
};

}  // namespace

Outcome simulate(const RunOptions& options) {
  Outcome outcome;
  World world(options);
  try {
    world.run();
  } catch (const Failure& failure) {
    outcome.failure = failure.text;
  }
  outcome.tally = world.tally();
  return outcome;
}

}  // namespace kvtier::simulation
