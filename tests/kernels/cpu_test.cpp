// Choice of the instruction set.
#include "kernels/cpu.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>

namespace kvtier::kernels {
namespace {

TEST(KernelCpu, BaselineIsAlwaysThereAndLevelsIncludeTheOnesBelow) {
  EXPECT_TRUE(isa_supported(Isa::kBaseline));
  EXPECT_TRUE(isa_supported(Isa::kAvx2) || !isa_supported(Isa::kAvx512));
  EXPECT_TRUE(isa_supported(Isa::kAvx512) || !isa_supported(Isa::kAvx512Bf16));
}

TEST(KernelCpu, ForcedLevelIsUsedOrRefused) {
  const Isa before = isa_active();
  for (Isa isa : {Isa::kBaseline, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16}) {
    const Isa current = isa_active();
    EXPECT_EQ(force_isa(isa), isa_supported(isa)) << isa_name(isa);
    EXPECT_EQ(isa_active(), isa_supported(isa) ? isa : current);
  }
  EXPECT_FALSE(force_isa(static_cast<Isa>(77)));
  EXPECT_TRUE(force_isa(before));
}

TEST(KernelCpu, NamesAreTheOnesOfTheEnvironmentVariable) {
  EXPECT_STREQ(isa_name(Isa::kBaseline), "baseline");
  EXPECT_STREQ(isa_name(Isa::kAvx2), "avx2");
  EXPECT_STREQ(isa_name(Isa::kAvx512), "avx512");
  EXPECT_STREQ(isa_name(Isa::kAvx512Bf16), "avx512bf16");
  EXPECT_STREQ(isa_name(static_cast<Isa>(77)), "unknown");
}

// In a process of its own, where no kernel has been called yet.
[[noreturn]] void exit_with_first_isa(const char* variable) {
  setenv("KVTIER_ISA", variable, 1);
  std::exit(static_cast<int>(isa_active()));
}

TEST(KernelCpuDeathTest, EnvironmentChoosesTheFirstLevelAndNonsenseIsIgnored) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(exit_with_first_isa("baseline"), ::testing::ExitedWithCode(0), "");
  const auto is_best = [](int status) {
    const int isa = WEXITSTATUS(status);
    const int best = isa_supported(Isa::kAvx2) ? 1 : 0;
    return WIFEXITED(status) && isa >= best && isa_supported(static_cast<Isa>(isa));
  };
  EXPECT_EXIT(exit_with_first_isa("sse9"), is_best, "");
  EXPECT_EXIT(exit_with_first_isa(""), is_best, "");
}

}  // namespace
}  // namespace kvtier::kernels
