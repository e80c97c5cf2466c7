// The protocols of docs/protocol.md as small programs. Each function builds one scenario; the
// variant says which order or rule is weakened in it, if any.
#pragma once

#include <string>
#include <vector>

#include "tests/model/program.hpp"

namespace kvtier::model {

// A property that the scenarios of one protocol share: a change is found if any of them fails.
struct Protocol {
  std::string name;
  std::vector<Model (*)(Variant&)> scenarios;
};

const std::vector<Protocol>& protocols();

// Section 3: insert, look up, remove, and the entry used again for another chunk.
Model index_reuse(Variant& variant);     // a reader against removal and reuse, torn keys included
Model index_insert(Variant& variant);    // a reader against an insert it may have been told of
Model index_verified(Variant& variant);  // flags of a live entry, and what they announce
// Section 4: leases.
Model lease_batch(Variant& variant);         // two batches of two against reclaim, retire, reuse
Model lease_two_sessions(Variant& variant);  // two readers, a writer of its own, reuse of the entry
Model lease_two_rounds(Variant& variant);    // the slot changes hands twice
Model lease_other_entry(Variant& variant);   // the slot comes back under another entry
Model lease_cell_again(Variant& variant);    // one cell, used for one slot and then for another
Model lease_moved(Variant& variant);         // a lease moves between cells
Model lease_republished(Variant& variant);   // a retired slot is published again, then reclaimed
Model lease_mark(Variant& variant);          // three threads of a client share the mark
// Section 4: the end of a load.
Model revocation_by_count(Variant& variant);
Model revocation_by_end(Variant& variant);
// Section 5: rings and wake-ups.
Model ring_one_way(Variant& variant);
Model ring_both_ways(Variant& variant);
// Section 5: the touch log.
Model touch_log(Variant& variant);
// Section 6: a daemon is killed, the next takes over.
Model restart(Variant& variant);
// Section 8: the record of one slot, daemons killed between any two of its stores.
Model kept_slot_granted(Variant& variant);  // an engine writes the slot
Model kept_slot_filled(Variant& variant);   // a lower tier's device does
// Section 5: a client dies.
Model client_death(Variant& variant);
// The cost board's sequence lock, the segment table's uid.
Model cost_board(Variant& variant);
Model segment_reuse(Variant& variant);

}  // namespace kvtier::model
