// Which scenarios belong to which protocol.
#include "tests/model/scenarios.hpp"

namespace kvtier::model {

const std::vector<Protocol>& protocols() {
  static const std::vector<Protocol> kAll = {
      {"index", {index_reuse, index_insert, index_verified}},
      {"lease",
       {lease_batch, lease_two_sessions, lease_two_rounds, lease_other_entry, lease_cell_again,
        lease_moved, lease_republished, lease_mark}},
      {"load_end", {revocation_by_count, revocation_by_end}},
      {"ring", {ring_one_way, ring_both_ways}},
      {"touch", {touch_log}},
      {"restart", {restart}},
      {"kept_slot", {kept_slot_granted, kept_slot_filled}},
      {"death", {client_death}},
      {"board", {cost_board}},
      {"segment", {segment_reuse}},
  };
  return kAll;
}

}  // namespace kvtier::model
