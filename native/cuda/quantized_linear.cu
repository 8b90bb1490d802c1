// linear with weights of codes, and their packing. Kernels:
//   ring        one 16-bit row of x and a large weight (Hopper): quantized_ring.cuh
//   quantized   16-bit rows of x, up to 64 of them (on a deterministic stream any number): quantized_linear.cuh
//   codes       17 to 64 rows, which may be quantized (Hopper, e4m3): e4m3_rows.cuh
//   library     more rows, which may be quantized (Hopper, e4m3): both sides as codes, for cuBLASLt: e4m3_operands.cuh
//   widened     other rows: some rows of the weight at a time become 16-bit floats, whose products are linear's
//   general     what neither takes: floats, an odd k, no alignment
#include <algorithm>
#include <string>

#include "core/error.h"
#include "cuda/e4m3_operands.cuh"
#include "cuda/e4m3_rows.cuh"
#include "cuda/kernels.h"
#include "cuda/quantized_linear.cuh"
#include "cuda/quantized_linear.h"
#include "cuda/quantized_ring.h"
#include "cuda/staging.h"

namespace mamba::cuda {
namespace codes {
namespace {

constexpr int kThreads = 256, kPackThreads = 64;
constexpr int64_t kFewRows = 16, kMostRows = 64;
constexpr int64_t kLongestRow = 1 << 18;  // of which 128 fit into a scratch

template <class F>
void with_codes(DType type, F f) {
  switch (type) {
    case DType::i8:
      return f.template operator()<DType::i8>();
    case DType::e4m3:
      return f.template operator()<DType::e4m3>();
    case DType::u4:
      return f.template operator()<DType::u4>();
    default:
      return f.template operator()<DType::e2m1>();
  }
}

// --- quantized ------------------------------------------------------------------------------------------------------
template <class T, DType C, int Columns, int Tiles, int Warps, int Depth, int Blocks>
void launch_quantized(const LinearParams& p, Context& context) {
  const int64_t blocks = tiles_of(p.n) / Tiles;
  int splits = 1;
  // By the tiles: however many a block takes, sums have one order.
  while (context.clusters() && splits < 8 && tiles_of(p.n) * splits < 3 * context.multiprocessors / 2 &&
         steps_of(p.k) >= 2 * splits * Warps) {
    splits *= 2;
  }
  launch(context,
         {.grid = {blocks * splits, ceil_div(p.m, 8 * Columns)},
          .block = Warps * 32,
          .shared_bytes = sums_bytes(Tiles, Columns, Warps, splits),
          .cluster = splits},
         quantized_kernel<T, C, Columns, Tiles, Warps, Depth, Blocks>, p, splits);
}

template <class T, DType C>
void run_quantized(const LinearParams& p, Context& context) {
  if (p.m <= 8) return launch_quantized<T, C, 1, 1, 8, 1, 4>(p, context);
  if (p.m <= 16) return launch_quantized<T, C, 2, 1, 8, 2, 2>(p, context);
  if (p.m <= 32) return launch_quantized<T, C, 4, 1, 8, 1, 2>(p, context);
  return launch_quantized<T, C, 8, 2, 8, 1, 1>(p, context);
}

// --- general --------------------------------------------------------------------------------------------------------
// A warp for each output, over k. Bound by instructions.
__global__ void __launch_bounds__(kThreads) general_kernel(const __grid_constant__ LinearParams p, int64_t first_row) {
  let_next_start();
  wait_for_inputs();
  const int64_t n = int64_t{blockIdx.x} * (kThreads / 32) + threadIdx.x / 32, m = first_row + blockIdx.y;
  if (n >= p.n) return;
  float sum = 0;
  for (int64_t k = threadIdx.x % 32; k < p.k; k += 32) {
    sum = fmaf(value_at(p.weight, p.weight_dtype, p.k, n, k), load_any(p.x, p.x_dtype, m * p.x_stride + k), sum);
  }
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) write_out(p, m, n, p.alpha * sum + load_out(p, m, n));
}

void run_general(const LinearParams& p, Context& context) {
  for (int64_t first = 0; first < p.m; first += kMostBlocksYZ) {
    const int64_t rows = std::min(p.m - first, kMostBlocksYZ);
    launch(context, {.grid = {ceil_div(p.n, kThreads / 32), rows}, .block = kThreads}, general_kernel, p, first);
  }
}

// Rows [first, first + count) of the weight; a tile's first.
LinearParams columns_of(const LinearParams& p, int64_t first, int64_t count) {
  LinearParams part = p;
  part.n = count;
  part.weight = static_cast<const char*>(p.weight) + first / kRows * steps_of(p.k) * block_bytes(p.weight_dtype);
  part.out = static_cast<char*>(p.out) + first * static_cast<int64_t>(size_of(p.out_dtype));
  if (p.bias) part.bias = p.bias + first;
  return part;
}

LinearParams rows_of(const LinearParams& p, int64_t first, int64_t count) {
  LinearParams part = p;
  part.m = count;
  part.x = static_cast<const char*>(p.x) + first * p.x_stride * static_cast<int64_t>(size_of(p.x_dtype));
  part.out = static_cast<char*>(p.out) + first * p.out_stride * static_cast<int64_t>(size_of(p.out_dtype));
  return part;
}

// --- widened --------------------------------------------------------------------------------------------------------
// Eight values of a row of the weight for each thread.
template <class T>
__global__ void __launch_bounds__(kThreads)
    widen_kernel(const void* weight, DType type, int64_t k, int64_t first, int64_t rows, T* to) {
  let_next_start();
  wait_for_inputs();
  const int64_t vectors = k / 8;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < rows * vectors;
       i += int64_t{gridDim.x} * kThreads) {
    const int64_t row = i / vectors, at = i % vectors * 8;
    Vec<T, 8> values;
#pragma unroll
    for (int j = 0; j < 8; ++j) values.elements[j] = rounded<T>(value_at(weight, type, k, first + row, at + j));
    store<8>(to + row * k + at, values);
  }
}

template <class T>
void run_widened(const LinearParams& p, Context& context) {
  const int64_t room = std::max<int64_t>(static_cast<int64_t>(kWeightScratchBytes / sizeof(T)) / p.k / 32 * 32, 32);
  for (int64_t first = 0; first < p.n; first += room) {
    LinearParams part = columns_of(p, first, std::min(room, p.n - first));
    part.weight = context.weight_scratch, part.weight_dtype = p.x_dtype;
    launch(context, {.grid = 16 * context.multiprocessors, .block = kThreads}, widen_kernel<T>, p.weight,
           p.weight_dtype, p.k, first, part.n, static_cast<T*>(context.weight_scratch));
    context.early = false;  // what follows reads a weight early, and this one is new
    run_linear(part, context);
    context.early = false;  // and the next part may not be written before it was read
  }
}

// --- codes ----------------------------------------------------------------------------------------------------------
bool codes_fit(const LinearParams& p, const Context& context) {
  return p.quantize_x && p.weight_dtype == DType::e4m3 && context.hopper() && !context.deterministic &&
         context.codes_scratch && p.k <= kLongestRow;
}

// A tile for each warp where that is enough; warpgroups that are left share k, and so do two blocks whose tiles one
// warpgroup has, if no share of k is shorter than two steps.
Walk walk_of(const LinearParams& p, int image_rows, bool step_scales, int batch, const Context& context) {
  const auto up = [](int64_t a, int64_t b) { return static_cast<int>((a + b - 1) / b); };
  const int all = up(p.n, kRows), steps = static_cast<int>(steps_of(p.k));
  Walk walk = {};
  const bool pairs = up(all, context.multiprocessors / 2) <= 4 && steps >= 4 * kMostGroups;
  walk.cluster = pairs ? 2 : 1;
  const int tiles = up(all, context.multiprocessors / walk.cluster), passes = up(tiles, 4 * kMostGroups);
  walk.groups = up(up(tiles, passes), 4);
  walk.splits = passes > 1 ? 1 : std::max(std::min(kMostGroups / walk.groups, steps / 2), 1);
  walk.used = std::min(tiles, walk.groups * 4);
  walk.stages = walk.splits > 1 ? 4 : 6;  // of a split, whose sums have room in 2 * groups
  const uint32_t stage = image_rows * 128 + (step_scales ? 1024 : 0);
  walk.x = 0;
  walk.rings = walk.x + walk.splits * walk.stages * stage;
  const uint32_t sums = pairs ? walk.groups * 4 * image_rows / 2 * kRows * sizeof(float) : 0;
  const int rings = walk.used * walk.splits;
  const uint32_t room = (uint32_t{kHopperShared} - 1024 - walk.rings - sums) / rings;  // for each
  walk.batch = std::min<int>(batch, room / (2 * (kBlockBytes + 8)));
  walk.depth = room / (walk.batch * (kBlockBytes + 8));
  walk.sums = walk.rings + rings * walk.depth * walk.batch * kBlockBytes;
  walk.barriers = walk.sums + sums;
  walk.bytes = walk.barriers + (rings * walk.depth + 2 * walk.splits * walk.stages) * 8;
  return walk;
}

template <class T, int N, bool kStepScales>
void launch_codes(const LinearParams& p, int batch, Context& context) {
  const int64_t steps = steps_of(p.k);
  auto* codes = static_cast<uint8_t*>(context.codes_scratch);
  const Images x = {{p.x, p.x_stride, p.m, p.k, codes, reinterpret_cast<float*>(codes + steps * N * kStep)}, N};
  if constexpr (kStepScales) {
    launch(context, {.grid = ceil_div(p.m * steps, kQuantizeSteps), .block = kQuantizeThreads}, step_images_kernel<T>,
           x);
  } else {
    launch(context, {.grid = p.m, .block = kQuantizeThreads}, row_images_kernel<T>, x);
  }
  const Walk walk = walk_of(p, N, kStepScales, batch, context);
  const int64_t tiles = ceil_div(p.n, kRows);
  launch(context,
         {.grid = std::min<int64_t>(tiles, context.multiprocessors / walk.cluster) * walk.cluster,
          .block = static_cast<unsigned>(walk.groups * walk.splits * 128 + walk.splits * 32),
          .shared_bytes = walk.bytes,
          .cluster = walk.cluster},
         e4m3_rows_kernel<N, kStepScales>, p, x, walk);
}

template <class T, bool kStepScales>
void run_codes(const LinearParams& p, int batch, Context& context) {
  if (p.m <= 32) return launch_codes<T, 32, kStepScales>(p, batch, context);
  launch_codes<T, 64, kStepScales>(p, batch, context);
}

// `batch`: blocks of the weight in a copy, of which the lab tries others.
template <class T>
void run_codes(const LinearParams& p, Context& context, int batch = 4) {
  p.weight_group >= p.k ? run_codes<T, false>(p, batch, context) : run_codes<T, true>(p, batch, context);
}

// --- library --------------------------------------------------------------------------------------------------------
bool library_fits(const LinearParams& p, const Context& context) {
  return codes_fit(p, context) && !p.bias && p.n % 16 == 0 && aligned_rows(p.out, p.out_stride, size_of(p.out_dtype));
}

CodeScales::Share share_of(const LinearParams& p) {
  if (p.weight_group >= p.k) return CodeScales::Share::rows;
  return p.weight_group_rows % 128 == 0 ? CodeScales::Share::blocks : CodeScales::Share::groups;
}

template <class T>
RowsAsCodes quantize_x(const LinearParams& p, CodeScales::Share share, Context& context) {
  const int64_t steps = steps_of(p.k);
  auto* codes = static_cast<uint8_t*>(context.codes_scratch);
  const RowsAsCodes x = {p.x, p.x_stride, p.m, p.k, codes, reinterpret_cast<float*>(codes + p.m * steps * kStep)};
  if (share == CodeScales::Share::rows) {
    launch(context, {.grid = p.m, .block = kQuantizeThreads}, quantize_rows_kernel<T>, x);
  } else {
    launch(context, {.grid = ceil_div(p.m * steps, kQuantizeSteps), .block = kQuantizeThreads},
           quantize_steps_kernel<T>, x);
  }
  return x;
}

RowsOfWeight rows_of_weight(const LinearParams& p, CodeScales::Share share, Context& context) {
  const int64_t steps = steps_of(p.k), blocks = tiles_of(p.n) * steps;
  auto* codes = static_cast<uint8_t*>(context.weight_scratch);
  const RowsOfWeight weight = {static_cast<const uint8_t*>(p.weight),
                               p.n,
                               steps,
                               codes,
                               reinterpret_cast<float*>(codes + p.n * steps * kStep),
                               share};
  launch(context, {.grid = ceil_div(blocks, kOrderWarps), .block = kOrderWarps * 32}, rows_of_weight_kernel, weight);
  return weight;
}

// In pieces of rows of x and of the weight that fit into the scratches. Scales of steps are for fours of rows: those
// left over are multiplied as they are.
template <class T>
void run_library(const LinearParams& p, Context& context) {
  const CodeScales::Share share = share_of(p);
  const int64_t steps = steps_of(p.k), each = steps * (kStep + 4);
  const int64_t most_rows = static_cast<int64_t>(kCodesScratchBytes) / each / 4 * 4;
  // Pieces of the weight are equal, and whole blocks of 128 rows.
  const int64_t room = static_cast<int64_t>(kWeightScratchBytes) - 128 * each;
  const int64_t pieces = (p.n * each + room - 1) / room, columns = ((p.n + pieces - 1) / pieces + 127) / 128 * 128;
  const int64_t left = share == CodeScales::Share::rows ? 0 : p.m % 4;
  for (int64_t row = 0; row < p.m - left; row += most_rows) {
    const LinearParams rows = rows_of(p, row, std::min(most_rows, p.m - left - row));
    const RowsAsCodes x = quantize_x<T>(rows, share, context);
    for (int64_t first = 0; first < p.n; first += columns) {
      const LinearParams part = columns_of(rows, first, std::min(columns, p.n - first));
      const RowsOfWeight weight = rows_of_weight(part, share, context);
      LinearParams product = part;
      product.k = product.x_stride = steps * kStep, product.x = x.codes, product.weight = weight.codes;
      product.x_dtype = DType::e4m3;
      if (!context.gemm_plans->run(product, {x.scales, weight.scales, share}, context)) run_widened<T>(part, context);
    }
  }
  if (left > 0) run_quantized<T, DType::e4m3>(rows_of(p, p.m - left, left), context);
}

// --- packing --------------------------------------------------------------------------------------------------------
// A source's rows as codes [rows][row_bytes], scales and offsets [rows][groups].
struct RowsOfCodes {
  uint8_t* codes;
  float *scales, *offsets;
};

// A thread for each group of a row.
__global__ void __launch_bounds__(kPackThreads)
    quantize_kernel(const void* from, DType from_dtype, int64_t rows, int64_t k, int64_t group, DType type,
                    float* values, RowsOfCodes to) {
  const int64_t groups = groups_of(k, group), i = int64_t{blockIdx.x} * kPackThreads + threadIdx.x;
  if (i >= rows * groups) return;
  const int64_t row = i / groups, first = i % groups * group, count = min(group, k - first);
  for (int64_t j = 0; j < count; ++j) values[row * k + first + j] = load_any(from, from_dtype, row * k + first + j);
  float offset = 0;
  quantize_row(values + row * k + first, count, count, type,
               to.codes + row * code_bytes(type, k) + code_bytes(type, first), to.scales + i, &offset);
  to.offsets[i] = offset;
}

// A thread for each row and step of a block; `tiles` whole tiles of rows, of which those past `rows` are zeros.
__global__ void __launch_bounds__(kPackThreads)
    arrange_kernel(RowsOfCodes from, DType type, int64_t rows, int64_t k, int64_t group, int64_t tiles, uint8_t* to) {
  const int64_t steps = steps_of(k), i = int64_t{blockIdx.x} * kPackThreads + threadIdx.x;
  if (i >= tiles * kRows * steps) return;
  const int64_t row = i / steps, step = i % steps, groups = groups_of(k, group);
  uint8_t* block = to + (row / kRows * steps + step) * block_bytes(type);
  const int within = static_cast<int>(row % kRows);
  const uint8_t* codes = from.codes + row * code_bytes(type, k);
  const bool inside = row < rows;
  for (int j = 0; j < kStep; j += 2) {
    const int64_t at = step * kStep + j;
    uint32_t pair[2] = {0, 0};
    for (int half = 0; half < 2; ++half) {
      if (!inside || at + half >= k) continue;
      pair[half] = bits(type) == 8 ? codes[at + half] : codes[(at + half) / 2] >> (at + half) % 2 * 4 & 15u;
    }
    const Place first = place_of(type, within, j), second = place_of(type, within, j + 1);
    if (bits(type) == 8) {
      block[first.byte] = static_cast<uint8_t>(pair[0]), block[second.byte] = static_cast<uint8_t>(pair[1]);
    } else {
      // Two nibbles of a byte are those of k and k + 2: the second of them is added to what the first has left.
      const auto put = [block](Place place, uint32_t code) {
        block[place.byte] = static_cast<uint8_t>(place.shift == 0 ? code : block[place.byte] | code << 4);
      };
      put(first, pair[0]), put(second, pair[1]);
    }
  }
  uint8_t* scales = block + code_bytes_of(type);
  const auto group_at = [&](int64_t j) { return row * groups + min((step * kStep + j) / group, groups - 1); };
  const auto used = [&](int64_t j) { return inside && step * kStep + j < k; };
  if (type == DType::u4) {
    for (int g = 0; g < 4; ++g) {
      f16* pair = reinterpret_cast<f16*>(scales) + (within * 4 + g) * 2;
      pair[0] = rounded<f16>(used(32 * g) ? from.scales[group_at(32 * g)] : 0);
      pair[1] = rounded<f16>(used(32 * g) ? from.offsets[group_at(32 * g)] : 0);
    }
  } else if (type == DType::e2m1) {
    for (int g = 0; g < 8; ++g) {
      reinterpret_cast<bf16*>(scales)[within * 8 + g] = rounded<bf16>(used(16 * g) ? from.scales[group_at(16 * g)] : 0);
    }
  } else {
    reinterpret_cast<float*>(scales)[within] = used(0) ? from.scales[group_at(0)] : 0;
  }
}

// Codes to a plain row-major weight.
__global__ void __launch_bounds__(kThreads)
    dequantize_kernel(RowsOfCodes from, DType type, int64_t rows, int64_t k, int64_t group, void* to, DType to_dtype) {
  const int64_t groups = groups_of(k, group);
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < rows * k; i += int64_t{gridDim.x} * kThreads) {
    const int64_t row = i / k, at = i % k;
    const uint8_t* codes = from.codes + row * code_bytes(type, k);
    const uint32_t code = bits(type) == 8 ? codes[at] : codes[at / 2] >> at % 2 * 4 & 15u;
    const int64_t g = row * groups + at / group;
    const float offset = type == DType::u4 ? from.offsets[g] : 0;
    store_any(to, to_dtype, i, fmaf(from.scales[g], meaning(type, code), offset));
  }
}

}  // namespace
}  // namespace codes

