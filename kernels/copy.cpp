// Whole copies and lists of fragments over the vector operations. Any thread.
#include "kernels/copy.hpp"

#include <algorithm>
#include <cstring>

#include "kernels/dispatch.hpp"
#include "kernels/xxh3_stream.hpp"

namespace kvtier::kernels {
namespace {

using detail::Operations;
using detail::operations;

// Fragments below this are mostly edges, which streaming stores cannot write: they go through the
// caches, hashed or not. Measured: docs/kernels.md.
constexpr uint64_t kStreamedFragmentBytesMin = 512;

StoreKind resolve(uint64_t bytes, const CopyOptions& options) {
  if (options.store != StoreKind::kBySize) return options.store;
  return bytes > options.temporal_bytes_max ? StoreKind::kStreaming : StoreKind::kTemporal;
}

// Two ways to name the fragments, one loop for both. at(i) may be asked for i < count() only.
template <typename Pointer>
struct Strided {
  Pointer base;
  StridedShape shape;

  struct Item {
    Pointer data;
    uint64_t bytes;
  };
  uint64_t count() const { return shape.count; }
  Item at(uint64_t i) const { return {base + i * shape.stride_bytes, shape.fragment_bytes}; }

  bool adds_up_to(uint64_t bytes) const {
    if (shape.count <= 1) return shape.count * shape.fragment_bytes == bytes;
    // So the sum of the fragments cannot overflow where that of the strides does not.
    uint64_t span = 0;
    if (shape.stride_bytes < shape.fragment_bytes) return false;
    if (__builtin_mul_overflow(shape.count, shape.stride_bytes, &span)) return false;
    return shape.count * shape.fragment_bytes == bytes;
  }
};

template <typename Item>
struct Listed {
  std::span<const Item> items;

  uint64_t count() const { return items.size(); }
  const Item& at(uint64_t i) const { return items[i]; }

  bool adds_up_to(uint64_t bytes) const {
    uint64_t sum = 0;
    for (const Item& item : items) {
      if (__builtin_add_overflow(sum, item.bytes, &sum)) return false;
    }
    return sum == bytes;
  }
};

// One part of a copy, without and with the checksum.
struct PlainMover {
  const Operations& use = operations();

  void move(std::byte* target, const std::byte* source, size_t bytes, StoreKind store,
            const std::byte* next) const {
    if (bytes == 0) return;
    if (store == StoreKind::kStreaming) {
      use.copy_stream(target, source, bytes, next);
    } else {
      std::memcpy(target, source, bytes);
    }
  }
};

struct HashingMover {
  ChecksumTree tree;

  void move(std::byte* target, const std::byte* source, size_t bytes, StoreKind store,
            const std::byte* next) {
    // Cannot be too many: the sizes were added up.
    (void)tree.copy_update(target, source, bytes, store, next);
  }
};

StoreKind for_fragment(StoreKind store, uint64_t bytes) {
  return bytes < kStreamedFragmentBytesMin ? StoreKind::kTemporal : store;
}

// Keeps the beginnings of the coming source fragments on their way to the L2 cache: no hardware
// prefetcher guesses where the next fragment lies, and small fragments are nothing but beginnings.
template <typename Fragments>
class LookAhead {
 public:
  static constexpr uint64_t kDistanceBytes = 8192;   // measured: docs/kernels.md, "Tuning"
  static constexpr uint64_t kBeginningBytes = 4096;  // hardware prefetchers work inside one page

  explicit LookAhead(const Fragments& sources) : sources_(sources), count_(sources.count()) {}

  // The copy is about to reach payload byte `position`.
  void reach(uint64_t position) {
    const uint64_t end = position + kDistanceBytes;
    while (position_ < end && index_ < count_) {
      const auto source = sources_.at(index_);
      const uint64_t bytes = std::min<uint64_t>(source.bytes - offset_, end - position_);
      for (uint64_t at = offset_; at < std::min(offset_ + bytes, kBeginningBytes);
           at += kLineBytes) {
        __builtin_prefetch(source.data + at, 0, 2);
      }
      position_ += bytes;
      offset_ += bytes;
      if (offset_ == source.bytes) {
        ++index_;
        offset_ = 0;
      }
    }
  }

