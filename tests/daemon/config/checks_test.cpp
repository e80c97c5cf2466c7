// Rules across options: each refusal shows its arithmetic at the option that caused it.
#include "daemon/config/checks.hpp"

#include "tests/daemon/config/support.hpp"

namespace kvtier::daemon {
namespace {

constexpr const char* kTenantA = "[[tenant]]\nname = \"a\"\nuids = [1]\n";

struct Case {
  std::string text;
  const char* code;
  uint32_t line;
  const char* message;
};

TEST(Checks, ContradictionsAreRefused) {
  const std::string a = kTenantA;
  const Case cases[] = {
      {"[host]\ncapacity = \"16MiB\"\n", "C010", 2,
       "need 1 x 32MiB = 32MiB; host.capacity is 16MiB"},
      {"[host]\ncapacity = \"64MiB\"\nsegment_bytes_min = \"128MiB\"\n", "C010", 2,
       "need 1 x 128MiB = 128MiB; host.capacity is 64MiB"},
      {"[nvme]\ncapacity = \"1GiB\"\nsegment_size = \"2GiB\"\n", "C010", 3,
       "nvme.capacity is 1GiB, nvme.segment_size 2GiB"},
      {"[nvme]\ncapacity = \"64MiB\"\nsegment_size = \"64MiB\"\n", "C010", 3,
       "with what describes it 65548KiB"},
      {"[nvme]\ncapacity = \"1MiB\"\n", "C010", 2, "the smallest segment 1MiB"},
      {"[tenants]\nhost_share = \"1%\"\n", "C010", 2,
       "1% of 1GiB = 10737418B is less than one segment"},
      {"[tenants]\nhost_max = \"8MiB\"\n", "C010", 2, "host_max = 8MiB is less than one segment"},
      {a + "host_share = \"2%\"\n", "C010", 4, "tenant 'a' can never hold a chunk: 2% of 1GiB"},
      {"[session]\nsubmission_entries = 2048\n", "C010", 2,
       "completion_entries (1024) is less than session.submission_entries (2048)"},
      {"[daemon]\nsessions_max = 8\n", "C010", 2,
       "a tenant may have 64 sessions, the whole daemon only 8"},
      {"[host]\ncapacity_chunks = 5000\n[index]\nchunks_max = 4096\n", "C010", 4,
       "host.capacity_chunks = 5000, index.chunks_max = 4096"},
      {"[tenants]\nunlisted = \"refuse\"\n", "C010", 2, "nobody could attach"},
      {a + "[tenants]\ntenants_max = 1\n", "C012", 5, "1 tenants are configured"},
      {a + "[[tenant]]\nname = \"a\"\nuids = [2]\n", "C009", 5, "tenant name 'a' is claimed twice"},
      {a + "[[tenant]]\nname = \"b\"\nuids = [1]\n", "C009", 6,
       "uid '1' is claimed twice: by tenant 'a' (entry 1) and by tenant 'b' (entry 2)"},
      {"[daemon]\nsocket = \"/r/k\"\n" + a + "socket = \"/r/k\"\n", "C009", 6,
       "socket '/r/k' is claimed twice"},
      {"[daemon]\nsocket = \"/r/k\"\nadmin_socket = \"/r/k\"\n", "C009", 3, "claimed twice"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.text);
    const ConfigOutcome outcome = parse(c.text);
    ASSERT_EQ(outcome.problems.size(), 1u) << rendered(outcome);
    EXPECT_EQ(outcome.problems[0].code, c.code) << rendered(outcome);
    EXPECT_EQ(outcome.problems[0].line, c.line) << rendered(outcome);
    EXPECT_NE(outcome.problems[0].message.find(c.message), std::string::npos) << rendered(outcome);
    EXPECT_FALSE(outcome.problems[0].help.empty());
  }
}

TEST(Checks, ATierThatIsOffHasNoMinimum) {
  EXPECT_TRUE(parse("[host]\ncapacity = 0\n").ok());
  EXPECT_TRUE(parse("[host]\ncapacity = \"1MiB\"\ncapacity_chunks = 0\n").ok());
}

TEST(Checks, ASegmentThatJustFitsIsGood) {
  EXPECT_TRUE(parse("[nvme]\ncapacity = \"65548KiB\"\nsegment_size = \"64MiB\"\n").ok());
  EXPECT_TRUE(parse("[nvme]\ncapacity = 0\nsegment_size = \"1GiB\"\n").ok());
}

TEST(Checks, AShareOfNothingKeepsATenantOut) {
  EXPECT_TRUE(parse(std::string(kTenantA) + "host_share = \"0%\"\n").ok());
}

TEST(Checks, SmallSegmentsAllowSmallPools) {
  EXPECT_TRUE(parse("[host]\ncapacity = \"1MiB\"\nsegment_bytes_min = \"64KiB\"\n").ok());
}

TEST(Checks, ARefusedValueCausesNoFurtherComplaint) {
  const ConfigOutcome outcome = parse("[daemon]\nsessions_max = 0\n[host]\ncapacity = \"16MB\"\n");
  ASSERT_EQ(outcome.problems.size(), 2u) << rendered(outcome);
  EXPECT_EQ(outcome.problems[0].code, "C006");
  EXPECT_EQ(outcome.problems[1].code, "C010");
}

TEST(Checks, AutoIsCheckedWhenItIsKnown) {
  const ConfigOutcome outcome = parse("[host]\ncapacity = \"auto\"\n");
  ASSERT_TRUE(outcome.ok()) << rendered(outcome);
  const uint64_t mib = 1 << 20;
  EXPECT_EQ(host_capacity_bytes(outcome.config, 201 * mib), 96 * mib) << "half, in whole segments";
  EXPECT_TRUE(check_host_capacity(outcome.config, 96 * mib).ok());
  const Status refused = check_host_capacity(outcome.config, 0);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(std::string(refused.error().message()).find("need 1 x 32MiB"), std::string::npos);
  EXPECT_EQ(host_capacity_bytes(parse("[host]\ncapacity = 0").config, 1 << 30), 0u);
}

TEST(Checks, SharesDoNotOverflow) {
  EXPECT_EQ(share_of(UINT64_MAX, kShareWhole), UINT64_MAX);
  EXPECT_EQ(share_of(1'000'001, 500'000), 500'000u);
  EXPECT_EQ(share_of(64ull << 40, 125'000), 8ull << 40);
}

}  // namespace
}  // namespace kvtier::daemon
