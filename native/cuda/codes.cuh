#pragma once
// Weights of codes (core/codes.h) as the GPU keeps them.
//
// Layout. Blocks of 16 rows x 128 of k, [row tiles][steps of k], both padded: zeros, whose scales are zeros. A block is
// the operands of a warp's products in the order of its lanes, then scales:
//   codes   [loads][32 lanes][16 bytes]. Lane 4 g + t has those of rows g and g + 8: two loads of each row (64 of k
//           each) where a code has eight bits, one where it has four.
//   scales  i8, e4m3: f32 [16]. u4: f16 scale, f16 offset of each 32 of k, [16][4]. e2m1: bf16 of each 16, [16][8].
// Within 32 of k a lane has eight: 8 t to 8 t + 7, of which products of 16 take four each. e2m1, whose scales are of
// 16, has 4 t to 4 t + 3 and those 16 further. Codes lie where few instructions make pairs of them (kNibbleOf,
// kByteOf).
#include "core/codes.h"
#include "cuda/vec.cuh"

namespace mamba::cuda::codes {

constexpr int kRows = 16, kStep = 128;  // of a block

__host__ __device__ constexpr int bits(DType type) { return type == DType::u4 || type == DType::e2m1 ? 4 : 8; }
__host__ __device__ constexpr int code_bytes_of(DType type) { return kRows * kStep * bits(type) / 8; }
__host__ __device__ constexpr int scale_bytes_of(DType type) { return bits(type) == 4 ? 256 : 64; }
__host__ __device__ constexpr int block_bytes(DType type) { return code_bytes_of(type) + scale_bytes_of(type); }

__host__ __device__ constexpr int64_t steps_of(int64_t k) { return (k + kStep - 1) / kStep; }
// An even number, so that a block may take two.
__host__ __device__ constexpr int64_t tiles_of(int64_t n) { return (n + 2 * kRows - 1) / (2 * kRows) * 2; }

// Tiles of the rows of a weight for each block (or cluster) of a launch, nearly equal.
struct TilesOfBlock {
  int first, count;
  __device__ __forceinline__ explicit TilesOfBlock(int64_t n, unsigned cluster = 1) {
    const int64_t all = (n + kRows - 1) / kRows, number = blockIdx.x / cluster, of = gridDim.x / cluster;
    first = static_cast<int>(all * number / of);
    count = static_cast<int>(all * (number + 1) / of) - first;
  }
};

// Where the codes of row r and the four (of a pair of products) at k lie within a block.
struct Place {
  int byte, shift;
};
__host__ __device__ constexpr Place place_of(DType type, int row, int k) {
  const int within = k % 32;
  const int t = type == DType::e2m1 ? within % 16 / 4 : within / 8;
  const int c = type == DType::e2m1 ? within / 16 * 4 + within % 4 : within % 8;
  const int lane = row % 8 * 4 + t, half = row / 8;
  if (bits(type) == 4) {
    // Word k / 32; code c is nibble c / 2 of its low half if c is even, of its high half if it is odd.
    const int nibble = c / 2 + c % 2 * 4;
    return {half * 512 + lane * 16 + k / 32 * 4 + nibble / 2, nibble % 2 * 4};
  }
  // The first two of four codes are bytes 0 and 2, the others 1 and 3.
  const int load = half * 2 + k / 64, word = k % 64 / 32 * 2 + c / 4, byte = c % 4 / 2 + c % 2 * 2;
  return {load * 512 + lane * 16 + word * 4 + byte, 0};
}

__device__ __forceinline__ float meaning(DType type, uint32_t code) {
  switch (type) {
    case DType::i8:
      return static_cast<float>(static_cast<int8_t>(code));
    case DType::u4:
      return static_cast<float>(code);
    case DType::e2m1: {
      const uint32_t magnitude = code & 7u;
      const float value = magnitude < 2 ? 0.5f * magnitude : ldexpf(1 + 0.5f * (magnitude & 1), magnitude / 2 - 1);
      return code & 8u ? -value : value;
    }
    default: {
      const uint32_t exponent = code >> 3 & 15u, mantissa = code & 7u;
      const float value = exponent == 0 ? mantissa * 0x1p-9f : __uint_as_float((exponent + 120) << 23 | mantissa << 20);
      return code & 0x80u ? -value : value;
    }
  }
}

// One value: for what is not tuned.
__device__ __forceinline__ float value_at(const void* weight, DType type, int64_t width, int64_t n, int64_t k) {
  const auto* block =
      static_cast<const uint8_t*>(weight) + (n / kRows * steps_of(width) + k / kStep) * block_bytes(type);
  const int row = static_cast<int>(n % kRows), at = static_cast<int>(k % kStep);
  const Place place = place_of(type, row, at);
  const uint8_t* scales = block + code_bytes_of(type);
  const float code = meaning(type, bits(type) == 8 ? block[place.byte] : block[place.byte] >> place.shift & 15u);
  if (type == DType::u4) {
    const auto* pair = reinterpret_cast<const f16*>(scales) + (row * 4 + at / 32) * 2;
    return as_float(pair[0]) * code + as_float(pair[1]);
  }
  if (type == DType::e2m1) return as_float(reinterpret_cast<const bf16*>(scales)[row * 8 + at / 16]) * code;
  return reinterpret_cast<const float*>(scales)[row] * code;
}

// --- pairs of codes as operands --------------------------------------------------------------------------------------
template <class T>
__device__ __forceinline__ uint32_t scaled(uint32_t pair, uint32_t factor) {
  uint32_t product;
  if constexpr (std::is_same_v<T, bf16>) {
    asm("fma.rn.bf16x2 %0, %1, %2, %3;"
        : "=r"(product)
        : "r"(pair), "r"(factor), "r"(0x80008000u));  // sm_80 has no mul
  } else {
    asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(product) : "r"(pair), "r"(factor));
  }
  return product;
}

