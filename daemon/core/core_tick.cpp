// What the core does by time: retired slots, growth, draining segments, the cost board; and taking
// over a new configuration. Core thread.
#include <algorithm>

#include "daemon/core/core.hpp"
#include "daemon/log/log.hpp"

namespace kvtier::daemon {

void Core::tick() {
  for (const std::unique_ptr<Tenant>& tenant : tenants_) {
    drain_all_touches(*tenant);
    sweep_retired(*tenant);
    revoke_overdue(*tenant);
    tenant->curve.set_reach(tenant->chunks + tenant->lower_chunks);
    tenant->pressed = false;
  }
  for (const auto& [id, session] : sessions_) drain_plans(*session);
  sweep_draining();
  host_->tend();
  ledger_.tend();
  note_keeper();
  release_fillings();
  recheck_some();
  tick_tier();
  const std::vector<SlotId> waiting = std::exchange(unverified_, {});
  for (const SlotId slot : waiting) {
    if (host_->slots()[slot].state.load(std::memory_order_relaxed) == SlotState::kValid &&
        (host_->slots()[slot].flags & kRecordHasChecksum) == 0) {
      verify_later(tenant_of(slot), slot);
    }
  }
  publish_costs();
}

void Core::note_keeper() {
  const std::string trouble = ledger_.trouble();
  if (!trouble.empty() && !keeper_in_trouble_) {
    log_event(LogCode::kKeeperTrouble, "{}", trouble);
  }
  keeper_in_trouble_ = !trouble.empty();
}

void Core::publish_costs() {
  const uint64_t now = clock_.now_ns();
  uint64_t queued_below = lower_ ? lower_.tier->capacity().queued_bytes : 0;
  for (const uint64_t ticket : lower_.reads_waiting) {
    queued_below += lower_.reads[ticket].chunk.bytes();
  }
  for (const std::unique_ptr<Tenant>& tenant : tenants_) {
    wire::CostBoard& board = tenant->index->begin_board();
    constexpr auto kRelaxed = std::memory_order_relaxed;
    board.heartbeat_ns.store(now, kRelaxed);
    board.health.store(draining_ ? 2 : 0, kRelaxed);
    wire::TierCost& host = board.tiers[static_cast<size_t>(wire::Tier::kHost)];
    host.bandwidth_bytes_per_s.store(wire::double_bits(host_meter_.bandwidth_bytes_per_s(now)),
                                     kRelaxed);
    board.measured_ns[static_cast<size_t>(wire::Tier::kHost)].store(host_meter_.measured_ns(),
                                                                    kRelaxed);
    host.latency_s.store(wire::double_bits(host_meter_.latency_s()), kRelaxed);
    host.queued_bytes.store(0, kRelaxed);
    host.samples.store(host_meter_.samples(), kRelaxed);
    if (lower_) {
      wire::TierCost& below = board.tiers[static_cast<size_t>(lower_.tier->kind())];
      below.bandwidth_bytes_per_s.store(wire::double_bits(lower_.meter.bandwidth_bytes_per_s(now)),
                                        kRelaxed);
      board.measured_ns[static_cast<size_t>(lower_.tier->kind())].store(lower_.meter.measured_ns(),
                                                                        kRelaxed);
      below.latency_s.store(wire::double_bits(lower_.meter.latency_s()), kRelaxed);
      below.queued_bytes.store(queued_below, kRelaxed);
      below.samples.store(lower_.meter.samples(), kRelaxed);
      board.tiers_down.store(
          lower_.in_service ? 0 : uint64_t{1} << static_cast<size_t>(lower_.tier->kind()),
          kRelaxed);
    }
    const double assumed = static_cast<double>(config_.planner.recompute_default_per_token) * 1e-9;
    for (const std::unique_ptr<Space>& space : tenant->spaces) {
      wire::SpaceCost& cost = board.spaces[space->number];
      space->prefill.assume(assumed);
      const PrefillCost::Fit fit = space->prefill.fit(now);
      cost.a.store(wire::double_bits(fit.a), kRelaxed);
      cost.b.store(wire::double_bits(fit.b), kRelaxed);
      cost.g.store(wire::double_bits(fit.g), kRelaxed);
      cost.samples.store(space->prefill.samples(now), kRelaxed);
    }
    tenant->index->end_board();
  }
}

namespace {
struct AnySlot final : VictimFilter {
  bool may_evict(SlotId) const override { return true; }
};

// Another policy takes over what is resident in the order in which the old one would have let it
// go.
template <typename FactsOf>
void change_policy(std::unique_ptr<Policy>& policy, const std::string& name, size_t resident_max,
                   const FactsOf& facts_of) {
  std::vector<SlotId> order(resident_max);
  order.resize(policy->victims(order, AnySlot()));
  policy = std::move(make_policy(name)).value();  // the configuration allows no unknown name
  for (const SlotId slot : order) policy->inserted(slot, facts_of(slot));
}
}  // namespace

void Core::apply_config(const Config& config) {
  // Only what may change while running: the caller has checked that nothing else differs.
  const bool other_policy = config.host.policy != config_.host.policy;
  const bool other_codecs = config.host.encode != config_.host.encode ||
                            config.nvme.encode != config_.nvme.encode ||
                            config.space != config_.space;
  config_ = config;
  for (const std::unique_ptr<Tenant>& tenant : tenants_) {
    for (const std::unique_ptr<Space>& space : tenant->spaces) {
      if (!other_codecs || space->group == 0) continue;
      choose_codecs(*space);
      publish_space(*tenant, *space);
    }
    if (!other_policy) continue;
    for (auto& [slot_bytes, policy] : tenant->policies) {
      change_policy(policy, config.host.policy, tenant->chunks, [&](SlotId slot) {
        const SlotRecord& record = host_->slots()[slot];
        const Space* space = find_space(*tenant, record.space);
        return ChunkFacts{record.key, record.position,
                          space == nullptr ? 0 : space->spec.tokens_per_chunk,
                          record.payload_bytes};
      });
    }
    for (auto& [which, policy] : tenant->lower_policies) {
      change_policy(policy, config.host.policy, tenant->lower_chunks, [&](TierPlace place) {
        const TierChunk chunk = lower_chunk(*tenant, lower_.notes[place].entry);
        return ChunkFacts{chunk.key, chunk.position, chunk.tokens, chunk.payload_bytes};
      });
    }
  }
  for (const std::unique_ptr<Tenant>& tenant : tenants_) {
    uint64_t share = config.tenants.host_share_ppm;
    uint64_t bytes_max = config.tenants.host_bytes_max;
    uint64_t sessions_max = config.tenants.sessions_max;
    uint64_t spaces_max = config.tenants.spaces_max;
    for (const TenantConfig& listed : config.tenant) {
      if (listed.name != tenant->name) continue;
      share = listed.host_share_ppm;
      bytes_max = listed.host_bytes_max;
      sessions_max = listed.sessions_max;
      spaces_max = listed.spaces_max;
    }
    tenant->host_bytes_max = std::min(share_of(capacity_bytes_, share), bytes_max);
    tenant->sessions_max = sessions_max;
    tenant->spaces_max = std::min<uint64_t>(spaces_max, wire::kSpacesMax);
  }
  ++counters_.config_reloads;
}

}  // namespace kvtier::daemon
