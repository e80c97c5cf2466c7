// Section 5 of docs/protocol.md: rings and wake-ups. What must hold: entries arrive whole and in
// order, none is overwritten while it is copied, and nobody sleeps forever.
#include "tests/model/scenarios.hpp"

namespace kvtier::model {
namespace {

int get(const Registers& r, Register reg) {
  return r[static_cast<size_t>(reg.index)];
}

constexpr Register kTail{0}, kHead{1}, kValue{2}, kFlag{3}, kSent{4};
constexpr Register kOtherHead{5}, kDropped{6}, kNext{7};

struct Ring {
  int tail, head, need_wake, eventfd;
  std::vector<int> entries;
};

Ring make_ring(Model& model, const std::string& name, int entries) {
  Ring ring{.tail = model.location(name + ".tail"),
            .head = model.location(name + ".head"),
            .need_wake = model.location(name + ".need_wake"),
            .eventfd = model.shared(name + ".eventfd"),
            .entries = {}};
  for (int i = 0; i < entries; ++i) {
    ring.entries.push_back(model.location(name + ".entry" + std::to_string(i)));
  }
  return ring;
}

Expr entry_at(const Ring& ring, Register index) {
  const int count = static_cast<int>(ring.entries.size());
  return Expr::pick(ring.entries, [=](const Registers& r) { return get(r, index) % count; });
}

// Publishes entry number `index` and wakes the other side if it sleeps.
void publish(Thread& thread, const Ring& ring, int index, Variant& v) {
  thread.plain_write(ring.entries[static_cast<size_t>(index) % ring.entries.size()], index + 1);
  const bool early = v.breaks("flag read before the tail is stored");
  const auto look = [&] {
    thread.fence(v.at("W2", Order::kSeqCst)).load(kFlag, ring.need_wake, Order::kRelaxed);
  };
  if (early) look();
  thread.store(ring.tail, index + 1, v.at("tail", Order::kRelease));
  if (!early) look();
  const std::string awake = "awake" + std::to_string(index);
  thread.jump_if([](const Registers& r) { return get(r, kFlag) == 0; }, awake);
  thread.signal(ring.eventfd);
  thread.label(awake).set(kFlag, 0);
}

// Takes entry kHead.
void take(Thread& thread, const Ring& ring, Variant& v) {
  thread.plain_read(kValue, entry_at(ring, kHead));
  thread.check([](const Registers& r) { return get(r, kValue) == get(r, kHead) + 1; },
               "takes another entry than the one that was sent");
  thread.step([](Local& l) { l[kHead] = static_cast<int16_t>(l[kHead] + 1); });
  thread.store(ring.head, kHead, v.at("head", Order::kRelease));
}

// Goes to `work` with a new tail, or sleeps and comes back here when woken. kTail and kHead are
// equal, or, in the broken cases, the side believes that it can do nothing.
void go_to_sleep(Thread& thread, const Ring& ring, Variant& v, const std::string& work) {
  const bool late = v.breaks("flag set after the tail is read");
  const auto set_flag = [&] {
    thread.store(ring.need_wake, 1, Order::kRelaxed).fence(v.at("W1", Order::kSeqCst));
  };
  const std::string busy = work + " busy";
  if (!late) set_flag();
  thread.load(kTail, ring.tail, v.at("tail again", Order::kAcquire));
  thread.jump_if([](const Registers& r) { return get(r, kTail) != get(r, kHead); }, busy);
  if (late) set_flag();
  if (v.breaks("eventfd drained before the sleep")) thread.drain(ring.eventfd);
  thread.sleep(ring.eventfd);
  thread.label(busy).store(ring.need_wake, 0, Order::kRelaxed).jump(work);
}

}  // namespace

// Four entries through a ring of two.
Model ring_one_way(Variant& v) {
  Model model("ring_one_way");
  model.must_finish = true;
  const Ring ring = make_ring(model, "ring", 2);
  constexpr int kCount = 4;

  auto& producer = model.thread("producer");
  for (int i = 0; i < kCount; ++i) {
    // Full: waits for room (in the real client: for a completion, with a deadline).
    if (i >= 2) producer.await(kOtherHead, ring.head, i - 1, v.at("head seen", Order::kAcquire));
    publish(producer, ring, i, v);
  }

  auto& consumer = model.thread("consumer");
  consumer.label("look").load(kTail, ring.tail, v.at("tail seen", Order::kAcquire));
  consumer.label("work");
  consumer.jump_if([](const Registers& r) { return get(r, kTail) == get(r, kHead); }, "empty");
  take(consumer, ring, v);
  consumer.jump_if([](const Registers& r) { return get(r, kHead) == kCount; }, "end");
  consumer.jump("work").label("empty");
  go_to_sleep(consumer, ring, v, "work");
  model.finish();
  return model;
}

// Two requests, and a completion ring with room for one: the client keeps to its limit of requests
// in flight. The answer is written over the argument, which both requests use in turn.
Model ring_both_ways(Variant& v) {
  Model model("ring_both_ways");
  model.must_finish = true;
  const Ring requests = make_ring(model, "requests", 2);
  const Ring answers = make_ring(model, "answers", 1);
  const int argument = model.shared("argument");
  constexpr int kCount = 2;
  const bool unbounded = v.breaks("more requests in flight than completions fit");

  auto& client = model.thread("client");
  for (int i = 0; i < kCount; ++i) {
    const std::string n = std::to_string(i);
    if (!unbounded) client.plain_write(argument, 10 + i);
    if (!unbounded || i == 0) publish(client, requests, i, v);
    if (unbounded && i == 0) publish(client, requests, 1, v);
    const std::string wait = "wait" + n;
    client.load(kTail, answers.tail, v.at("tail seen", Order::kAcquire));
    client.label(wait);
    client.jump_if([](const Registers& r) { return get(r, kTail) != get(r, kHead); }, "got" + n);
    go_to_sleep(client, answers, v, wait);
    client.label("got" + n);
    if (!unbounded) {
      client.plain_read(kValue, argument);
      client.check([i](const Registers& r) { return get(r, kValue) == 20 + i; },
                   "reads something else than the answer");
    }
    take(client, answers, v);
  }

  auto& daemon = model.thread("daemon");
  daemon.label("look").load(kTail, requests.tail, v.at("tail seen", Order::kAcquire));
  daemon.label("work");
  daemon.jump_if([](const Registers& r) { return get(r, kTail) == get(r, kHead); }, "empty");
  // Room for the completion? kHead is also the number of answers given.
  daemon.load(kOtherHead, answers.head, v.at("head seen", Order::kAcquire));
  daemon.jump_if([](const Registers& r) { return get(r, kHead) > get(r, kOtherHead); }, "no room");
  if (!unbounded) {
    daemon.plain_read(kSent, argument);
    daemon.check([](const Registers& r) { return get(r, kSent) == 10 + get(r, kHead); },
                 "reads something else than the argument");
    daemon.plain_write(argument, [](const Registers& r) { return 20 + get(r, kHead); });
  }
  take(daemon, requests, v);
  for (int i = 0; i < kCount; ++i) {
    const std::string other = "not answer " + std::to_string(i);
    daemon.jump_if([i](const Registers& r) { return get(r, kHead) != i + 1; }, other);
    publish(daemon, answers, i, v);
    daemon.label(other);
  }
  daemon.jump_if([](const Registers& r) { return get(r, kHead) == kCount; }, "end");
  daemon.jump("work");
  // Nothing that it could take: it sleeps as over an empty ring.
  daemon.label("no room").store(requests.need_wake, 1, Order::kRelaxed);
  daemon.fence(v.at("W1", Order::kSeqCst)).sleep(requests.eventfd);
  daemon.store(requests.need_wake, 0, Order::kRelaxed).jump("look");
  daemon.label("empty");
  go_to_sleep(daemon, requests, v, "work");
  model.finish();
  return model;
}

// Three touches into a log of two, then a flush; the daemon may also drain before.
Model touch_log(Variant& v) {
  Model model("touch_log");
  const int tail = model.location("touch_tail"), head = model.location("touch_head");
  const int submitted = model.location("submission_tail");
  const std::vector<int> words = {model.location("word0"), model.location("word1")};
  constexpr int kTouches = 3;

  auto& client = model.thread("client");
  // kNext: how many are logged. Touch number n is the word n + 1.
  for (int i = 0; i < kTouches; ++i) {
    const std::string n = std::to_string(i);
    client.load(kHead, head, v.at("touch head seen", Order::kAcquire));
    client.jump_if([](const Registers& r) { return get(r, kNext) - get(r, kHead) < 2; },
                   "fits" + n);
    client.step([](Local& l) { ++l[kDropped]; }).jump("next" + n);
    client.label("fits" + n);
    client.store(
        Expr::pick(words, [](const Registers& r) { return get(r, kNext) % 2; }),
        [](const Registers& r) { return get(r, kNext) + 1; }, Order::kRelaxed);
    client.step([](Local& l) { ++l[kNext]; });
    client.store(tail, kNext, v.at("touch tail", Order::kRelease));
    client.label("next" + n).set(kHead, 0);
  }
  client.step([](Local& l) { l.ghost(0) = l[kNext]; });
  client.store(submitted, 1, v.at("tail", Order::kRelease));

  auto& daemon = model.thread("daemon");
  const auto read_tail = [&] {
    daemon.load(kTail, tail, v.at("touch tail seen", Order::kAcquire));
  };
  const auto drain = [&](const std::string& label) {
    daemon.label(label);
    daemon.jump_if([](const Registers& r) { return get(r, kTail) == get(r, kHead); },
                   label + " done");
    daemon.load(kValue, Expr::pick(words, [](const Registers& r) { return get(r, kHead) % 2; }),
                Order::kRelaxed);
    daemon.check([](const Registers& r) { return get(r, kValue) == get(r, kHead) + 1; },
                 "loses a touch that was logged");
    daemon.step([](Local& l) { ++l[kHead]; });
    daemon.store(head, kHead, v.at("touch head", Order::kRelease));
    daemon.jump(label).label(label + " done");
  };
  read_tail();
  drain("early");
  const bool late = v.breaks("touches drained before the tail of requests is read");
  if (late) read_tail();
  if (late) drain("flush");
  daemon.load(kSent, submitted, v.at("tail seen", Order::kAcquire));
  daemon.jump_if([](const Registers& r) { return get(r, kSent) == 0; }, "end");
  if (!late) read_tail();
  if (!late) drain("flush");
  daemon.step([](Local& l) {
    if (l[kHead] != l.ghost(0))
      l.violation = "a flush completes before the touches logged before it";
  });
  model.finish();
  return model;
}

}  // namespace kvtier::model
