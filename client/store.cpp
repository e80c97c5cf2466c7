// Space::store: reserve, gather with checksum, commit, pipelined. The next slots are asked for
// while this batch is copied, and a batch's commit is answered while the next is copied, so the
// daemon's time hides behind the copies. Any thread.
//
// Order: sources last first, and commits in that order, so that in an order of recency heads
// outlive tails. A batch with a busy chunk is cut there: what was granted behind it is given back
// and asked for again, or a head would be committed before its tail.
#include <algorithm>
#include <deque>

#include "client/encoding.hpp"
#include "client/grant_impl.hpp"
#include "client/reserve.hpp"
#include "kernels/copy.hpp"

namespace kvtier {
namespace {

using client::Committing;
using client::Reserving;
using wire::Counter;

constexpr size_t kBatch = 4;  // two batches under way: eight grants
constexpr auto kBusyWaitMin = std::chrono::microseconds(50);
constexpr auto kBusyWaitMax = std::chrono::milliseconds(50);

Status check_sources(const KeyChain& chain, std::span<const StoreSource> sources,
                     uint64_t chunk_bytes) {
  for (size_t i = 0; i < sources.size(); ++i) {
    if (sources[i].chunk >= chain.size()) {
      return Error::format(Code::kInvalidArgument, "source %zu is chunk %zu of a chain of %zu", i,
                           sources[i].chunk, chain.size());
    }
    uint64_t bytes = 0;
    for (const ConstFragment& fragment : sources[i].fragments) {
      bytes = fragment.bytes > chunk_bytes - bytes ? chunk_bytes + 1 : bytes + fragment.bytes;
      if (bytes > chunk_bytes) break;
    }
    if (bytes != chunk_bytes) {
      return Error::format(Code::kInvalidArgument,
                           "source %zu: the fragments do not add up to the space's %llu bytes", i,
                           static_cast<unsigned long long>(chunk_bytes));
    }
  }
  return {};
}

// A store of several sources under way.
class Store {
 public:
  Store(const Space::Impl& space, const Space::Impl::Opened& opened, const KeyChain& chain,
        std::span<const StoreSource> sources, Clock::time_point deadline, Encoding encoding)
      : space_(space),
        opened_(opened),
        chain_(*chain.impl()),
        sources_(sources),
        deadline_(deadline),
        encoding_(encoding),
        refused_(sources.size(), false),
        outcomes_(sources.size(), StoreOutcome::kFailed) {
    for (size_t i = sources.size(); i > 0; --i) waiting_.push_back(i - 1);
  }

  Status run();
  std::vector<StoreOutcome> take_outcomes() { return std::move(outcomes_); }

 private:
  // Indexes of sources, and what is under way for them.
  struct Asked {
    std::vector<size_t> sources;
    std::vector<client::StoredAs> stored_as;
    std::vector<std::vector<std::byte>> encoded;  // of lossless ones: their size is known only so
    Reserving reserving;

    void drop_first(size_t count) {
      const auto drop = [count](auto& list) {
        list.erase(list.begin(), list.begin() + static_cast<ptrdiff_t>(count));
      };
      drop(sources);
      drop(stored_as);
      drop(encoded);
    }
  };
  struct Committed {
    std::vector<size_t> sources;
    Committing committing;
  };

  Status run_waiting();
  Status ask(Asked* asked);
  client::StoredAs plan(size_t source, std::vector<std::byte>* encoded) const;
  bool fill(const Asked& asked, size_t i, std::span<std::byte> payload, uint64_t* root,
            kernels::Status* status) const;
  Status copy(Asked* asked, Committed* committed, bool* busy);
  void finish(Committed* committed);
  void give_back(Asked* asked);
  void wait_busy();