 private:
  static constexpr uint64_t kLineBytes = 64;

  const Fragments& sources_;
  uint64_t count_;
  uint64_t index_ = 0;     // the fragment and
  uint64_t offset_ = 0;    // the place in it that prefetching has come to,
  uint64_t position_ = 0;  // as a payload byte
};

// Fragments of this size on average need no look-ahead: their beginnings are a small part of them.
constexpr uint64_t kLookAheadFragmentBytesMax = 16384;

template <typename Fragments, typename Mover>
void gather_small(std::byte* payload, const Fragments& sources, StoreKind store, Mover& mover) {
  // Small enough that prefetches do not come in bursts that fill all miss buffers.
  constexpr uint64_t kPartBytes = 2048;
  LookAhead<Fragments> ahead(sources);
  uint64_t position = 0;
  for (uint64_t i = 0, count = sources.count(); i < count; ++i) {
    const auto source = sources.at(i);
    const StoreKind kind = for_fragment(store, source.bytes);
    for (uint64_t offset = 0; offset < source.bytes; offset += kPartBytes) {
      const uint64_t part = std::min<uint64_t>(kPartBytes, source.bytes - offset);
      ahead.reach(position + part);
      const bool more = offset + part < source.bytes;
      const std::byte* next = more ? source.data + offset + part : nullptr;
      mover.move(payload + position, source.data + offset, part, kind, next);
      position += part;
    }
  }
}

template <typename Fragments, typename Mover>
void gather_large(std::byte* payload, const Fragments& sources, StoreKind store, Mover& mover) {
  for (uint64_t i = 0, count = sources.count(); i < count; ++i) {
    const auto source = sources.at(i);
    const std::byte* next = i + 1 < count ? sources.at(i + 1).data : nullptr;
    mover.move(payload, source.data, source.bytes, for_fragment(store, source.bytes), next);
    payload += source.bytes;
  }
}

template <typename Fragments, typename Mover>
void gather_all(std::byte* payload, uint64_t bytes, const Fragments& sources, StoreKind store,
                Mover& mover) {
  if (bytes / kLookAheadFragmentBytesMax < sources.count()) {
    gather_small(payload, sources, store, mover);
  } else {
    gather_large(payload, sources, store, mover);
  }
  if (store == StoreKind::kStreaming) stores_done();
}

template <typename Fragments, typename Mover>
void scatter_all(const Fragments& targets, const std::byte* payload, StoreKind store,
                 Mover& mover) {
  for (uint64_t i = 0, count = targets.count(); i < count; ++i) {
    const auto target = targets.at(i);
    const std::byte* next = i + 1 < count ? payload + target.bytes : nullptr;
    mover.move(target.data, payload, target.bytes, for_fragment(store, target.bytes), next);
    payload += target.bytes;
  }
  if (store == StoreKind::kStreaming) stores_done();
}

template <typename Fragments>
bool gather_plain(std::byte* payload, uint64_t bytes, const Fragments& sources,
                  const CopyOptions& options) {
  if (!sources.adds_up_to(bytes)) return false;
  PlainMover mover;
  gather_all(payload, bytes, sources, resolve(bytes, options), mover);
  return true;
}

template <typename Fragments>
bool gather_hashed(std::byte* payload, uint64_t bytes, const Fragments& sources, uint64_t* root,
                   const CopyOptions& options) {
  if (!sources.adds_up_to(bytes)) return false;
  HashingMover mover{ChecksumTree(bytes)};
  gather_all(payload, bytes, sources, resolve(bytes, options), mover);
  return mover.tree.root(root);
}

template <typename Fragments>
bool scatter_plain(const Fragments& targets, const std::byte* payload, uint64_t bytes,
                   const CopyOptions& options) {
  if (!targets.adds_up_to(bytes)) return false;
  PlainMover mover;
  scatter_all(targets, payload, resolve(bytes, options), mover);
  return true;
}

template <typename Fragments>
bool scatter_hashed(const Fragments& targets, const std::byte* payload, uint64_t bytes,
                    uint64_t* root, const CopyOptions& options) {
  if (!targets.adds_up_to(bytes)) return false;
  HashingMover mover{ChecksumTree(bytes)};
  scatter_all(targets, payload, resolve(bytes, options), mover);
  return mover.tree.root(root);
}

}  // namespace

void copy_plain(std::byte* target, const std::byte* source, size_t bytes) {
  if (bytes > 0) std::memcpy(target, source, bytes);
}

void copy_stream(std::byte* target, const std::byte* source, size_t bytes) {
  if (bytes == 0) return;
  operations().copy_stream(target, source, bytes, nullptr);
  stores_done();
}

void copy(std::byte* target, const std::byte* source, size_t bytes, const CopyOptions& options) {
  if (resolve(bytes, options) == StoreKind::kStreaming) {
    copy_stream(target, source, bytes);
  } else {
    copy_plain(target, source, bytes);
  }
}

uint64_t copy_and_hash(std::byte* target, const std::byte* source, size_t bytes,
                       const CopyOptions& options) {
  const StoreKind store = resolve(bytes, options);
  ChecksumTree tree(bytes);
  uint64_t root = 0;
  // Neither can fail: the length is the one the tree was made for.
  (void)(tree.copy_update(target, source, bytes, store) && tree.root(&root));
  if (store == StoreKind::kStreaming) stores_done();
  return root;
}

bool copy_and_hash_pieces(std::byte* target, const std::byte* source, size_t bytes,
                          std::span<uint64_t> piece_hashes, const CopyOptions& options) {
  if (piece_hashes.size() != piece_count(bytes)) return false;
  const Operations& use = operations();
  const StoreKind store = resolve(bytes, options);
  const auto absorb = store == StoreKind::kTemporal ? use.absorb_store : use.absorb_stream;
  for (uint64_t& hash : piece_hashes) {
    const size_t part = bytes < kPieceBytes ? bytes : kPieceBytes;
    detail::Xxh3State state;
    detail::xxh3_start(state, part);
    absorb(state, target, source, part, bytes > part ? source + part : nullptr);
    hash = detail::xxh3_finish(state);
    target += part;
    source += part;
    bytes -= part;
  }
  if (store == StoreKind::kStreaming) stores_done();
  return true;
}

bool gather(std::byte* payload, uint64_t payload_bytes, std::span<const ConstFragment> sources,
            const CopyOptions& options) {
  return gather_plain(payload, payload_bytes, Listed<ConstFragment>{sources}, options);
}

bool scatter(std::span<const Fragment> targets, const std::byte* payload, uint64_t payload_bytes,
             const CopyOptions& options) {
  return scatter_plain(Listed<Fragment>{targets}, payload, payload_bytes, options);
}

bool gather(std::byte* payload, uint64_t payload_bytes, const std::byte* source,
            const StridedShape& shape, const CopyOptions& options) {
  return gather_plain(payload, payload_bytes, Strided<const std::byte*>{source, shape}, options);
}

bool scatter(std::byte* target, const StridedShape& shape, const std::byte* payload,
             uint64_t payload_bytes, const CopyOptions& options) {
  return scatter_plain(Strided<std::byte*>{target, shape}, payload, payload_bytes, options);
}

bool gather_and_hash(std::byte* payload, uint64_t payload_bytes,
                     std::span<const ConstFragment> sources, uint64_t* root,
                     const CopyOptions& options) {
  return gather_hashed(payload, payload_bytes, Listed<ConstFragment>{sources}, root, options);
}

bool scatter_and_hash(std::span<const Fragment> targets, const std::byte* payload,
                      uint64_t payload_bytes, uint64_t* root, const CopyOptions& options) {
  return scatter_hashed(Listed<Fragment>{targets}, payload, payload_bytes, root, options);
}

bool gather_and_hash(std::byte* payload, uint64_t payload_bytes, const std::byte* source,
                     const StridedShape& shape, uint64_t* root, const CopyOptions& options) {
  return gather_hashed(payload, payload_bytes, Strided<const std::byte*>{source, shape}, root,
                       options);
}

bool scatter_and_hash(std::byte* target, const StridedShape& shape, const std::byte* payload,
                      uint64_t payload_bytes, uint64_t* root, const CopyOptions& options) {
  return scatter_hashed(Strided<std::byte*>{target, shape}, payload, payload_bytes, root, options);
}

}  // namespace kvtier::kernels
