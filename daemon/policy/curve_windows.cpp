// Histograms in slices of time. Core thread.
#include "daemon/policy/curve_windows.hpp"

#include <algorithm>
#include <cmath>

namespace kvtier::daemon {

CurveSum CurveReading::hit(double chunks) const {
  CurveReading::Point below;  // no chunks hit nothing
  for (const Point& point : points) {
    if (point.chunks > chunks) {
      const double share = (chunks - below.chunks) / (point.chunks - below.chunks);
      return {below.hit.tokens + share * (point.hit.tokens - below.hit.tokens),
              below.hit.seconds + share * (point.hit.seconds - below.hit.seconds)};
    }
    below = point;
  }
  return below.hit;
}

void CurveWindows::add(uint64_t now_ns, const Use& use) {
  now_ns_ = std::max(now_ns_, now_ns);
  began_ns_ = std::min(began_ns_, now_ns_);
  const bool known = use.distance >= 1;
  const size_t bin =
      known ? std::min(static_cast<size_t>(std::log2(use.distance) * kBinsPerOctave), kBins - 1)
            : 0;
  for (size_t window = 0; window < kWindows; ++window) {
    const uint64_t number = now_ns_ / kSliceNs[window];
    Slice& slice = slices_[window][number % kSlices];
    if (slice.number != number) {
      slice = Slice{};
      slice.number = number;
    }
    slice.asked.tokens += use.weight.tokens;
    slice.asked.seconds += use.weight.seconds;
    ++slice.samples;
    slice.paths += use.begins_path ? 1 : 0;
    if (!known) continue;
    Bin& one = slice.bins[bin];
    one.tokens += static_cast<float>(use.weight.tokens);
    one.seconds += static_cast<float>(use.weight.seconds);
  }
}

CurveReading CurveWindows::read(size_t window, uint64_t now_ns) const {
  CurveReading reading;
  const uint64_t now = std::max(now_ns_, now_ns);
  const uint64_t newest = now / kSliceNs[window];
  std::array<CurveSum, kBins> bins{};
  for (const Slice& slice : slices_[window]) {
    if (slice.number == UINT64_MAX || slice.number + kSlices <= newest) continue;
    reading.asked.tokens += slice.asked.tokens;
    reading.asked.seconds += slice.asked.seconds;
    reading.samples += slice.samples;
    reading.paths += slice.paths;
    for (size_t bin = 0; bin < kBins; ++bin) {
      bins[bin].tokens += static_cast<double>(slice.bins[bin].tokens);
      bins[bin].seconds += static_cast<double>(slice.bins[bin].seconds);
    }
  }
  const uint64_t oldest = newest < kSlices ? 0 : (newest - kSlices + 1) * kSliceNs[window];
  const uint64_t since = std::max(std::min(began_ns_, now), oldest);
  reading.seconds = static_cast<double>(now - since) * 1e-9;
  CurveSum hit;
  for (size_t bin = 0; bin < kBins; ++bin) {
    if (bins[bin].tokens == 0) continue;
    // The line begins where the bin does.
    const double begin = std::exp2(static_cast<double>(bin) / kBinsPerOctave);
    if (reading.points.empty() || reading.points.back().chunks < begin) {
      reading.points.push_back({begin, hit});
    }
    hit.tokens += bins[bin].tokens;
    hit.seconds += bins[bin].seconds;
    reading.points.push_back({std::exp2(static_cast<double>(bin + 1) / kBinsPerOctave), hit});
  }
  return reading;
}

}  // namespace kvtier::daemon