  const Space::Impl& space_;
  const Space::Impl::Opened& opened_;
  const KeyChain::Impl& chain_;
  const std::span<const StoreSource> sources_;
  const Clock::time_point deadline_;
  const Encoding encoding_;
  std::vector<bool> refused_;   // by the codec: these are stored as they are
  std::deque<size_t> waiting_;  // sources not asked for yet, in order
  std::deque<size_t> again_;    // to be asked for once more, without a codec
  std::vector<StoreOutcome> outcomes_;
  std::chrono::microseconds retry_after_{0};
};

// What a source will be, and for a lossless one its payload.
client::StoredAs Store::plan(size_t source, std::vector<std::byte>* encoded) const {
  const SpaceSpec& spec = space_.record->spec;
  const client::StoredAs raw = {spec.chunk_bytes, wire::kCodecNone};
  if (encoding_ == Encoding::kNone || refused_[source]) return raw;
  client::StoredAs as = {0, static_cast<uint32_t>(encoding_)};
  if (encoding_ == Encoding::kLossless) {
    const auto payload = client::encode_lossless(sources_[source].fragments);
    as.bytes = payload.size();
    if (as.bytes > 0 && as.bytes < raw.bytes) encoded->assign(payload.begin(), payload.end());
  } else {
    as.bytes = client::stored_bytes(spec, encoding_);
  }
  return as.bytes > 0 && as.bytes < raw.bytes ? as : raw;
}

// Source i of a batch into its slot. False, and why: `status`.
bool Store::fill(const Asked& asked, size_t i, std::span<std::byte> payload, uint64_t* root,
                 kernels::Status* status) const {
  const auto fragments = sources_[asked.sources[i]].fragments;
  const uint32_t codec = asked.stored_as[i].codec;
  *status = kernels::Status::kOk;
  if (codec == wire::kCodecLossless) {
    *root = kernels::copy_and_hash(payload.data(), asked.encoded[i].data(), payload.size());
  } else if (codec == wire::kCodecNone) {
    if (!kernels::gather_and_hash(payload.data(), payload.size(), fragments, root)) {
      *status = kernels::Status::kLayout;
    }
  } else {
    *status = client::encode_typed(space_.record->spec, static_cast<Encoding>(codec), fragments,
                                   payload, root);
  }
  return *status == kernels::Status::kOk;
}

Status Store::ask(Asked* asked) {
  asked->sources.clear();
  asked->stored_as.clear();
  asked->encoded.clear();
  if (waiting_.empty()) return {};
  std::array<size_t, kBatch> chunks;
  const size_t count = std::min(kBatch, waiting_.size());
  asked->encoded.resize(count);
  for (size_t i = 0; i < count; ++i) {
    chunks[i] = sources_[waiting_[i]].chunk;
    asked->stored_as.push_back(plan(waiting_[i], &asked->encoded[i]));
  }
  size_t taken = 0;
  auto reserving = Reserving::ask(space_, opened_, chain_, {chunks.data(), count}, deadline_,
                                  &taken, asked->stored_as);
  if (!reserving) return reserving.error();
  for (size_t i = 0; i < taken; ++i) {
    asked->sources.push_back(waiting_.front());
    waiting_.pop_front();
  }
  asked->reserving = *std::move(reserving);
  return {};
}

// Takes the grants of a batch, fills them and hands them to the daemon.
Status Store::copy(Asked* asked, Committed* committed, bool* busy) {
  auto reservations = asked->reserving.take(deadline_);
  if (!reservations) return reservations.error();
  std::array<Committing::Item, kBatch> items;
  std::array<Grant, kBatch> grants;
  size_t count = 0;
  committed->sources.clear();
  for (size_t i = 0; i < reservations->size(); ++i) {
    Reservation& one = (*reservations)[i];
    const size_t source = asked->sources[i];
    outcomes_[source] = one.outcome;
    if (one.outcome == StoreOutcome::kBusy) {
      // This one and those behind it, whose grants end with this function, are asked for again.
      *busy = true;
      retry_after_ = one.retry_after;
      asked->drop_first(i);
      break;
    }
    if (one.outcome != StoreOutcome::kStored) continue;
    outcomes_[source] = StoreOutcome::kFailed;  // until it is committed
    if (client::passed(deadline_)) continue;
    const auto payload = one.grant.payload();
    uint64_t root = 0;
    kernels::Status filled;
    if (!fill(*asked, i, payload, &root, &filled)) {
      if (filled == kernels::Status::kNotFinite) {  // the grant ends here
        refused_[source] = true;
        again_.push_back(source);
        continue;
      }
      if (filled == kernels::Status::kSize) return Error(Code::kOutOfMemory, "no memory to encode");
      return Error(Code::kInvalidArgument, "a fragment list changed during the store");
    }
    items[count] = {one.grant.impl()->place, root, true};
    grants[count] = std::move(one.grant);
    committed->sources.push_back(source);
    ++count;
  }
  if (count == 0) return {};
  auto committing = Committing::ask(opened_.attachment.another(), {items.data(), count}, deadline_);
  if (!committing) return committing.error();
  for (size_t i = 0; i < count; ++i) grants[i].impl()->done();
  committed->committing = *std::move(committing);
  return {};
}

void Store::finish(Committed* committed) {
  if (!committed->committing.under_way()) return;
  std::array<StoreOutcome, kBatch> outcomes;
  const size_t count = committed->sources.size();
  (void)committed->committing.take({outcomes.data(), count}, deadline_);
  for (size_t i = 0; i < count; ++i) outcomes_[committed->sources[i]] = outcomes[i];
}

// To be asked for again, before all others. The answer is waited for: asked again while the first
// grant is out, the daemon would say that the chunk is in progress.
void Store::give_back(Asked* asked) {
  if (asked->reserving.under_way()) (void)asked->reserving.take(deadline_);
  for (size_t k = asked->sources.size(); k > 0; --k) waiting_.push_front(asked->sources[k - 1]);
  asked->sources.clear();
}

void Store::wait_busy() {
  const auto wait = std::clamp<std::chrono::nanoseconds>(retry_after_, kBusyWaitMin, kBusyWaitMax);
  const auto until = std::min(deadline_, client::after(wait));
  while (Clock::now() < until && !opened_.attachment->ended.load(std::memory_order_relaxed)) {
    client::poll_until(nullptr, 0, until);
  }
}

Status Store::run() {
  for (;;) {
    if (Status status = run_waiting(); !status || again_.empty()) return status;
    // Their first grants went back with the batch that held them.
    waiting_.swap(again_);
    again_.clear();
  }
}

Status Store::run_waiting() {
  Asked current;
  Asked next;
  Committed last;
  if (Status status = ask(&current); !status) return status;
  while (current.reserving.under_way()) {
    if (Status status = ask(&next); !status && status.code() != Code::kDeadline) return status;
    bool busy = false;
    Committed committed;
    Status status = copy(&current, &committed, &busy);
    finish(&last);
    last = std::move(committed);
    if (!status) {
      finish(&last);
      return status;
    }
    if (busy) {
      give_back(&next);
      give_back(&current);
      finish(&last);
      last = {};
      wait_busy();
      if (client::passed(deadline_)) {
        for (const size_t source : waiting_) outcomes_[source] = StoreOutcome::kBusy;
        return {};
      }
      if (Status again = ask(&next); !again) return again;
    }
    current = std::move(next);
    next = Asked();
  }
  finish(&last);
  return {};
}

// The codec asked for, or the daemon's for this space. Published memory is not trusted further than
// to name one that fits.
Encoding encoding_for(const Space::Impl& space, const Space::Impl::Opened& opened,
                      const StoreOptions& options) {
  if (options.encoding != Encoding::kOfSpace) return options.encoding;
  const uint32_t number = opened.space->number;
  if (number >= opened.attachment->view.header->spaces_max) return Encoding::kNone;
  const auto published = static_cast<Encoding>(
      opened.attachment->view.spaces[number].codec.load(std::memory_order_relaxed));
  const bool fits =
      published != Encoding::kOfSpace && client::check_encoding(space.record->spec, published).ok();
  return fits ? published : Encoding::kNone;
}

void count_stored(const Space::Impl& space, const client::Attachment& attachment,
                  std::span<const StoreOutcome> outcomes, Clock::time_point began) {
  std::array<uint64_t, 8> by_outcome = {};
  for (const StoreOutcome outcome : outcomes) ++by_outcome[static_cast<size_t>(outcome)];
  const auto number = [&](StoreOutcome outcome) {
    return by_outcome[static_cast<size_t>(outcome)];
  };
  const uint64_t stored = number(StoreOutcome::kStored);
  const uint64_t present = number(StoreOutcome::kPresent);
  const uint64_t failed = number(StoreOutcome::kFailed);
  const auto took =
      std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - began).count();
  attachment.count(Counter::kStores, stored);
  attachment.count(Counter::kStoreBytes, stored * space.record->spec.chunk_bytes);
  attachment.count(Counter::kStoreNanoseconds, static_cast<uint64_t>(took));
  attachment.count(Counter::kStoresPresent, present);
  attachment.count(Counter::kStoresRefused, outcomes.size() - stored - present - failed);
  attachment.count(Counter::kStoresFailed, failed);
}

}  // namespace