// T of what codes mean, less a bias: u4 as they are on top of 128 or 1024, the first integer of which all bits of a
// code are bits of T.
template <class T, DType C>
inline constexpr float kBias = C != DType::u4            ? 0
                               : std::is_same_v<T, bf16> ? 128
                                                         : 1024;

// The four codes of a lane in a product: `first` has codes 0 and 1, `second` 2 and 3. Of eight bits they are a word, of
// four bits nibbles 2 h and 2 h + 1 of both halves of one.
template <class T, DType C>
__device__ __forceinline__ void operands(uint32_t word, int h, uint32_t& first, uint32_t& second) {
  constexpr bool kWide = std::is_same_v<T, bf16>;
  if constexpr (C == DType::e4m3) {
    // Sign and exponent move to their places; what is missing in the exponent is a factor, exact for subnormals too.
    constexpr int kShift = kWide ? 4 : 1;
    constexpr uint32_t kFactor = kWide ? 0x7b807b80u : 0x5c005c00u;  // 2^120, 2^8
    const auto pair = [](uint32_t w) { return (w & 0x80008000u) | ((w & 0x7f007f00u) >> kShift); };
    first = scaled<T>(pair(word << 8), kFactor), second = scaled<T>(pair(word), kFactor);
  } else if constexpr (C == DType::i8) {
    const auto pair = [](uint32_t w) {
      uint32_t difference;
      if constexpr (kWide) {
        // 128 + the low seven bits, less 128 or, of a negative one, 256.
        const uint32_t low = (w & 0x007f007fu) | 0x43004300u, high = (w & 0x00800080u) | 0x43004300u;
        asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(difference) : "r"(high), "r"(0xbf80bf80u), "r"(low));
      } else {
        const uint32_t raised = ((w & 0x00ff00ffu) ^ 0x00800080u) | 0x64006400u;  // 1024 + 128 + code
        asm("sub.rn.f16x2 %0, %1, %2;" : "=r"(difference) : "r"(raised), "r"(0x64806480u));
      }
      return difference;
    };
    first = pair(word), second = pair(word >> 8);
  } else if constexpr (C == DType::u4) {
    constexpr uint32_t kMagic = kWide ? 0x43004300u : 0x64006400u;
    first = ((word >> (8 * h)) & 0x000f000fu) | kMagic, second = ((word >> (8 * h + 4)) & 0x000f000fu) | kMagic;
  } else {
    constexpr int kShift = kWide ? 6 : 3;
    constexpr uint32_t kFactor = kWide ? 0x7e807e80u : 0x74007400u;  // 2^126, 2^14
    constexpr uint32_t kMask = 0x70007000u;
    const auto pair = [](uint32_t w) { return (w & 0x80008000u) | ((w & kMask) >> kShift); };
    first = scaled<T>(pair(word << (12 - 8 * h)), kFactor), second = scaled<T>(pair(word << (8 - 8 * h)), kFactor);
  }
}

}  // namespace mamba::cuda::codes
