// A support bundle of a daemon that holds chunks: everything a helper needs is in it, and nothing
// of what the chunks are.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/faults/fault_client.hpp"
#include "tests/faults/fault_daemon.hpp"

namespace kvtier::faults {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

constexpr const char* kPlanted = "THESE-BYTES-ARE-A-CONVERSATION";
constexpr uint32_t kToken = 1'935'827'411;  // of the prompt, and the 63 after it

struct Ran {
  int status = -1;
  std::string out;
};
Ran cli(const std::string& arguments) {
  FILE* pipe = popen((KVTIER_PROGRAM_DIR "/kvtier " + arguments + " 2>&1 </dev/null").c_str(), "r");
  Ran ran;
  std::array<char, 4096> block;
  while (const size_t got = fread(block.data(), 1, block.size(), pipe)) {
    ran.out.append(block.data(), got);
  }
  ran.status = WEXITSTATUS(pclose(pipe));
  return ran;
}

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string hex(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned char>(c));
    text += digits;
  }
  return text;
}

std::string raw(const void* data, size_t bytes) {
  return {static_cast<const char*>(data), bytes};
}

// Stores four chunks of 16 tokens whose ids and bytes can be looked for.
void plant(const std::string& socket) {
  FaultClient client({.socket = socket, .name = "planter"});
  ASSERT_TRUE(client.wait_attached());
  std::vector<uint32_t> tokens;
  for (uint32_t i = 0; i < 64; ++i) tokens.push_back(kToken + i);
  auto keys = client.space().derive({.tokens = tokens});
  ASSERT_TRUE(keys.ok());
  std::string text;
  while (text.size() < 64 * wire::KiB) text += kPlanted;
  const ConstFragment fragment{reinterpret_cast<const std::byte*>(text.data()), 64 * wire::KiB};
  for (size_t i = 0; i < 4; ++i) {
    const StoreSource source{i, {&fragment, 1}};
    auto outcome = client.space().store(*keys, {&source, 1}, in(std::chrono::seconds(10)));
    ASSERT_TRUE(outcome.ok());
    ASSERT_EQ(outcome->front(), StoreOutcome::kStored);
  }
}

// Everything that may stand in no bundle, as text, as bytes and in hex.
std::vector<std::string> secrets_of(const FaultDaemon& daemon) {
  std::vector<std::string> secrets = {kPlanted, hex(kPlanted)};
  for (uint32_t i = 0; i < 64; ++i) {
    const uint32_t token = kToken + i;
    secrets.push_back(std::to_string(token));
    secrets.push_back(raw(&token, sizeof token));
    secrets.push_back(hex(raw(&token, sizeof token)));
  }
  for (const auto& chunk : daemon.ask("/v1/chunks")["chunks"]) {
    secrets.push_back(chunk["key"].get<std::string>());
  }
  size_t salts = 0;
  const fs::path folder = fs::path(daemon.socket()).parent_path() / "state/salts";
  for (const auto& file : fs::directory_iterator(folder)) {
    const std::string salt = read(file.path());
    EXPECT_EQ(salt.size(), 32u);
    secrets.push_back(salt);
    secrets.push_back(hex(salt));
    ++salts;
  }
  EXPECT_GE(salts, 1u);
  return secrets;
}

TEST(FaultsBundle, HasWhatHelpsAndNothingOfWhatChunksHold) {
  FaultDaemon daemon(small_pool("32MiB"));
  daemon.start();
  plant(daemon.socket());
  const std::vector<std::string> secrets = secrets_of(daemon);
  ASSERT_GE(secrets.size(), 64u * 3 + 4);
  const fs::path folder = fs::path(daemon.socket()).parent_path() / "bundle";
  const Ran ran = cli("dump " + folder.string() + " --socket " + daemon.socket());
  ASSERT_EQ(ran.status, 0) << ran.out;
  const auto status = nlohmann::json::parse(read(folder / "status.json"));
  EXPECT_EQ(status["tiers"][0]["chunks"], 4);
  EXPECT_THAT(read(folder / "config.toml"), HasSubstr("32MiB"));
  EXPECT_THAT(read(folder / "metrics.txt"), HasSubstr("kvtier_build_info"));
  EXPECT_THAT(read(folder / "events.jsonl"), HasSubstr("\"session_attached\""));
  EXPECT_THAT(read(folder / "machine.txt"), HasSubstr("MemTotal"));
  EXPECT_THAT(read(folder / "machine.txt"), HasSubstr("Max locked memory"));
  EXPECT_TRUE(nlohmann::json::accept(read(folder / "doctor.json")));
  size_t files = 0;
  for (const auto& file : fs::directory_iterator(folder)) {
    const std::string text = read(file.path());
    ++files;
    EXPECT_FALSE(text.empty()) << file.path();
    for (const std::string& secret : secrets) {
      EXPECT_EQ(text.find(secret), std::string::npos) << file.path() << ": " << hex(secret);
    }
    EXPECT_EQ(fs::status(file.path()).permissions(), fs::perms(0600)) << file.path();
  }
  EXPECT_EQ(files, 8u);
  // A folder that is there is not written into.
  EXPECT_EQ(cli("dump " + folder.string() + " --socket " + daemon.socket()).status, 1);
}

TEST(FaultsBundle, OfADaemonThatIsGoneSaysSoInItsFiles) {
  FaultDaemon daemon(small_pool("32MiB"));
  daemon.start();
  daemon.kill();
  const fs::path folder = fs::path(daemon.socket()).parent_path() / "bundle";
  const Ran ran = cli("dump " + folder.string() + " --json --socket " + daemon.socket());
  EXPECT_EQ(ran.status, 4) << ran.out;
  EXPECT_EQ(nlohmann::json::parse(ran.out)["complete"], false);
  EXPECT_THAT(read(folder / "status.json"), HasSubstr("not to be had"));
  EXPECT_THAT(read(folder / "machine.txt"), HasSubstr("MemTotal"));
}

TEST(FaultsEvents, AreFollowedThroughARestart) {
  FaultDaemon daemon(small_pool("32MiB"));
  daemon.start();
  const std::string socket = " --socket " + daemon.socket();
  const Ran first = cli("events --json -n 1" + socket);
  EXPECT_EQ(nlohmann::json::parse(first.out)["name"], "ready") << first.out;
  // Starting, how, ready; after the kill the same of the next: six, and not one twice.
  const std::string command = KVTIER_PROGRAM_DIR "/kvtier events -f -n 6 --json 2>&1" + socket;
  FILE* follower = popen(command.c_str(), "r");
  std::array<char, 4096> line;
  std::vector<std::string> names, cursors;
  const auto next = [&] {
    ASSERT_NE(fgets(line.data(), line.size(), follower), nullptr);
    const auto event = nlohmann::json::parse(line.data(), nullptr, false);
    if (!event.is_object()) return;  // "does not answer; waiting"
    names.push_back(event["name"]);
    cursors.push_back(event["cursor"]);
  };
  while (names.size() < 3) next();
  daemon.kill();
  daemon.start();
  while (names.size() < 6) next();
  EXPECT_EQ(WEXITSTATUS(pclose(follower)), 0);
  EXPECT_EQ(names, (std::vector<std::string>{"starting", "start_mode", "ready", "starting",
                                             "start_mode", "ready"}));
  EXPECT_NE(cursors[0], cursors[3]);
}

}  // namespace
}  // namespace kvtier::faults
