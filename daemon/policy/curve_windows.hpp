// What tiers of every size would have hit in the last quarter of an hour, hour and day: histograms
// of reuse distances, weighted by tokens and by the seconds that computing them would have taken.
// Each window is made of slices of a quarter of it, so it covers up to a quarter more. Core thread;
// 54 KiB.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace kvtier::daemon {

// What was asked, or hit.
struct CurveSum {
  double tokens = 0;
  double seconds = 0;
};

// One window, read: a tier of `chunks` hits what the point with as many says; between two points
// it is a straight line, and the last point holds for all beyond it.
struct CurveReading {
  struct Point {
    double chunks = 0;
    CurveSum hit;
  };
  CurveSum asked;
  std::vector<Point> points;  // rising
  uint64_t samples = 0;       // uses behind it
  uint64_t paths = 0;         // prompts that these were part of: what is independent
  double seconds = 0;         // how long the window has been filled

  CurveSum hit(double chunks) const;
};

class CurveWindows {
 public:
  static constexpr size_t kWindows = 3;
  static constexpr std::array<const char*, kWindows> kNames = {"15m", "1h", "1d"};

  struct Use {
    double distance = 0;  // distinct chunks used since, itself included; below 1: used never before
    CurveSum weight;
    bool begins_path = false;
  };
  // Time that runs backwards counts as standing still.
  void add(uint64_t now_ns, const Use& use);
  CurveReading read(size_t window, uint64_t now_ns) const;

 private:
  static constexpr size_t kBinsPerOctave = 16;
  static constexpr size_t kOctaves = 28;
  static constexpr size_t kBins = kBinsPerOctave * kOctaves;
  static constexpr size_t kSlices = 5;  // of a quarter of the window; one is beginning
  static constexpr std::array<uint64_t, kWindows> kSliceNs = {225'000'000'000, 900'000'000'000,
                                                              21'600'000'000'000};

  struct Bin {
    float tokens = 0;
    float seconds = 0;
  };
  struct Slice {
    uint64_t number = UINT64_MAX;  // since the clock's zero; UINT64_MAX: unused
    CurveSum asked;
    uint64_t samples = 0;
    uint64_t paths = 0;
    std::array<Bin, kBins> bins{};
  };

  std::array<std::array<Slice, kSlices>, kWindows> slices_;
  uint64_t now_ns_ = 0;
  uint64_t began_ns_ = UINT64_MAX;
};

}  // namespace kvtier::daemon