void check_groups(int64_t k, DType dtype, int64_t group) {
  if (codes::bits(dtype) == 4 || group >= k || group % codes::kStep == 0) return;
  throw Error(ErrorCode::Argument, "pack_linear_weight",
              "group is " + std::to_string(group) + ", expected all of k = " + std::to_string(k) +
                  " or a multiple of 128 for " + name_of(dtype) + " on a GPU");
}

size_t quantized_weight_bytes(int64_t n, int64_t k, DType dtype) {
  return static_cast<size_t>(codes::tiles_of(n) * codes::steps_of(k) * codes::block_bytes(dtype));
}

void run_quantized_linear(const LinearParams& p, Context& context) {
  using namespace codes;
  const bool vectors =
      p.x_dtype != DType::f32 && p.k % 8 == 0 && p.k < (1 << 28) && rows_of_eights(p.x, p.m == 1 ? 0 : p.x_stride);
  if (!vectors) return run_general(p, context);
  if (run_quantized_ring(p, context)) return;
  if (p.m > kFewRows && p.m <= kMostRows && codes_fit(p, context)) {
    return p.x_dtype == DType::bf16 ? run_codes<bf16>(p, context) : run_codes<f16>(p, context);
  }
  // Widened rows are the library's products, whose order of sums goes by the number of rows.
  if (p.m > kMostRows && library_fits(p, context)) {
    return p.x_dtype == DType::bf16 ? run_library<bf16>(p, context) : run_library<f16>(p, context);
  }
  if (p.m > kMostRows && !context.deterministic) {
    return p.x_dtype == DType::bf16 ? run_widened<bf16>(p, context) : run_widened<f16>(p, context);
  }
  with_codes(p.weight_dtype, [&]<DType C>() {
    p.x_dtype == DType::bf16 ? run_quantized<bf16, C>(p, context) : run_quantized<f16, C>(p, context);
  });
}

