// Which chunks the write budget of the tier below goes to, when it does not pay for all that leave
// host memory: daemon/policy/admission.hpp ranks them. A chunk is offered once between two uses;
// one that is refused is dropped when its slot is needed. That no window is ever exceeded is the
// tier's own affair (daemon/tiers/nvme_budget.hpp). Core thread.
#include <algorithm>

#include "daemon/core/core.hpp"
#include "daemon/core/core_siblings.hpp"

namespace kvtier::daemon {

namespace {
constexpr double kDaySeconds = 86400;
constexpr double kOfferSeconds = 21 * 45;  // that Lower::Offers covers
constexpr double kOfferSecondsMin = 1;     // as the shorter of the budgets
constexpr uint8_t kUsesMax = 31;
}  // namespace

// How much of what is offered the budgets pay for: what they allow over the time that offers are
// remembered, a day's budget evenly over the day.
double Core::writable_share() {
  const auto& nvme = config_.nvme;
  if (nvme.write_budget == kUnlimited && nvme.write_budget_day == kUnlimited) return 1;
  const uint64_t now = clock_.now_ns();
  const double since = static_cast<double>(now - lower_.first_offer_ns) * 1e-9;
  const double seconds = std::clamp(since, kOfferSecondsMin, kOfferSeconds);
  const double rate = std::min(static_cast<double>(nvme.write_budget),
                               static_cast<double>(nvme.write_budget_day) / kDaySeconds) *
                      static_cast<double>(std::max<size_t>(nvme.paths.size(), 1));
  const uint64_t offered = UINT64_MAX - lower_.offered.left(now);
  return rate * seconds / static_cast<double>(std::max<uint64_t>(offered, 1));
}

bool Core::is_worth_writing(Tenant& tenant, SlotId slot) {
  const auto& nvme = config_.nvme;
  if (nvme.write_budget == kUnlimited && nvme.write_budget_day == kUnlimited) return true;
  SlotNotes& note = notes_[slot];
  const SlotRecord& record = host_->slots()[slot];
  const uint64_t now = clock_.now_ns();
  if (lower_.first_offer_ns == 0) lower_.first_offer_ns = now;
  uint64_t bytes = record.payload_bytes;
  each_sibling(tenant, slot, [&](SlotId one) { bytes += host_->slots()[one].payload_bytes; });
  lower_.offered.charge(now, bytes);
  if (lower_.admission.admits(record.key, note.uses, record.position, writable_share()))
    return true;
  note.refused = true;
  each_sibling(tenant, slot, [&](SlotId one) { notes_[one].refused = true; });
  return false;
}

void Core::count_use(SlotId slot) {
  SlotNotes& note = notes_[slot];
  if (note.uses < kUsesMax) note.uses = (note.uses + 1) & kUsesMax;
  note.refused = false;
}

}  // namespace kvtier::daemon
