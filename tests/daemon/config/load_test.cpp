// Reading configurations: what is taken, what is refused and how that looks, files and drop-ins.
#include "daemon/config/load.hpp"

#include "tests/daemon/config/support.hpp"

namespace kvtier::daemon {
namespace {

TEST(Load, AnEmptyTextIsTheDefaultConfiguration) {
  const ConfigOutcome outcome = parse("");
  EXPECT_TRUE(outcome.ok()) << rendered(outcome);
  EXPECT_EQ(outcome.config, Config());
  EXPECT_EQ(outcome.config.host.capacity_bytes, 1ull << 30);
  EXPECT_EQ(outcome.config.host.capacity_chunks, kUnlimited);
  EXPECT_EQ(outcome.config.daemon.socket_mode, 0660u);
}

TEST(Load, TakesEveryKindOfValue) {
  const ConfigOutcome outcome = parse(R"(
[daemon]
socket = "/run/x/k.sock"
socket_mode = 0o600
socket_group = "kvtier"
metrics_listen = "127.0.0.1:9464"
workers = 3
spin = "15us"
drain_timeout = 0
[host]
capacity = 67108864
capacity_chunks = 0
lease_max = "2m"
[tenants]
host_share = "50%"
unlisted = "refuse"
[planner]
host_bandwidth_initial = "12GiB/s"
[[tenant]]
name = "a"
uids = [0, 1000]
[[tenant]]
name = "b"
socket = "/run/x/b.sock"
host_share = "12.5%"
host_max = "1GiB"
)");
  ASSERT_TRUE(outcome.ok()) << rendered(outcome);
  const Config& config = outcome.config;
  EXPECT_EQ(config.daemon.socket, "/run/x/k.sock");
  EXPECT_EQ(config.daemon.socket_mode, 0600u);
  EXPECT_EQ(config.daemon.workers, 3u);
  EXPECT_EQ(config.daemon.spin_ns, 15'000u);
  EXPECT_EQ(config.daemon.drain_timeout_ns, 0u);
  EXPECT_EQ(config.host.capacity_bytes, 64ull << 20);
  EXPECT_EQ(config.host.capacity_chunks, 0u);
  EXPECT_EQ(config.host.lease_max_ns, 120'000'000'000u);
  EXPECT_EQ(config.planner.host_bandwidth_initial, 12ull << 30);
  ASSERT_EQ(config.tenant.size(), 2u);
  EXPECT_EQ(config.tenant[0].uids, (std::vector<uint32_t>{0, 1000}));
  EXPECT_EQ(config.tenant[0].host_share_ppm, 500'000u) << "inherited from [tenants]";
  EXPECT_EQ(config.tenant[1].host_share_ppm, 125'000u);
  EXPECT_EQ(config.tenant[1].host_bytes_max, 1ull << 30);
}

TEST(Load, SpacesTakeTheirOwnCodecsOrThoseOfTheTiers) {
  const ConfigOutcome outcome = parse(R"(
[[space]]
model = "org/model-7b"
encode = "int8"
[[space]]
model = "org/*"
nvme_encode = "none"
[host]
encode = "fp8"
[nvme]
encode = "lossless"
)");
  ASSERT_TRUE(outcome.ok()) << rendered(outcome);
  const Config& config = outcome.config;
  EXPECT_EQ(config.space_of("org/model-7b").encode, Encode::kInt8);
  EXPECT_EQ(config.space_of("org/model-7b").nvme_encode, Encode::kLossless) << "of the tier";
  EXPECT_EQ(config.space_of("org/model-7b-chat").encode, Encode::kFp8);
  EXPECT_EQ(config.space_of("org/model-7b-chat").nvme_encode, Encode::kNone);
  EXPECT_EQ(config.space_of("other").encode, Encode::kFp8);
  EXPECT_EQ(config.space_of("other").nvme_encode, Encode::kLossless);
}

TEST(Load, AutoAndUnlimitedAreWords) {
  const ConfigOutcome outcome = parse(
      "[host]\ncapacity = \"auto\"\ncapacity_chunks = \"unlimited\"\n[daemon]\nworkers = 0\n");
  ASSERT_TRUE(outcome.ok()) << rendered(outcome);
  EXPECT_EQ(outcome.config.host.capacity_bytes, kChosenAtStart);
  EXPECT_EQ(outcome.config.host.capacity_chunks, kUnlimited);
  EXPECT_EQ(outcome.config.daemon.workers, 0u);
}

struct Refusal {
  const char* text;
  const char* code;
  uint32_t line, column, width;
  const char* message;
  const char* help;
};

TEST(Load, RefusesWithPlaceAndRemedy) {
  const Refusal cases[] = {
      {"[host]\ncapacty = 1\n", "C003", 2, 1, 7, "unknown option 'capacty' in [host]",
       "did you mean 'capacity'?"},
      {"[hots]\nx = 1\n", "C003", 1, 2, 4, "unknown table 'hots'", "did you mean 'host'?"},
      {"capacity = 1\n", "C003", 1, 1, 8, "outside of any table", "'host.capacity'"},
      {"[session]\nlevel = 1\n", "C003", 2, 1, 5, "unknown option 'level' in [session]",
       "there is 'log.level'"},
      {"[verify]\nquux = 1\n", "C003", 2, 1, 4, "unknown option 'quux'", "known are: host"},
      {"host = 3\n", "C004", 1, 1, 4, "'host' is a table", "write [host]"},
      {"[host.capacity]\nx = 1\n", "C004", 1, 1, 15, "'host.capacity' cannot be a table", "a size"},
      {"[tenant]\nname = \"a\"\n", "C004", 1, 2, 6, "'tenant' is a list", "[[tenant]]"},
      {"tenant = []\n", "C004", 1, 1, 6, "'tenant' is a list", "[[tenant]]"},
      {"[host]\nlock = true\n", "C004", 2, 8, 4, "cannot be a boolean", "a string in quotes"},
      {"[host]\nlease_max = 30\n", "C004", 2, 13, 2, "cannot be an integer", "\"30s\""},
      {"[host]\nlease_max = 1979-05-27\n", "C004", 2, 13, 10, "a date or time", "\"30s\""},
      {"[daemon]\nsocket_mode = 660\n", "C004", 2, 15, 3, "cannot be an integer", "0o660"},
      {"[daemon]\nsessions_max = \"many\"\n", "C005", 2, 16, 6, "'many' is not a number",
       "without"},
      {"[host]\ncapacity = \"64G\"\n", "C005", 2, 12, 5, "'G' is not a unit", "\"64GiB\""},
      {"[host]\ncapacity = \"lots\"\n", "C005", 2, 12, 6, "'lots' is not a size", "or \"auto\""},
      {"[daemon]\nspin = \"11ms\"\n", "C006", 2, 8, 6, "too large: \"11ms\"", "0s to 10ms"},
      {"[daemon]\nworkers = -1\n", "C006", 2, 11, 2, "is negative: -1", "1 to 256; or \"auto\""},
      {"[session]\nlease_cells = 5000\n", "C006", 2, 15, 4, "not a power of two", "4096 and 8192"},
      {"[session]\nargument_bytes = 65537\n", "C006", 2, 18, 5, "not a multiple", "\"68KiB\""},
      {"[tenants]\nhost_share = \"101%\"\n", "C006", 2, 14, 6, "too large: \"101%\"", "100%"},
      {"[daemon]\nsocket_mode = \"1777\"\n", "C006", 2, 15, 6, "too large: \"1777\"", "0777"},
      {"[log]\nlevel = \"warn\"\n", "C007", 2, 9, 6, "cannot be \"warn\"",
       "did you mean \"warning\""},
      {"[host]\npolicy = \"mru\"\n", "C007", 2, 10, 5, "cannot be \"mru\"", "\"lru\""},
      {"[daemon]\nsocket = \"run/x\"\n", "C005", 2, 10, 7, "not an absolute path", "'/'"},
      {"[daemon]\nsocket = \"/run/\"\n", "C005", 2, 10, 7, "is a folder", "file name"},
      {"[daemon]\nsocket = \"/a\\nb\"\n", "C005", 2, 10, 7, "control character", "remove"},
      {"[daemon]\nmetrics_listen = \"0.0.0.0:9464\"\n", "C005", 2, 18, 14, "not a loopback address",
       "127.0.0.1:9464"},
      {"[daemon]\nmetrics_listen = \"[::]:9464\"\n", "C005", 2, 18, 11, "not a loopback", "[::1]"},
      {"[daemon]\nmetrics_listen = \"127.0.0.1\"\n", "C005", 2, 18, 11, "has no port", "9464"},
      {"[daemon]\nmetrics_listen = \"127.0.0.1:70000\"\n", "C005", 2, 18, 17, "no port", "9464"},
      {"[nvme]\ncapacity = \"300TiB\"\n", "C006", 2, 12, 8, "too large", "256TiB"},
      {"[nvme]\npaths = \"/mnt/nvme0\"\n", "C004", 2, 9, 12, "cannot be a string", "/mnt/nvme0"},
      {"[nvme]\npaths = [\"mnt\"]\n", "C005", 2, 9, 7, "not an absolute path", "'/'"},
      {"[[tenant]]\nuids = [1]\n", "C008", 1, 1, 10, "has no name", "add name"},
      {"[[tenant]]\nname = \"Chat\"\nuids = [1]\n", "C005", 2, 8, 6, "is not a name", "a to z"},
      {"[[tenant]]\nname = \"a\"\n", "C008", 1, 1, 10, "no uids and no socket", "uids = "},
      {"[[tenant]]\nname = \"a\"\nuids = [-1]\n", "C006", 3, 8, 4, "-1 is not a user id", "0 to"},
      {"[[tenant]]\nname = \"a\"\nuids = [\"root\"]\n", "C004", 3, 8, 8, "cannot be a string",
       "[1000, 1001]"},
      {"[[tenant]]\nname = \"a\"\nuid = [1]\n", "C003", 3, 1, 3,
       "unknown option 'uid' in [[tenant]]", "did you mean 'uids'?"},
      {"[host]\nencode = \"int9\"\n", "C007", 2, 10, 6, "cannot be \"int9\"",
       "did you mean \"int8\""},
      {"[nvme]\nencode = 8\n", "C004", 2, 10, 1, "cannot be an integer", "a string in quotes"},
      {"[[space]]\nmodel = \"m\"\nencode = \"fp16\"\n", "C007", 3, 10, 6, "cannot be \"fp16\"",
       "\"fp8\""},
      {"[[space]]\nencode = \"fp8\"\n", "C008", 1, 1, 9, "has no model", "add model"},
      {"[[space]]\nmodel = \"a*b\"\n", "C005", 2, 9, 5, "not a model's name", "at its end"},
      {"[[space]]\nmodel = \"m\"\nlayers = 3\n", "C003", 3, 1, 6,
       "unknown option 'layers' in [[space]]", "known are: model"},
      {"[space]\nmodel = \"m\"\n", "C004", 1, 2, 5, "'space' is a list", "[[space]]"},
      {"[host\n", "C001", 1, 6, 1, "Error while parsing table header", "kvtier config default"},
      {"[host]\nlock = \"auto\"\nlock = \"never\"\n", "C001", 3, 8, 1, "cannot redefine",
       "only once"},
      {"[host]\n[host]\n", "C001", 2, 1, 1, "cannot redefine", "only once"},
      {"\xff\xfe", "C001", 1, 1, 1, "utf-8", "kvtier config default"},
  };
  for (const Refusal& c : cases) {
    SCOPED_TRACE(c.text);
    const ConfigOutcome outcome = parse(c.text);
    ASSERT_FALSE(outcome.ok());
    EXPECT_EQ(outcome.problems.size(), 1u) << rendered(outcome);
    const ConfigProblem& problem = outcome.problems.front();
    EXPECT_EQ(problem.code, c.code) << rendered(outcome);
    EXPECT_EQ(problem.line, c.line) << rendered(outcome);
    EXPECT_EQ(problem.column, c.column) << rendered(outcome);
    EXPECT_EQ(problem.width, c.width) << rendered(outcome);
    EXPECT_NE(problem.message.find(c.message), std::string::npos) << rendered(outcome);
    EXPECT_NE(problem.help.find(c.help), std::string::npos) << rendered(outcome);
  }
}

TEST(Load, ReportsAllProblemsInTheOrderOfTheText) {
  const ConfigOutcome outcome =
      parse("[daemon]\nworkers = -1\nsokcet = \"/a\"\n[host]\nlock = 1\n");
  ASSERT_EQ(outcome.problems.size(), 3u) << rendered(outcome);
  EXPECT_EQ(outcome.problems[0].line, 2u);
  EXPECT_EQ(outcome.problems[1].line, 3u);
  EXPECT_EQ(outcome.problems[2].line, 5u);
}

TEST(Load, ManyProblemsAreBounded) {
  std::string text = "[host]\n";
  for (int i = 0; i < 300; ++i) text += "x" + std::to_string(i) + " = 1\n";
  const ConfigOutcome outcome = parse(text);
  ASSERT_EQ(outcome.problems.size(), kProblemsMax);
  EXPECT_EQ(outcome.problems.back().help, "and 200 more problems");
}

TEST(Load, DeepNestingIsRefusedNotFollowed) {
  const ConfigOutcome outcome = parse("x = " + std::string(100'000, '['));
  ASSERT_EQ(outcome.problems.size(), 1u);
  EXPECT_EQ(outcome.problems[0].code, "C001");
}

// Found by fuzzing: the parser assumed that a key follows and ended the process.
TEST(Load, TableHeadersWithoutAKeyAreRefused) {
  for (const std::string& text : {std::string("[="), std::string("[[="), std::string("[[[a]]]"),
                                  std::string("[\0", 2), std::string("[\x01]")}) {
    const ConfigOutcome outcome = parse(text);
    ASSERT_EQ(outcome.problems.size(), 1u) << text;
    EXPECT_EQ(outcome.problems[0].code, "C001") << text;
  }
}

// Found by fuzzing: undefined behaviour in the parser's table of blanks.
TEST(Load, BareLettersOfAnyLanguageAreRefused) {
  for (const char* text : {"[host]\nlock = \u00e9", "\u00a1 = 1", "[\u00e9]", "a \u0100= 1"}) {
    const ConfigOutcome outcome = parse(text);
    ASSERT_EQ(outcome.problems.size(), 1u) << text;
    EXPECT_EQ(outcome.problems[0].code, "C001") << text;
  }
}

TEST(Load, AMissingFileSaysSo) {
  TemporaryFolder folder;
  const std::string path = folder.path("absent.toml");
  const ConfigOutcome outcome = load_config_file(path);
  EXPECT_EQ(rendered(outcome), "error[C002]: cannot open '" + path +
                                   "': No such file or directory\n  --> " + path +
                                   "\n  = help: check the path; 'kvtier config default > " + path +
                                   "' writes a complete example\n");
}

TEST(Load, AFolderOrAHugeFileIsNoConfiguration) {
  TemporaryFolder folder;
  folder.write("x/y", "");
  ConfigOutcome outcome = load_config_file(folder.path("x"));
  ASSERT_EQ(outcome.problems.size(), 1u);
  EXPECT_EQ(outcome.problems[0].code, "C002");
  outcome = load_config_file(folder.write("huge.toml", std::string(kConfigBytesMax + 1, '#')));
  ASSERT_EQ(outcome.problems.size(), 1u);
  EXPECT_NE(outcome.problems[0].message.find("is not a configuration"), std::string::npos);
}

TEST(Load, DropInsOverrideInTheOrderOfTheirNames) {
  TemporaryFolder folder;
  const std::string path =
      folder.write("k.toml", "[log]\nlevel = \"error\"\n[host]\nlock = \"never\"");
  folder.write("k.toml.d/20-b.toml", "[log]\nlevel = \"debug\"\n");
  folder.write("k.toml.d/10-a.toml",
               "[log]\nlevel = \"warning\"\n[[tenant]]\nname=\"a\"\nuids=[1]\n");
  folder.write("k.toml.d/30-c.toml.bak", "not TOML");
  folder.write("k.toml.d/.hidden.toml", "not TOML");
  folder.write("k.toml.d/40-d.toml",
               "[[tenant]]\nname=\"d\"\nuids=[2]\n[tenants]\nhost_share=\"9%\"");
  const ConfigOutcome outcome = load_config_file(path);
  ASSERT_TRUE(outcome.ok()) << rendered(outcome);
  EXPECT_EQ(outcome.config.log.level, LogLevel::kDebug);
  EXPECT_EQ(outcome.config.host.lock, Demand::kNever);
  ASSERT_EQ(outcome.config.tenant.size(), 2u);
  EXPECT_EQ(outcome.config.tenant[0].name, "a");
  EXPECT_EQ(outcome.config.tenant[0].host_share_ppm, 90'000u) << "defaults count from every file";
}

TEST(Load, ProblemsOfAllFilesAreReported) {
  TemporaryFolder folder;
  const std::string path =
      folder.write("k.toml", "[log]\nlevel = 1\n[[tenant]]\nname=\"a\"\nuids=[1]");
  folder.write("k.toml.d/a.toml", "[host\n");
  folder.write("k.toml.d/b.toml", "[host]\nx = 1\n");
  const ConfigOutcome outcome = load_config_file(path);
  ASSERT_EQ(outcome.problems.size(), 3u) << rendered(outcome);
  EXPECT_EQ(outcome.problems[0].file, path);
  EXPECT_EQ(outcome.problems[1].file, path + ".d/a.toml");
  EXPECT_EQ(outcome.problems[2].file, path + ".d/b.toml");
}

}  // namespace
}  // namespace kvtier::daemon
