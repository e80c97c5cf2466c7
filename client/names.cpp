// Names and versions. Pure.
#include "client/attach.hpp"
#include "kvtier/kvtier.hpp"

namespace kvtier {

const char* miss_reason_name(MissReason reason) {
  switch (reason) {
    case MissReason::kNone:
      return "none";
    case MissReason::kAbsent:
      return "absent";
    case MissReason::kLower:
      return "lower";
    case MissReason::kLeasedOut:
      return "leased_out";
    case MissReason::kUnverified:
      return "unverified";
    case MissReason::kCodec:
      return "codec";
    case MissReason::kShard:
      return "shard";
    case MissReason::kMismatch:
      return "mismatch";
    case MissReason::kUnavailable:
      return "unavailable";
    case MissReason::kTooManyLeases:
      return "too_many_leases";
    case MissReason::kDeadline:
      return "deadline";
  }
  return "unknown";
}

const char* store_outcome_name(StoreOutcome outcome) {
  switch (outcome) {
    case StoreOutcome::kStored:
      return "stored";
    case StoreOutcome::kPresent:
      return "present";
    case StoreOutcome::kInProgress:
      return "in_progress";
    case StoreOutcome::kFull:
      return "full";
    case StoreOutcome::kOverQuota:
      return "over_quota";
    case StoreOutcome::kDeclined:
      return "declined";
    case StoreOutcome::kBusy:
      return "busy";
    case StoreOutcome::kFailed:
      return "failed";
  }
  return "unknown";
}

const char* version() {
  return KVTIER_VERSION;
}
uint32_t protocol_version_min() {
  return KVTIER_CLIENT_VERSION_MIN;
}
uint32_t protocol_version_max() {
  return KVTIER_CLIENT_VERSION_MAX;
}

}  // namespace kvtier
