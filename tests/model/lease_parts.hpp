// What the lease, revocation and restart scenarios share: entries, cells, slots, and the steps of
// section 4 of docs/protocol.md as pieces of programs.
#pragma once

#include <string>
#include <vector>

#include "tests/model/program.hpp"

namespace kvtier::model {

// A place: twice its generation plus its slot, of two. 0 is none.
constexpr int place_of(int generation, int slot) {
  return generation * 2 + slot;
}
constexpr int slot_of(int place) {
  return place & 1;
}
// Chunks are numbers; the bytes of chunk K are the number K.
constexpr int kChunkA = 1, kChunkB = 2, kChunkC = 3;

struct EntryWords {
  int place;
  int key;
};

struct SessionWords {
  int mark;
  std::vector<int> cells;
};

struct Pool {
  std::vector<EntryWords> entries;
  std::vector<int> bytes;  // by slot, plain
  std::vector<SessionWords> sessions;
};

inline EntryWords add_entry(Model& model, Pool& pool, int key, int place) {
  const std::string name = "E" + std::to_string(pool.entries.size());
  EntryWords words{};
  words.place = model.location(name + ".place", place);
  words.key = model.location(name + ".key", key);
  pool.entries.push_back(words);
  return words;
}

inline void add_slot(Model& model, Pool& pool, int chunk) {
  pool.bytes.push_back(model.shared("slot" + std::to_string(pool.bytes.size()), chunk));
}

inline const SessionWords& add_session(Model& model, Pool& pool, int cells, int mark) {
  const std::string name = "S" + std::to_string(pool.sessions.size());
  SessionWords words{model.location(name + ".mark", mark), {}};
  for (int i = 0; i < cells; ++i) {
    words.cells.push_back(model.location(name + ".cell" + std::to_string(i), 0));
  }
  pool.sessions.push_back(words);
  return pool.sessions.back();
}

inline int get(const Registers& r, Register reg) {
  return r[static_cast<size_t>(reg.index)];
}

// A cell holds its place; the entry's number lies above it for the broken rule that goes by entry.
constexpr int cell_word(int place, int entry) {
  return place + 16 * entry;
}

// One scan over the cells of all sessions, below their marks: `found` becomes 1 when one of them
// names the victim: by slot, as the protocol says, or by a broken rule. Uses `n` and `word`.
struct Scan {
  Register n;
  Register word;
  Register found;
  int place;
  int entry = 0;
  std::string labels;  // unique
};
inline void scan(Thread& daemon, const Pool& pool, Variant& v, const Scan& s) {
  const bool by_entry = v.breaks("cells compared by entry");
  const bool by_place = v.breaks("cells compared by place");
  daemon.set(s.found, 0);
  for (size_t session = 0; session < pool.sessions.size(); ++session) {
    const std::string next = s.labels + std::to_string(session);
    const auto& words = pool.sessions[session];
    daemon.load(s.n, words.mark, v.at("scan mark", Order::kAcquire));
    for (size_t i = 0; i < words.cells.size(); ++i) {
      daemon.jump_if([s, i](const Registers& r) { return get(r, s.n) <= static_cast<int>(i); },
                     next);
      daemon.load(s.word, words.cells[i], v.at("scan cell", Order::kAcquire));
      daemon.step([s, by_entry, by_place](Local& l) {
        const int word = l[s.word];
        l[s.word] = 0;
        if (word == 0) return;
        const bool named = by_entry   ? word / 16 == s.entry
                           : by_place ? word % 16 == s.place
                                      : slot_of(word) == slot_of(s.place);
        if (named) l[s.found] = 1;
      });
    }
    daemon.label(next).set(s.n, 0);
  }
}

}  // namespace kvtier::model
