// What each path answers, to whom; without sockets.
#include "daemon/admin/routes.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "daemon/log/log.hpp"
#include "tests/daemon/admin/fake_core.hpp"

namespace kvtier::daemon {
namespace {

class Routes : public ::testing::Test {
 protected:
  Routes() {
    mailbox.control.shown = sample_snapshot();
    mailbox.control.chunks.push_back(sample_chunk());
  }
  AdminAnswer ask(const std::string& method, const std::string& target,
                  Access access = Access::kChange, bool on_port = false) {
    return answer_request({method, target, access, on_port}, state);
  }
  nlohmann::json get(const std::string& target) {
    const AdminAnswer answer = ask("GET", target);
    EXPECT_EQ(answer.status, 200u) << answer.body;
    return nlohmann::json::parse(answer.body);
  }

  FakeMailbox mailbox;
  RouteState state{CoreLink(mailbox, std::chrono::milliseconds(2000)), {}};
};

TEST_F(Routes, StatusHasEverythingWithStableNames) {
  const auto status = get("/v1/status");
  EXPECT_EQ(status["schema"], 1);
  EXPECT_EQ(status["version"], "0.1.0");
  EXPECT_EQ(status["epoch"], "feedbeef01234567");
  EXPECT_EQ(status["tiers"][0]["name"], "host");
  EXPECT_EQ(status["tiers"][0]["capacity_bytes"], 1 << 30);
  EXPECT_TRUE(status["tiers"][0]["capacity_chunks"].is_null());
  EXPECT_EQ(status["sessions"][0]["id"], 7);
  EXPECT_EQ(status["counters"].size(), sizeof(CoreCounters) / sizeof(uint64_t));
  EXPECT_EQ(status["counters"]["turns"], 70'001);
  EXPECT_EQ(status["tenants"][0]["counters"]["lookups"], 5000);
}

TEST_F(Routes, ListsAndSingleThings) {
  EXPECT_EQ(get("/v1/tiers")["tiers"].size(), 2u);
  EXPECT_EQ(get("/v1/tiers/host")["policy"], "lru");
  EXPECT_EQ(get("/v1/tenants")["tenants"].size(), 2u);
  EXPECT_EQ(get("/v1/spaces")["spaces"][0]["model"], "model");
  EXPECT_EQ(get("/v1/sessions")["sessions"][0]["name"], "engine");
  EXPECT_EQ(get("/v1/chunks?count=5")["chunks"].size(), 1u);
  EXPECT_EQ(get("/v1/chunks/00112233445566778899AAbb")["chunks"][0]["checksum"],
            "0000000000000abc");
  EXPECT_EQ(get("/healthz")["health"], "good");
  const auto config = get("/v1/config");
  EXPECT_EQ(config["toml"], mailbox.control.config_text());
  bool found = false;
  for (const auto& option : config["options"]) {
    found = found || (option["name"] == "host.capacity" && option["value"] == "2GiB" &&
                      option["is_default"] == false);
  }
  EXPECT_TRUE(found);
}

TEST_F(Routes, NoListButChunksShowsKeys) {
  for (const char* path : {"/v1/status", "/v1/tiers", "/v1/tenants", "/v1/spaces", "/v1/sessions",
                           "/metrics", "/healthz", "/v1/config"}) {
    EXPECT_EQ(ask("GET", path).body.find(sample_chunk().key), std::string::npos) << path;
  }
}

// Without a log there are no events; with one they are lines, also while the core is stuck.
TEST_F(Routes, EventsAreLinesWithACursorToGoOnFrom) {
  EXPECT_EQ(ask("GET", "/v1/events").body, "");
  const int sink = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
  LogOptions options;
  options.fd = sink;
  ASSERT_TRUE(start_log(options).ok());
  mailbox.mode = FakeMailbox::Mode::kStuck;
  log_event(LogCode::kReady, "serving on {}", "here");
  log_event(LogCode::kTierFull, "no room");
  const AdminAnswer all = ask("GET", "/v1/events", Access::kRead);
  EXPECT_EQ(all.status, 200u);
  EXPECT_EQ(all.content_type, "application/x-ndjson");
  std::istringstream lines(all.body);
  std::string line;
  std::getline(lines, line);
  const auto first = nlohmann::json::parse(line);
  EXPECT_EQ(first["code"], "KV1001");
  EXPECT_EQ(first["name"], "ready");
  EXPECT_EQ(first["level"], "info");
  EXPECT_EQ(first["message"], "serving on here");
  EXPECT_EQ(first["suppressed"], 0);
  EXPECT_EQ(first["lost"], 0);
  std::getline(lines, line);
  EXPECT_EQ(nlohmann::json::parse(line)["name"], "tier_full");
  // From a cursor what is newer; of another daemon's everything.
  const std::string cursor = first["cursor"];
  EXPECT_EQ(ask("GET", "/v1/events?after=" + cursor).body, line + "\n");
  EXPECT_EQ(ask("GET", "/v1/events?after=1-1").body, all.body);
  for (const char* bad : {"", "x", "1", "-1", "1-", "1-x", "zz-1"}) {
    EXPECT_EQ(ask("GET", std::string("/v1/events?after=") + bad).status, 400u) << bad;
  }
  EXPECT_EQ(ask("GET", "/v1/events", Access::kNone).status, 403u);
  EXPECT_EQ(ask("GET", "/v1/events", Access::kRead, true).status, 404u);  // not on the port
  stop_log();
  ::close(sink);
}

TEST_F(Routes, ChangesReachTheCore) {
  EXPECT_EQ(ask("POST", "/v1/sessions/7/kill").status, 200u);
  EXPECT_EQ(mailbox.control.killed, 1);
  EXPECT_EQ(ask("POST", "/v1/chunks/00112233/drop").status, 200u);
  EXPECT_EQ(ask("POST", "/v1/chunks/00112233/pin?seconds=2.5").status, 200u);
  EXPECT_EQ(ask("POST", "/v1/chunks/00112233/unpin").status, 200u);
  ASSERT_EQ(mailbox.control.acted.size(), 3u);
  EXPECT_EQ(mailbox.control.acted[0].action, ChunkAction::kDrop);
  EXPECT_EQ(mailbox.control.acted[1].pin_seconds, 2.5);
  EXPECT_EQ(ask("POST", "/v1/flush").status, 200u);
  mailbox.control.unsettled = 3;
  EXPECT_EQ(ask("POST", "/v1/flush?tenant=uid%2D1000").status, 200u);
  EXPECT_EQ(mailbox.control.unsettled, 0) << "it is gone for good when the answer comes";
  EXPECT_EQ(mailbox.control.flushed, (std::vector<std::string>{"", "uid-1000"}));
  EXPECT_EQ(nlohmann::json::parse(ask("POST", "/v1/reload").body)["changed"][0], "host.lease_max");
}

TEST_F(Routes, WhatTheCoreRefusesIsSaidWithItsReason) {
  mailbox.control.reload_error = "kvtier.toml:3: unknown option";
  const AdminAnswer answer = ask("POST", "/v1/reload");
  EXPECT_EQ(answer.status, 400u);
  EXPECT_NE(answer.body.find("kvtier.toml:3"), std::string::npos);
  EXPECT_EQ(ask("POST", "/v1/sessions/8/kill").status, 404u);
  EXPECT_EQ(ask("POST", "/v1/chunks/ffffffff/drop").status, 404u);
  EXPECT_EQ(ask("GET", "/v1/chunks/ffffffff").status, 404u);
  EXPECT_EQ(ask("GET", "/v1/tiers/moon").status, 404u);
  EXPECT_NE(ask("GET", "/v1/tiers/moon").body.find("host"), std::string::npos);
}

TEST_F(Routes, BadInputIsRefusedBeforeTheCoreSeesIt) {
  for (const char* target :
       {"/v1/chunks?count=0", "/v1/chunks?count=10001", "/v1/chunks?count=x",
        "/v1/chunks?count=99999999999999999999", "/v1/chunks/0011", "/v1/chunks/zzzzzzzz",
        "/v1/chunks/00112233445566778899aabbccddeeff00", "/v1/chunks/%", "/v1/chunks/%00"}) {
    EXPECT_EQ(ask("GET", target).status, 400u) << target;
  }
  for (const char* target :
       {"/v1/chunks/00112233/pin?seconds=-1", "/v1/sessions/x/kill",
        "/v1/chunks/00112233/pin?seconds=nan", "/v1/flush?tenant=", "/v1/sessions/4294967296/kill",
        "/v1/chunks/00112233/pin?seconds=1e99"}) {
    EXPECT_EQ(ask("POST", target).status, 400u) << target;
  }
  EXPECT_TRUE(mailbox.timeouts_ns.empty());
}

TEST_F(Routes, WhoMayReadMayNotChange) {
  EXPECT_EQ(ask("GET", "/v1/status", Access::kRead).status, 200u);
  for (const char* target : {"/v1/flush", "/v1/reload", "/v1/sessions/7/kill",
                             "/v1/chunks/00112233/drop", "/v1/chunks/00112233/pin"}) {
    const AdminAnswer answer = ask("POST", target, Access::kRead);
    EXPECT_EQ(answer.status, 403u) << target;
    EXPECT_EQ(nlohmann::json::parse(answer.body)["error"]["code"], "permission");
  }
  EXPECT_TRUE(mailbox.control.flushed.empty());
  EXPECT_EQ(mailbox.control.killed, 0);
}

TEST_F(Routes, StrangersGetNothingAtAnyPath) {
  for (const char* target : {"/v1/status", "/metrics", "/healthz", "/v1/nonsense", "/"}) {
    EXPECT_EQ(ask("GET", target, Access::kNone).status, 403u) << target;
  }
  EXPECT_TRUE(mailbox.timeouts_ns.empty());
}

TEST_F(Routes, ThePortHasMetricsAndHealthOnly) {
  EXPECT_EQ(ask("GET", "/metrics", Access::kRead, true).status, 200u);
  EXPECT_EQ(ask("GET", "/healthz", Access::kRead, true).status, 200u);
  EXPECT_EQ(ask("GET", "/v1/status", Access::kRead, true).status, 404u);
  EXPECT_EQ(ask("POST", "/v1/flush", Access::kChange, true).status, 404u);
}

TEST_F(Routes, AWrongMethodIsToldWhichOnesExist) {
  const AdminAnswer answer = ask("GET", "/v1/flush");
  EXPECT_EQ(answer.status, 405u);
  EXPECT_EQ(answer.allow, "POST");
}

TEST_F(Routes, AStuckCoreIs503AndIsAskedBrieflyUntilItAnswers) {
  mailbox.mode = FakeMailbox::Mode::kStuck;
  EXPECT_EQ(ask("GET", "/healthz").status, 503u);
  EXPECT_EQ(ask("GET", "/v1/status").status, 503u);
  EXPECT_NE(ask("GET", "/v1/status").body.find("stuck"), std::string::npos);
  mailbox.mode = FakeMailbox::Mode::kAnswer;
  EXPECT_EQ(ask("GET", "/healthz").status, 200u);
  EXPECT_EQ(ask("GET", "/healthz").status, 200u);
  EXPECT_EQ(mailbox.timeouts_ns, (std::vector<uint64_t>{2'000'000'000, 100'000'000, 100'000'000,
                                                        100'000'000, 2'000'000'000}));
}

TEST_F(Routes, ACoreThatStopsWithoutAnsweringIs503) {
  mailbox.mode = FakeMailbox::Mode::kDropped;
  EXPECT_EQ(ask("GET", "/v1/status").status, 503u);
}

TEST_F(Routes, ADrainingDaemonIsNotHealthyButADegradedOneServes) {
  mailbox.control.shown.health = "draining";
  EXPECT_EQ(ask("GET", "/healthz").status, 503u);
  mailbox.control.shown.health = "degraded";
  EXPECT_EQ(ask("GET", "/healthz").status, 200u);
}

TEST_F(Routes, NamesThatAreNotUtf8DoNotBreakTheAnswer) {
  mailbox.control.shown.sessions[0].name = "\xff\xfe\x80name";
  EXPECT_EQ(get("/v1/sessions")["sessions"].size(), 1u);
}

}  // namespace
}  // namespace kvtier::daemon
