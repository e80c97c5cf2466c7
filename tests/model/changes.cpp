// The table of changes; README.md shows it.
#include "tests/model/changes.hpp"

namespace kvtier::model {
namespace {

constexpr auto kViolation = Found::kViolation;
constexpr auto kNothing = Found::kNothing;
constexpr auto kRelaxed = Order::kRelaxed;
constexpr auto kAcqRel = Order::kAcqRel;
constexpr auto kRelease = Order::kRelease;
constexpr auto kGone = Order::kNone;
constexpr auto kBroken = std::nullopt;

}  // namespace

std::string Change::label() const {
  if (!weaker) return protocol + ": " + name;
  if (*weaker == Order::kNone) return protocol + ": no " + name;
  return protocol + ": " + name + " as " + std::string(order_name(*weaker));
}

const std::vector<Change>& changes() {
  static const std::vector<Change> kAll = {
      {"index", "I1", kRelaxed, kViolation, "a new place is seen with the key it replaces"},
      {"index", "L2", kRelaxed, kViolation, "the same, on the reader's side"},
      {"index", "L3", kGone, kViolation, "a new key is seen with the place before it"},
      {"index", "D", kGone, kViolation, "the same, on the daemon's side"},
      {"index", "flags", kRelaxed, kViolation, "verified is seen before the checksum"},
      {"index", "checksum used while unverified", kBroken, kViolation, "it is being written"},
      {"index", "place read once", kBroken, kViolation,
       "L3 orders nothing without the second load"},
      {"index", "D", kRelease, kNothing,
       "without leases a release fence would do; the lease needs it seq_cst"},
      {"index", "I2", kRelaxed, kNothing,
       "the entry decides: a tag seen too early is a miss; a chunk the reader was told of is "
       "found"},
      {"index", "L1", kRelaxed, kNothing, "as I2"},

      {"lease", "R", kGone, kViolation,
       "store buffering: the scan misses the cell of a held lease"},
      {"lease", "R", kAcqRel, kViolation, "the same: only seq_cst orders a store before a load"},
      {"lease", "D", kGone, kViolation, "store buffering, on the daemon's side"},
      {"lease", "D", kAcqRel, kViolation, "the same"},
      {"lease", "I1", kRelaxed, kViolation, "a new place with the old key, or with the old bytes"},
      {"lease", "L2", kRelaxed, kViolation, "the same, on the reader's side"},
      {"lease", "M", kRelaxed, kViolation,
       "a cell used again: the scan reads the new value and learns nothing of the old release"},
      {"lease", "release", kRelaxed, kViolation, "bytes are read after the cell is seen empty"},
      {"lease", "scan cell", kRelaxed, kViolation, "the same, on the daemon's side"},
      {"lease", "grant", kRelaxed, kViolation, "the writer starts before the last reader is done"},
      {"lease", "take grant", kRelaxed, kViolation, "the same, on the writer's side"},
      {"lease", "commit", kRelaxed, kViolation, "the chunk is visible before its bytes"},
      {"lease", "take commit", kRelaxed, kViolation, "the same, on the daemon's side"},
      {"lease", "R moved", kGone, kViolation, "a lease moves past the scan"},
      {"lease", "R moved", kAcqRel, kViolation, "the same"},
      {"lease", "cell after the fence", kBroken, kViolation, "the cell is not in front of R"},
      {"lease", "mark after the fence", kBroken, kViolation, "the scan stops below the cell"},
      {"lease", "mark raised by a plain store", kBroken, kViolation,
       "a late thread of the client lowers it"},
      {"lease", "place not validated", kBroken, kViolation, "the slot was gone before the cell"},
      {"lease", "scan before the place is cleared", kBroken, kViolation,
       "a lease comes in between"},
      {"lease", "found slots are not retired", kBroken, kViolation,
       "the scan is there for a reason"},
      {"lease", "key changed before the fence", kBroken, kViolation,
       "the new key is held with the old place"},
      {"lease", "generation not grown", kBroken, kViolation, "the place comes back: ABA"},
      {"lease", "cells compared by entry", kBroken, kViolation,
       "a slot published again under another entry while an old lease is held"},
      {"lease", "lease moved without validation", kBroken, kViolation,
       "the scan passes the new cell before and the old one after"},
      {"lease", "cells compared by place", kBroken, kNothing,
       "generations grow only at grants, and no slot with a valid lease is granted; by slot is the "
       "rule because it needs no such argument"},
      {"lease", "q", kRelaxed, kNothing, "L2 acquired the same store: equal places are one store"},
      {"lease", "mark", kRelaxed, kNothing, "R comes after it"},
      {"lease", "scan mark", kRelaxed, kNothing, "D comes before it"},
      {"lease", "give up", kRelaxed, kNothing, "no bytes were read"},
      {"lease", "D again", kGone, kNothing,
       "a lease that is valid was validated before the first D; kept so that the second scan needs "
       "no argument of its own"},

      {"load_end", "E", kGone, kViolation, "the count is read before the last bytes"},
      {"load_end", "G", kGone, kViolation,
       "bytes of another client carry nothing of the count that came before its grant"},
      {"load_end", "V", kGone, kViolation, "the daemon's header is seen before the count"},
      {"load_end", "R", kGone, kViolation, "as in lease"},
      {"load_end", "D", kGone, kViolation, "as in lease"},
      {"load_end", "release", kRelaxed, kViolation, "as in lease"},
      {"load_end", "scan cell", kRelaxed, kViolation, "as in lease"},
      {"load_end", "count read after the fence", kBroken, kViolation,
       "a revocation of this lease is counted in"},
      {"load_end", "count not read at the end", kBroken, kViolation, "nobody looks"},
      {"load_end", "ended not read at the end", kBroken, kViolation,
       "the same, for a session's end"},
      {"load_end", "announced after the grant", kBroken, kViolation, "too late"},
      {"load_end", "V", kRelease, kNothing, "a release fence would do; V is rare"},
      {"load_end", "bump", kRelaxed, kNothing, "V follows"},
      {"load_end", "end", kRelaxed, kNothing, "V follows"},
      {"load_end", "ended not read for the lease", kBroken, kNothing,
       "the look at the end finds it; the early one saves a copy"},
      {"load_end", "ended for the lease", kRelaxed, kNothing, "as above"},

      {"ring", "W1", kGone, kViolation, "the sleeper misses the tail, the producer the flag"},
      {"ring", "W1", kAcqRel, kViolation, "the same"},
      {"ring", "W2", kGone, kViolation, "the same"},
      {"ring", "W2", kAcqRel, kViolation, "the same"},
      {"ring", "tail", kRelaxed, kViolation, "an entry is copied before it is written"},
      {"ring", "tail seen", kRelaxed, kViolation, "the same, on the consumer's side"},
      {"ring", "tail again", kRelaxed, kViolation, "the same, after the flag"},
      {"ring", "head", kRelaxed, kViolation, "an entry is written while it is copied"},
      {"ring", "head seen", kRelaxed, kViolation, "the same, on the producer's side"},
      {"ring", "flag set after the tail is read", kBroken, kViolation, "the wake-up is lost"},
      {"ring", "flag read before the tail is stored", kBroken, kViolation, "the wake-up is lost"},
      {"ring", "eventfd drained before the sleep", kBroken, kViolation, "the wake-up is drained"},
      {"ring", "more requests in flight than completions fit", kBroken, kViolation,
       "nobody wakes a daemon that waits for room"},

      {"touch", "touch tail", kRelaxed, kViolation, "a word is read before it is written"},
      {"touch", "touch tail seen", kRelaxed, kViolation, "the same, on the daemon's side"},
      {"touch", "tail", kRelaxed, kViolation, "a flush overtakes touches"},
      {"touch", "tail seen", kRelaxed, kViolation, "the same, on the daemon's side"},
      {"touch", "touches drained before the tail of requests is read", kBroken, kViolation,
       "touches between the two are not in the flush"},
      {"touch", "touch head", kRelaxed, kNothing,
       "needs a load delayed past a store; a newer place would be read twice, which does no harm"},
      {"touch", "touch head seen", kRelaxed, kNothing, "as touch head"},

      {"restart", "T", kGone, kViolation, "store buffering: the scan misses a cell"},
      {"restart", "T", kAcqRel, kViolation, "the same"},
      {"restart", "R", kGone, kViolation, "the same, on the reader's side"},
      {"restart", "R", kAcqRel, kViolation, "the same"},
      {"restart", "scan cell", kRelaxed, kViolation, "as in lease"},
      {"restart", "release", kRelaxed, kViolation, "as in lease"},
      {"restart", "D", kGone, kViolation, "as in lease"},
      {"restart", "I1", kRelaxed, kViolation, "as in lease"},
      {"restart", "L2", kRelaxed, kViolation, "as in lease"},
      {"restart", "cells compared by place", kBroken, kViolation,
       "the daemon before may have published the slot again just before it was killed"},
      {"restart", "scan before the epoch is stored", kBroken, kViolation,
       "a lease comes in between"},
      {"restart", "old cells are not scanned", kBroken, kViolation, "leases outlive the daemon"},
      {"restart", "epoch not read for the lease", kBroken, kViolation,
       "the place is still there: nobody cleared it"},
      {"restart", "written before the epoch is stored", kBroken, kViolation,
       "a new key is held with a place of before"},
      {"restart", "epoch", kRelaxed, kNothing, "T follows"},
      {"restart", "epoch for the lease", kRelaxed, kNothing, "only its value counts, after R"},
      {"restart", "epoch not read at the end", kBroken, kNothing,
       "slots that old cells name are held; it is there for sessions given up too early, and so "
       "that a client learns of the restart"},
      {"restart", "E", kGone, kNothing, "as above"},

      {"kept_slot", "a grant before its state", kBroken, kViolation,
       "the next daemon finds the slot free while the engine writes it"},
      {"kept_slot", "a grant forgotten over a restart", kBroken, kViolation, "the same"},
      {"kept_slot", "valid before a grant has ended", kBroken, kViolation,
       "the next daemon serves a chunk that is being written"},
      {"kept_slot", "a read before its state", kBroken, kViolation,
       "the next daemon finds the slot free while the device writes it"},
      {"kept_slot", "a read forgotten over a restart", kBroken, kViolation, "the same"},
      {"kept_slot", "valid before a read has ended", kBroken, kViolation, "as with a grant"},
      {"kept_slot", "written while the record is free", kBroken, kNothing,
       "who takes over finds it free, and nobody else wrote it"},

      {"death", "slots taken before the process has ended", kBroken, kViolation,
       "the end of file of a socket says nothing of copies under way"},

      {"board", "B1", kGone, kViolation, "a word is seen before the odd sequence"},
      {"board", "B2", kRelaxed, kViolation, "the even sequence is seen before the words"},
      {"board", "B3", kRelaxed, kViolation, "the same, on the reader's side"},
      {"board", "B4", kGone, kViolation, "the second sequence is read before the words"},
      {"board", "odd sequence accepted", kBroken, kViolation, "half an update"},
      {"board", "sequence read once", kBroken, kViolation, "an update in between"},

      {"segment", "R", kGone, kViolation, "as in lease"},
      {"segment", "D", kGone, kViolation, "as in lease"},
      {"segment", "I1", kRelaxed, kViolation, "as in lease; it also carries the uid"},
      {"segment", "release", kRelaxed, kViolation, "as in lease"},
      {"segment", "scan cell", kRelaxed, kViolation, "as in lease"},
      {"segment", "mapping chosen before the lease is held", kBroken, kViolation,
       "the number means other memory by then"},
      {"segment", "uid cleared before the scan", kBroken, kViolation,
       "a lease is held in a segment that is gone"},
      {"segment", "uid published after a place in it", kBroken, kViolation,
       "a lease is held before the memory has a name"},
      {"segment", "uid", kRelaxed, kNothing, "I1 follows, and readers choose after L2"},
      {"segment", "uid seen", kRelaxed, kNothing, "L2 came before"},
  };
  return kAll;
}

}  // namespace kvtier::model