// In pieces that fit into the workspace, each behind the one before it on the stream.
void run_pack_quantized_weight(const PackLinearWeightParams& p, Context& context) {
  using namespace codes;
  const bool from_codes = is_code(p.src_dtype), to_codes = is_code(p.dst_dtype);
  const DType type = from_codes ? p.src_dtype : p.dst_dtype;
  if (to_codes && !context.weight_scratch) {
    check(cudaMalloc(&context.weight_scratch, kWeightScratchBytes), "memory to widen weights in");
  }
  if (p.quantize_x && !context.codes_scratch) {
    check(cudaMalloc(&context.codes_scratch, kCodesScratchBytes), "memory for rows of codes");
  }
  const auto up = [](int64_t bytes) { return (bytes + 255) / 256 * 256; };
  const int64_t groups = groups_of(p.k, p.group), row_bytes = code_bytes(type, p.k);
  const int64_t source_bytes = from_codes ? row_bytes : p.k * static_cast<int64_t>(size_of(p.src_dtype));
  const int64_t each = row_bytes + 8 * groups + (from_codes ? 0 : source_bytes + 4 * p.k);
  const int64_t room = std::max<int64_t>((static_cast<int64_t>(context.workspace_bytes) - 2048) / each / 32 * 32, 32);
  for (int64_t first = 0; first < p.n; first += room) {
    const int64_t rows = std::min(room, p.n - first);
    auto* at = static_cast<uint8_t*>(context.workspace);
    const auto take = [&](int64_t bytes) {
      uint8_t* taken = at;
      at += up(bytes);
      return taken;
    };
    const RowsOfCodes canonical = {take(rows * row_bytes), reinterpret_cast<float*>(take(4 * rows * groups)),
                                   reinterpret_cast<float*>(take(4 * rows * groups))};
    const auto copy = [&](void* to, const Source& from, int64_t bytes) {
      context.staging->copy(to, from, static_cast<size_t>(first * bytes), static_cast<size_t>(rows * bytes),
                            context.stream);
    };
    if (from_codes) {
      copy(canonical.codes, *p.src, row_bytes);
      copy(canonical.scales, *p.scales, 4 * groups);
      if (p.offsets) copy(canonical.offsets, *p.offsets, 4 * groups);
    } else {
      void* source = take(rows * source_bytes);
      auto* values = reinterpret_cast<float*>(take(4 * rows * p.k));
      copy(source, *p.src, source_bytes);
      launch(context, {.grid = ceil_div(rows * groups, kPackThreads), .block = kPackThreads, .early = false},
             quantize_kernel, source, p.src_dtype, rows, p.k, p.group, type, values, canonical);
    }
    if (to_codes) {
      const int64_t tiles = tiles_of(rows);
      launch(
          context,
          {.grid = ceil_div(tiles * kRows * codes::steps_of(p.k), kPackThreads), .block = kPackThreads, .early = false},
          arrange_kernel, canonical, type, rows, p.k, p.group, tiles,
          static_cast<uint8_t*>(p.dst) + first / kRows * codes::steps_of(p.k) * block_bytes(type));
    } else {
      launch(context, {.grid = 16 * context.multiprocessors, .block = kThreads, .early = false}, dequantize_kernel,
             canonical, type, rows, p.k, p.group,
             static_cast<char*>(p.dst) + first * p.k * static_cast<int64_t>(size_of(p.dst_dtype)), p.dst_dtype);
    }
  }
  context.full_stop();  // linear reads weights before the launch ahead has ended
}

}  // namespace mamba::cuda
