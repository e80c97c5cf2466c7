// kvtier.Space and PagedLayout: keys, match, plan, load, store. GIL released in every call that can
// wait.
#include "client/python/src/match.hpp"
#include "client/python/src/paged.hpp"
#include "client/python/src/session.hpp"

namespace kvtier::python {

PagedLayout::PagedLayout(std::vector<Plane> all, uint64_t count)
    : planes(std::move(all)), blocks(count) {
  for (const Plane& plane : planes) block_bytes += plane.bytes;
  if (planes.empty() || blocks == 0 || block_bytes == 0) {
    throw WrongUse(Code::kInvalidArgument, "a paged layout needs planes and blocks with bytes");
  }
}

std::vector<Fragment> PagedLayout::fragments(const int64_t* first, size_t count) const {
  std::vector<Fragment> list;
  list.reserve(count * planes.size());
  for (size_t i = 0; i < count; ++i) {
    const auto block = static_cast<uint64_t>(first[i]);
    if (first[i] < 0 || block >= blocks) {
      throw WrongUse(Code::kInvalidArgument, "block " + std::to_string(first[i]) + " of " +
                                                 std::to_string(blocks) + " does not exist");
    }
    for (const Plane& plane : planes) {
      const uintptr_t address = plane.address + block * plane.block_stride;
      list.push_back({reinterpret_cast<std::byte*>(address), plane.bytes});
    }
  }
  return list;
}

std::vector<std::vector<Fragment>> chunk_fragments(const PagedLayout& layout,
                                                   const std::vector<int64_t>& blocks,
                                                   size_t chunks) {
  std::vector<std::vector<Fragment>> lists;
  if (chunks == 0 || blocks.size() % chunks != 0) {
    throw WrongUse(Code::kInvalidArgument, std::to_string(blocks.size()) + " blocks do not make " +
                                               std::to_string(chunks) + " chunks of equal size");
  }
  const size_t each = blocks.size() / chunks;
  for (size_t i = 0; i < chunks; ++i) {
    lists.push_back(layout.fragments(blocks.data() + i * each, each));
  }
  return lists;
}

namespace {

using OptionalChain = std::optional<std::shared_ptr<PyChain>>;

// None: no daemon was ever attached.
OptionalChain chain_value(Result<KeyChain> chain) {
  if (!chain) {
    if (chain.code() == Code::kUnavailable) return std::nullopt;
    raise(chain.error());
  }
  return std::make_shared<PyChain>(std::move(chain).value());
}

OptionalChain derive(const PySpace& self, const py::object& tokens,
                     const std::vector<std::pair<uint32_t, uint64_t>>& extras) {
  const std::vector<uint32_t> ids = token_ids(tokens);
  std::vector<ExtraId> extra_ids;
  for (const auto& [chunk, id] : extras) extra_ids.push_back({chunk, id});
  return chain_value(self.use()->derive({.tokens = ids, .extras = extra_ids}));
}

OptionalChain fold(const PySpace& self, const py::iterable& hashes, const py::object& tokens) {
  std::vector<std::array<uint8_t, 32>> engine_hashes;
  for (const py::handle item : hashes) {
    char* data = nullptr;
    py::ssize_t bytes = 0;
    if (!PyBytes_Check(item.ptr()) || PyBytes_AsStringAndSize(item.ptr(), &data, &bytes) != 0 ||
        bytes != 32) {
      throw WrongUse(Code::kInvalidArgument, "an engine's hash is 32 bytes");
    }
    engine_hashes.emplace_back();
    std::memcpy(engine_hashes.back().data(), data, 32);
  }
  std::vector<uint32_t> ids;
  if (!tokens.is_none()) ids = token_ids(tokens);
  return chain_value(self.use()->fold(engine_hashes, ids));
}

py::dict tier_dict(const size_t* counts) {
  py::dict tiers;
  for (size_t i = 0; i < wire::kTierCount; ++i) {
    if (counts[i] != 0) tiers[wire::tier_name(static_cast<Tier>(i))] = counts[i];
  }
  return tiers;
}

std::shared_ptr<PyMatch> match(const PySpace& self, PyChain& chain, size_t first,
                               std::optional<size_t> chunks_max, bool all_shards, bool touch) {
  const PySpace::Use space = self.use();
  MatchOptions options;
  options.first = first;
  options.chunks_max = chunks_max.value_or(SIZE_MAX);
  options.all_shards = all_shards;
  options.touch = touch;
  auto taken = [&] {
    py::gil_scoped_release unlocked;
    const std::lock_guard turn(chain.turn);
    return space->match(chain.chain, options);
  }();
  if (!taken) raise(taken.error());
  return std::make_shared<PyMatch>(std::move(taken).value());
}

LoadResult load(const PySpace& self, const PyMatch& match, std::span<const LoadTarget> targets,
                std::optional<double> timeout) {
  const PySpace::Use space = self.use();
  const std::shared_ptr<Match> held = match.get();
  const Clock::time_point deadline = deadline_of(timeout);
  auto loaded = [&] {
    py::gil_scoped_release unlocked;
    return space->load(*held, targets, deadline);
  }();
  if (!loaded) raise(loaded.error());
  return *loaded;
}

using Items = std::vector<std::pair<size_t, py::iterable>>;

LoadResult load_fragments(const PySpace& self, const PyMatch& match, const Items& items,
                          std::optional<double> timeout) {
  std::vector<Fragments> held;
  held.reserve(items.size());
  std::vector<LoadTarget> targets;
  for (const auto& [chunk, fragments] : items) {
    held.emplace_back(fragments, true);
    targets.push_back({chunk, held.back().list()});
  }
  return load(self, match, targets, timeout);
}

LoadResult load_blocks(const PySpace& self, const PyMatch& match, const PagedLayout& layout,
                       const std::vector<int64_t>& blocks, size_t first, size_t chunks,
                       std::optional<double> timeout) {
  const auto lists = chunk_fragments(layout, blocks, chunks);
  std::vector<LoadTarget> targets;
  for (size_t i = 0; i < chunks; ++i) targets.push_back({first + i, lists[i]});
  return load(self, match, targets, timeout);
}

std::vector<const char*> names(const std::vector<StoreOutcome>& outcomes) {
  std::vector<const char*> list;
  for (const StoreOutcome outcome : outcomes) list.push_back(store_outcome_name(outcome));
  return list;
}

// Every chunk failed where there is no daemon to ask.
std::vector<const char*> outcomes_value(const Result<std::vector<StoreOutcome>>& outcomes,
                                        size_t count) {
  if (outcomes) return names(*outcomes);
  if (is_wrong_use(outcomes.code()) || outcomes.code() == Code::kOutOfMemory) {
    raise(outcomes.error());
  }
  return std::vector<const char*>(count, store_outcome_name(StoreOutcome::kFailed));
}

std::vector<const char*> store(const PySpace& self, PyChain& chain,
                               std::span<const StoreSource> sources, std::optional<double> timeout,
                               const StoreOptions& options) {
  const PySpace::Use space = self.use();
  const Clock::time_point deadline = deadline_of(timeout);
  const auto outcomes = [&] {
    py::gil_scoped_release unlocked;
    const std::lock_guard turn(chain.turn);
    return space->store(chain.chain, sources, deadline, options);
  }();
  return outcomes_value(outcomes, sources.size());
}

Encoding encoding_named(const std::string& name) {
  constexpr const char* kNames[] = {"none", "fp8", "fp8-tensor", "int8", "int4", "lossless"};
  for (uint32_t i = 0; i < std::size(kNames); ++i) {
    if (name == kNames[i]) return static_cast<Encoding>(i);  // in the order of the enum
  }
  throw WrongUse(Code::kInvalidArgument, "no encoding is called \"" + name +
                                             "\": none, fp8, fp8-tensor, int8, int4, lossless");
}

std::vector<const char*> store_fragments(const PySpace& self, PyChain& chain, const Items& items,
                                         std::optional<double> timeout,
                                         const std::optional<std::string>& encoding) {
  StoreOptions options;
  if (encoding) options.encoding = encoding_named(*encoding);
  std::vector<Fragments> held;
  held.reserve(items.size());
  std::vector<std::vector<ConstFragment>> lists;
  lists.reserve(items.size());
  std::vector<StoreSource> sources;
  for (const auto& [chunk, fragments] : items) {
    held.emplace_back(fragments, false);
    lists.push_back(held.back().readable());
    sources.push_back({chunk, lists.back()});
  }
  return store(self, chain, sources, timeout, options);
}

std::vector<PyReservation> reserve(const PySpace& self, PyChain& chain,
                                   const std::vector<size_t>& chunks,
                                   std::optional<double> timeout) {
  const PySpace::Use space = self.use();
  const Clock::time_point deadline = deadline_of(timeout);
  auto answers = [&] {
    py::gil_scoped_release unlocked;
    const std::lock_guard turn(chain.turn);
    return space->reserve(chain.chain, chunks, deadline);
  }();
  std::vector<PyReservation> list;
  if (!answers) {
    if (is_wrong_use(answers.code())) raise(answers.error());
    list.resize(chunks.size(), {StoreOutcome::kFailed, 0, nullptr});
    return list;
  }
  for (Reservation& answer : *answers) {
    PyReservation one{answer.outcome, static_cast<double>(answer.retry_after.count()) * 1e-6,
                      nullptr};
    if (answer.grant.held()) {
      one.grant = std::make_shared<PyGrant>();
      one.grant->grant = std::make_shared<Grant>(std::move(answer.grant));
    }
    list.push_back(std::move(one));
  }
  return list;
}

std::vector<const char*> commit(const PySpace& self,
                                const std::vector<std::shared_ptr<PyGrant>>& grants,
                                const std::vector<uint64_t>& checksums,
                                std::optional<double> timeout) {
  const PySpace::Use space = self.use();
  const Clock::time_point deadline = deadline_of(timeout);
  if (!checksums.empty() && checksums.size() != grants.size()) {
    throw WrongUse(Code::kInvalidArgument, "one checksum a grant, or none");
  }
  std::vector<Grant> taken;
  for (const auto& grant : grants) taken.push_back(grant->take());
  const auto outcomes = [&] {
    py::gil_scoped_release unlocked;
    return space->commit(taken, checksums, deadline);
  }();
  return outcomes_value(outcomes, grants.size());
}

size_t prefetch(const PySpace& self, PyChain& chain, size_t first, size_t count,
                std::optional<double> timeout) {
  const PySpace::Use space = self.use();
  const Clock::time_point deadline = deadline_of(timeout);
  const auto brought = [&] {
    py::gil_scoped_release unlocked;
    const std::lock_guard turn(chain.turn);
    return space->prefetch(chain.chain, first, count, deadline);
  }();
  if (!brought && is_wrong_use(brought.code())) raise(brought.error());
  return brought ? *brought : 0;
}

Overlap overlap_of(const std::string& name) {
  for (const Overlap one : {Overlap::kSequential, Overlap::kOverlapped, Overlap::kLayerwise}) {
    if (name == wire::overlap_name(one)) return one;
  }
  throw WrongUse(Code::kInvalidArgument,
                 "restore is '" + name + "'; use sequential, overlapped or layerwise");
}

MissReason miss_reason_of(const std::string& name) {
  for (uint8_t i = 0; i <= static_cast<uint8_t>(MissReason::kDeadline); ++i) {
    if (name == miss_reason_name(static_cast<MissReason>(i))) return static_cast<MissReason>(i);
  }
  throw WrongUse(Code::kInvalidArgument, "ended is '" + name + "', which is no reason");
}

Plan plan_chain(const PySpace& self, PyChain& chain, size_t first, std::optional<size_t> chunks_max,
                uint64_t tokens_behind, const std::string& restore, double lambda,
                std::optional<size_t> last_load_chunks, const std::string& request) {
  PlanOptions options;
  options.first = first;
  options.chunks_max = chunks_max.value_or(SIZE_MAX);
  options.tokens_behind = tokens_behind;
  options.overlap = overlap_of(restore);
  options.lambda = lambda;
  options.last_load_chunks = last_load_chunks.value_or(SIZE_MAX);
  options.request = request;
  const std::lock_guard turn(chain.turn);
  return self.use()->plan(chain.chain, options);
}

Hint hint_of(const std::string& name) {
  if (name == "session_end") return Hint::kSessionEnd;
  if (name == "next_use_in") return Hint::kNextUseIn;
  if (name == "pin") return Hint::kPin;
  if (name == "class") return Hint::kClass;
  throw WrongUse(Code::kInvalidArgument,
                 "hint is '" + name + "'; use session_end, next_use_in, pin or class");
}

PyStatus hint(const PySpace& self, PyChain& chain, const std::string& name, size_t first,
              std::optional<size_t> count, double value) {
  const PySpace::Use space = self.use();
  const Hint which = hint_of(name);
  const size_t chunks = count.value_or(chain.chain.size() - std::min(first, chain.chain.size()));
  const Status status = [&] {
    py::gil_scoped_release unlocked;
    const std::lock_guard turn(chain.turn);
    return space->hint(chain.chain, first, chunks, which, value);
  }();
  return status_value(status);
}

PyStatus flush_touches(const PySpace& self, std::optional<double> timeout) {
  const PySpace::Use space = self.use();
  const Clock::time_point deadline = deadline_of(timeout);
  const Status status = [&] {
    py::gil_scoped_release unlocked;
    return space->flush_touches(deadline);
  }();
  return status_value(status);
}

double finite_deadline(const Plan& plan) {
  return std::chrono::duration<double>(plan.load_deadline).count();
}

void bind_results(py::module_& module) {
  py::class_<Lookup>(module, "Lookup")
      .def_readonly("chunks", &Lookup::chunks)
      .def_property_readonly("chunks_by_tier",
                             [](const Lookup& self) { return tier_dict(self.chunks_by_tier); })
      .def_property_readonly("ended",
                             [](const Lookup& self) { return miss_reason_name(self.ended); });
  py::class_<Plan>(module, "Plan")
      .def_readonly("load_first", &Plan::load_first)
      .def_readonly("load_chunks", &Plan::load_chunks)
      .def_readonly("resident", &Plan::resident)
      .def_readonly("ttft_seconds", &Plan::ttft_seconds)
      .def_readonly("load_all_seconds", &Plan::load_all_seconds)
      .def_readonly("compute_all_seconds", &Plan::compute_all_seconds)
      .def_readonly("id", &Plan::id)
      .def_readonly("load_seconds", &Plan::load_seconds)
      .def_readonly("recompute_seconds", &Plan::recompute_seconds)
      .def_property_readonly("load_deadline", &finite_deadline);
  py::class_<LoadResult>(module, "LoadResult")
      .def_readonly("chunks", &LoadResult::chunks)
      .def_readonly("bytes", &LoadResult::bytes)
      .def_readonly("seconds", &LoadResult::seconds);
  py::class_<PagedLayout, std::shared_ptr<PagedLayout>>(module, "PagedLayout")
      .def(py::init([](const std::vector<std::tuple<uintptr_t, uint64_t, uint64_t>>& planes,
                       uint64_t blocks) {
             std::vector<Plane> all;
             for (const auto& [address, stride, bytes] : planes) {
               all.push_back({address, stride, bytes});
             }
             return std::make_shared<PagedLayout>(std::move(all), blocks);
           }),
           py::arg("planes"), py::arg("blocks"))
      .def_readonly("blocks", &PagedLayout::blocks)
      .def_readonly("block_bytes", &PagedLayout::block_bytes);
}

}  // namespace

void bind_space(py::module_& module) {
  bind_results(module);
  const auto timeout = py::arg_v("timeout", py::none());
  py::class_<PySpace, std::shared_ptr<PySpace>>(module, "Space")
      .def_property_readonly("spec", &PySpace::spec)
      .def("derive", &derive, py::arg("tokens"),
           py::arg("extras") = std::vector<std::pair<uint32_t, uint64_t>>())
      .def("fold", &fold, py::arg("hashes"), py::arg("tokens") = py::none())
      .def(
          "lookup",
          [](const PySpace& self, PyChain& chain, size_t first) {
            return self.use()->lookup(chain.chain, first);
          },
          py::arg("chain"), py::arg("first") = 0)
      .def("match", &match, py::arg("chain"), py::kw_only(), py::arg("first") = 0,
           py::arg("chunks_max") = py::none(), py::arg("all_shards") = true,
           py::arg("touch") = true)
      .def(
          "plan",
          [](const PySpace& self, const Lookup& lookup, size_t first) {
            return self.use()->plan(lookup, first);
          },
          py::arg("lookup"), py::arg("first") = 0)
      .def("plan_chain", &plan_chain, py::arg("chain"), py::kw_only(), py::arg("first") = 0,
           py::arg("chunks_max") = py::none(), py::arg("tokens_behind") = 0,
           py::arg("restore") = "sequential", py::arg("lambda_") = 0.0,
           py::arg("last_load_chunks") = py::none(), py::arg("request") = "")
      .def(
          "plan_ended",
          [](const PySpace& self, const Plan& plan, size_t loaded, double seconds,
             const std::string& ended) {
            self.use()->plan_ended(
                plan, {.loaded = loaded, .seconds = seconds, .ended = miss_reason_of(ended)});
          },
          py::arg("plan"), py::arg("loaded"), py::arg("seconds"), py::arg("ended") = "none")
      .def(
          "report_model",
          [](const PySpace& self, double flops_token, double flops_pair, double flops_per_s) {
            return status_value(self.use()->report_model(flops_token, flops_pair, flops_per_s));
          },
          py::arg("flops_token"), py::arg("flops_pair"), py::arg("flops_per_s"))
      .def("load", &load_fragments, py::arg("match"), py::arg("targets"), timeout)
      .def("load_blocks", &load_blocks, py::arg("match"), py::arg("layout"), py::arg("blocks"),
           py::kw_only(), py::arg("first") = 0, py::arg("chunks"), timeout)
      .def("store", &store_fragments, py::arg("chain"), py::arg("sources"), timeout,
           py::arg("encoding") = py::none())
      .def("reserve", &reserve, py::arg("chain"), py::arg("chunks"), timeout)
      .def("commit", &commit, py::arg("grants"), py::arg("checksums") = std::vector<uint64_t>(),
           timeout)
      .def(
          "touch",
          [](const PySpace& self, PyChain& chain, size_t chunks) {
            self.use()->touch(chain.chain, chunks);
          },
          py::arg("chain"), py::arg("chunks"))
      .def("flush_touches", &flush_touches, timeout)
      .def("prefetch", &prefetch, py::arg("chain"), py::arg("first"), py::arg("count"), timeout)
      .def("hint", &hint, py::arg("chain"), py::arg("hint"), py::kw_only(), py::arg("first") = 0,
           py::arg("count") = py::none(), py::arg("value") = 0.0)
      .def(
          "report_prefill",
          [](const PySpace& self, uint64_t tokens, uint64_t context, double seconds) {
            return status_value(self.use()->report_prefill(tokens, context, seconds));
          },
          py::arg("tokens"), py::arg("context"), py::arg("seconds"));
}

}  // namespace kvtier::python
