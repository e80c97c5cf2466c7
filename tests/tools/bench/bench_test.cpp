// `kvtier bench` in small: every benchmark runs through its real daemon and prints its fields.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "tools/bench/bench.hpp"
#include "tools/cli/command.hpp"
#include "tools/cli/spawn.hpp"

namespace kvtier::tools {
namespace {

using Json = nlohmann::json;

struct Ran {
  int status = -1;
  std::string out;
};

Ran run(const std::string& arguments, const char* errors = "2>/dev/null") {
  const std::string line =
      KVTIER_PROGRAM_DIR "/kvtier bench " + arguments + " " + errors + " </dev/null";
  FILE* pipe = popen(line.c_str(), "r");
  Ran ran;
  char block[4096];
  while (const size_t got = fread(block, 1, sizeof block, pipe)) ran.out.append(block, got);
  ran.status = WEXITSTATUS(pclose(pipe));
  return ran;
}

Json measure(const std::string& arguments) {
  const Ran ran = run(arguments + " --json");
  EXPECT_EQ(ran.status, kExitOk) << ran.out;
  Json json = Json::parse(ran.out, nullptr, false);
  EXPECT_TRUE(json.is_object()) << ran.out;
  for (const char* field : {"ours", "limit", "ratio"}) {
    EXPECT_GT(json.value(field, 0.0), 0) << field << ran.out;
  }
  for (const char* field : {"limit_name", "unit"}) EXPECT_TRUE(json[field].is_string()) << field;
  EXPECT_TRUE(json.contains("cpu_s_per_gb"));
  return json;
}

TEST(Quantile, OfNothingOneAndMany) {
  EXPECT_EQ(median({}), 0);
  EXPECT_EQ(median({3}), 3);
  EXPECT_EQ(median({5, 1, 3}), 3);
  EXPECT_EQ(quantile({4, 1, 2, 3, 0}, 1), 4);
  EXPECT_EQ(quantile({4, 1, 2, 3, 0}, 0), 0);
}

TEST(BenchResult, RatioIsHigherForBetter) {
  BenchResult rate;
  rate.ours = 2;
  rate.limit = 1;
  EXPECT_EQ(rate.ratio(), 2);
  rate.is_rate = false;  // a time
  EXPECT_EQ(rate.ratio(), 0.5);
  EXPECT_EQ(BenchResult{}.ratio(), 0);
}

TEST(Bench, LookupPrintsItsTimes) {
  const Json json = measure("lookup --entries 2048 --repeats 1 --no-redis");
  EXPECT_EQ(json["unit"], "us");
  for (const char* field : {"us_256", "us_256_hashed", "us_1", "us_1_hot"}) {
    EXPECT_GT(json[field], 0) << field;
  }
  EXPECT_TRUE(json["huge_pages"].is_boolean());
  EXPECT_TRUE(json["redis_us_256"].is_null());
  EXPECT_EQ(json["ratio"], json["limit"].get<double>() / json["ours"].get<double>());
}

TEST(Bench, NvmePrintsBothWaysAtEachDepth) {
  for (const std::string way : {"nvme-read", "nvme-write"}) {
    const Json json =
        measure(way + " --slab-bytes 8MiB --chunk-bytes 64KiB --repeats 1 --seconds 0.1 --depth 4");
    EXPECT_EQ(json["unit"], "GB/s");
    EXPECT_EQ(json["depth"], 4);
    for (const char* depth : {"1", "4", "8", "32"}) {
      EXPECT_GT(json["by_depth"][depth]["ours"], 0) << depth;
      EXPECT_GT(json["by_depth"][depth]["raw"], 0) << depth;
    }
    EXPECT_EQ(json["ratio"], json["by_depth"]["4"]["ratio"]);
    if (way == "nvme-read") {
      EXPECT_GT(json["checksum_cpu_s_per_gb"], 0);
      EXPECT_GT(json["beside_writes_ratio"], 0);
      EXPECT_TRUE(json["beside_writes_gbps"].is_number()) << "so short a run may end without any";
    } else {
      EXPECT_GE(json["write_amplification"], 1);
    }
  }
  const Ran nowhere = run("nvme-read --dir /nonexistent", "2>&1");
  EXPECT_EQ(nowhere.status, kExitUsage);
  EXPECT_NE(nowhere.out.find("--dir"), std::string::npos) << nowhere.out;
}

TEST(Bench, LookupSaysWhenItTakesOtherEntriesThanAskedFor) {
  const Ran odd = run("lookup --entries 1000 --repeats 1 --no-redis", "2>&1");
  EXPECT_NE(odd.out.find("768 entries instead of 1000"), std::string::npos) << odd.out;
  const Ran even = run("lookup --entries 768 --repeats 1 --no-redis", "2>&1");
  EXPECT_EQ(even.out.find("instead of"), std::string::npos) << even.out;
}

TEST(Bench, LeasePrintsItsTime) {
  EXPECT_GT(measure("lease --repeats 1")["ns_per_chunk"], 0);
}

TEST(Bench, LoadAndStorePrintTheirCost) {
  const Json load = measure("load --pool-bytes 128MiB --chunk-bytes 1MiB --repeats 1");
  EXPECT_GT(load["ratio_verify"], 0);
  EXPECT_GT(load["cpu_s_per_gb"], 0);
  EXPECT_EQ(load["ratio"], load["ours"].get<double>() / load["limit"].get<double>());
  const Json store = measure("store --pool-bytes 128MiB --repeats 1");
  EXPECT_GT(store["cpu_s_per_gb"], 0);
  EXPECT_EQ(store["limit_name"], "memcpy");
}

TEST(Bench, PrefixLoadsBothHalves) {
  const Json json = measure("prefix --chunk-bytes 64KiB --repeats 1");
  EXPECT_GT(json["ratio_time"], 0);
  EXPECT_GT(json["host_half_ms"], 0);
  EXPECT_GT(json["nvme_half_ms"], 0);
}

TEST(Bench, MemoryAndIdleAreOfTheDaemon) {
  EXPECT_GT(measure("memory --entries 2048")["ours"], 1);
  EXPECT_EQ(measure("memory --nvme --entries 4096")["chunks"], 4096);
  const Ran idle = run("idle --seconds 0.3 --json");  // nothing to do may cost nothing at all
  EXPECT_EQ(idle.status, kExitOk) << idle.out;
  EXPECT_GT(Json::parse(idle.out)["seconds"], 0.29);
}

TEST(Bench, MeasuresARunningDaemonWhereItIsTold) {
  SpawnOptions options;
  options.program = KVTIER_PROGRAM_DIR "/kvtierd";
  options.config_text = "[host]\ncapacity = \"512MiB\"\n";
  const auto daemon = SpawnedDaemon::start(options);
  ASSERT_TRUE(daemon.ok()) << daemon.error().message();
  measure("lease --repeats 1 --socket " + (*daemon)->socket());
}

TEST(Bench, WrongUseIsRefused) {
  EXPECT_EQ(run("").status, kExitUsage);
  EXPECT_EQ(run("memcpy").status, kExitUsage);
  EXPECT_EQ(run("load --chunk-bytes 0").status, kExitUsage);
  EXPECT_EQ(run("load --chunk-bytes 1GiB").status, kExitUsage);
  EXPECT_EQ(run("lookup --entries 1").status, kExitUsage);
  EXPECT_EQ(run("load --repeats 0").status, kExitUsage);
  EXPECT_EQ(run("lease --socket /nonexistent/kvtier.sock").status, kExitUnreachable);
}

TEST(BenchRestart, FindsHostMemoryAtOnceAndTheTierBelowBehindTheService) {
  const Json json = measure("restart --nvme --entries 16384 --repeats 1");
  EXPECT_EQ(json["chunks"], 16384);
  EXPECT_GE(json["share_found_again"], 0.99);
  EXPECT_GE(json["chunks_below"], 4096);
  EXPECT_GE(json["share_found_again_below"], 0.99);
  EXPECT_GT(json["seconds_to_whole_index"], 0.0);
  EXPECT_LT(json["seconds_to_whole_index"], json["seconds_to_whole_index_allowed"]);
}

}  // namespace
}  // namespace kvtier::tools
