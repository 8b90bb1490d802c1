// pack_state and unpack_state. A task is a head; columns lie side by side, so both passes over the channels go along
// rows. Bound: bytes, the state's twice, for the second pass finds a head in the cache.
#include "cpu/packed_state.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/float_type.h"
#include "cpu/thread_pool.h"

namespace mamba::cpu {
namespace {

template <class T>
void pack_head(const PackStateParams& p, int64_t head) {
  const int64_t elements = p.channels * p.columns;
  const T* state = static_cast<const T*>(p.state) + head * elements;
  uint8_t* codes = p.codes + head * elements;
  float* scales = p.scales + head * p.columns;
  std::fill_n(scales, p.columns, 0.0f);
  for (int64_t i = 0; i < elements; ++i) {
    float& most = scales[i % p.columns];
    const float magnitude = std::fabs(to_float(state[i]));
    if (magnitude > most || magnitude != magnitude) most = magnitude;  // a NaN stays
  }
  for (int64_t c = 0; c < p.columns; ++c) {
    scales[c] = std::isfinite(scales[c]) ? scales[c] / kMostCode : std::numeric_limits<float>::quiet_NaN();
  }
  for (int64_t i = 0; i < elements; ++i) {
    const float scale = scales[i % p.columns];
    const float code = scale > 0 ? std::nearbyint(to_float(state[i]) / scale) : 0;
    codes[i] = static_cast<uint8_t>(static_cast<int8_t>(std::clamp(code, -kMostCode, kMostCode)));
  }
}

template <class T>
void unpack_head(const UnpackStateParams& p, int64_t head) {
  const int64_t elements = p.channels * p.columns;
  T* state = static_cast<T*>(p.state) + head * elements;
  const uint8_t* codes = p.codes + head * elements;
  const float* scales = p.scales + head * p.columns;
  for (int64_t i = 0; i < elements; ++i) {
    state[i] = from_float<T>(static_cast<float>(static_cast<int8_t>(codes[i])) * scales[i % p.columns]);
  }
}

}  // namespace

void run_pack_state(const PackStateParams& p, ThreadPool& pool) {
  with_float_type(p.dtype, [&](auto t) {
    pool.parallel_for(p.heads, [&](int64_t head, Scratch&) { pack_head<decltype(t)>(p, head); });
  });
}

void run_unpack_state(const UnpackStateParams& p, ThreadPool& pool) {
  with_float_type(p.dtype, [&](auto t) {
    pool.parallel_for(p.heads, [&](int64_t head, Scratch&) { unpack_head<decltype(t)>(p, head); });
  });
}

}  // namespace mamba::cpu