Result<std::vector<StoreOutcome>> Space::store(const KeyChain& chain,
                                               std::span<const StoreSource> sources,
                                               Clock::time_point deadline,
                                               const StoreOptions& options) const {
  if (impl_->core->forked()) return client::forked_error();
  if (!impl_->fits(chain)) return Impl::wrong_chain();
  if (Status s = client::check_encoding(impl_->record->spec, options.encoding); !s) {
    return s.error();
  }
  if (Status s = check_sources(chain, sources, impl_->record->spec.chunk_bytes); !s) {
    return s.error();
  }
  if (impl_->core->options().read_only) {
    return Error(Code::kPermission, "the session is read-only; it stores nothing");
  }
  return client::guarded<std::vector<StoreOutcome>>([&]() -> Result<std::vector<StoreOutcome>> {
    std::vector<StoreOutcome> failed(sources.size(), StoreOutcome::kFailed);
    if (sources.empty()) return failed;
    const Impl::Opened opened = impl_->open();
    if (!opened || !Impl::current(chain, *opened.attachment)) {
      impl_->core->count(opened.attachment, Counter::kStoresFailed, sources.size());
      return failed;
    }
    const Clock::time_point began = Clock::now();
    Store store(*impl_, opened, chain, sources, deadline, encoding_for(*impl_, opened, options));
    const Status status = store.run();
    if (status.code() == Code::kInvalidArgument) return status.error();
    std::vector<StoreOutcome> outcomes = store.take_outcomes();
    count_stored(*impl_, *opened.attachment, outcomes, began);
    return outcomes;
  });
}

}  // namespace kvtier
