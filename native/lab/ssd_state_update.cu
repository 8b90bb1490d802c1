// Ladder of ssd_state_update: check and timing of the backend's kernels (native/cuda/ssd_state_update.cuh, whose idea,
// layout and bound stand there) in other shapes than those that the op launches.
//
//   nvcc -std=c++20 -O3 -gencode=arch=compute_90a,code=sm_90a -lineinfo -Inative native/lab/ssd_state_update.cu
//       native/cuda/ssd_state_update.cu native/cuda/status.cpp -o ssd_state_update
//   ./ssd_state_update [--json FILE --commit SHA] [--check | --time]
//
// At 4.25 TB/s, H = 128, P = 64, N = 128: bf16 B=8 8.0 us, B=64 63.7, B=256 254.9; float B=64 126.9, B=256 507.5.
//
// Measured, us on one H200, between two events around a graph of the launch alone, after a flush of the L2 by writes
// (after a flush that leaves it clean in brackets). An empty kernel takes 3.7 (3.6) of it. x in bf16. L: lanes along N,
// times the pieces of 16 bytes; R: channels of a lane; W: warps of a block; K: tiles that a warp walks over. "product":
// between two kernels that stream 52 MB and share 2.7 MB in the L2, both together.
//
// State in bf16                                 B=1         8             64                      256
//   copy of the same bytes                      5.7 (5.0)   12.9 (11.3)   68.7 (63.9)             257.5 (253.6)
//   only the state, through the slots           6.0 (5.4)   13.7 (12.5)   74.0 (71.3)             273.1 (270.6)
//   L16x1 R2 W4 K1: many warps, B and C again   6.7 (6.2)   14.9 (13.5)   78.2 (75.8)             293.8 (291.9)
//   L16x1 R4 W2 K1                              7.1 (6.6)   15.2 (13.7)   78.2 (74.8)             293.1 (289.8)
//   L16x1 R4 W2 K2: the next tile in flight     7.3 (6.7)   15.2 (13.4)   75.6 (71.3)             280.7 (276.5)
//   L16x1 R4 W2 K4                              8.3 (7.8)   14.6 (13.2)   74.6 (71.5)             275.4 (272.5)
//   L16x1 R4 W1 K2: blocks of a warp            7.3 (6.6)   14.8 (13.3)   73.7 (69.9) product 91  273.1 (269.2) 291
//   L16x1 R8 W1 K2                              7.7 (7.1)   15.3 (14.0)   74.5 (71.0)         92  275.2 (271.8) 293
//   the same, with hints to the L2:
//   L16x1 R4 W2 K4 keep written                 7.5 (7.2)   13.0 (12.2)   73.7 (69.2)         90  271.9 (267.6) 289
//   L16x1 R4 W1 K2 keep all                     6.8 (6.6)   13.9 (13.1)   73.1 (67.6)         88  267.0 (261.2) 282
//   L16x1 R8 W1 K2 keep all                     6.7 (6.6)   14.2 (13.5)   72.7 (67.7)         89  265.8 (260.4) 282
//
// State in float                                B=1         8             64                      256
//   copy of the same bytes                      6.8 (6.2)   21.2 (18.1)   130.3 (127.0)           507.0 (503.5)
//   only the state, through the slots           7.1 (6.5)   22.2 (19.5)   138.3 (135.0)           532.7 (530.0)
//   L32x1 R4 W4 K1: a row of N a warp           7.9 (7.3)   22.9 (19.7)   140.5 (137.0)           545.0 (541.6)
//   L32x1 R4 W4 K2                              7.9 (7.1)   23.0 (19.9)   140.5 (137.1)           543.9 (540.3)
//   L16x2 R4 W2 K2: two rows a warp             8.1 (7.1)   22.6 (19.7)   138.1 (134.0) 156       530.4 (527.0) 549
//   L16x2 R4 W2 K4 keep written                 8.1 (7.8)   21.5 (19.7)   139.2 (133.7) 155       533.6 (528.5) 550
//   L16x2 R4 W2 K2 keep all                     7.1 (6.9)   24.1 (19.9)   135.5 (130.3) 152       519.8 (514.4) 537
//
// A chain of launches takes 3.4 each at B=1 (an empty kernel 0.7 each), 10.7 at 8, 68.8 at 64 (without hints 70.0).
//
// Not in this file any more: the state through shared memory, by the copy engine, was never ahead by more than the
// noise. A head for each block and barrier: 14.2 at B=8, 72.9 at 64, 277.5 at 256 where the walk took 15.0, 74.0 and
// 275.1; 4 KB for each warp, without a word between warps: 15.4, 79.3 and 288. Evicting first (.cs, or evict_first on
// loads, stores or both) costs up to 10%: dirty lines leave too early. A look ahead for the pages of the next rows
// changes nothing.
#include <cuda_runtime.h>

#include "cuda/kernels.h"
#include "cuda/ssd_state_update.cuh"
#include "lab/context.cuh"
#include "lab/lab.cuh"

namespace mamba::cuda::state_update {

// Only the state's bytes through the same slots: the floor of what a warp for each 2 KB can do.
template <class Part, int Warps>
__global__ void __launch_bounds__(Warps * 32) floor_kernel(const __grid_constant__ Params p) {
  using S = typename Part::StateType;
  const int lane = threadIdx.x % 32, n = static_cast<int>(p.state_size);
  const int first = blockIdx.y * static_cast<int>(p.head_dim) + (blockIdx.x * Warps + threadIdx.x / 32) * Part::kRows;
  S* state = static_cast<S*>(p.state) + p.slots[blockIdx.z] * p.state_slot_stride + int64_t{first} * n;
  typename Part::State s;
  Part::template load_state<Keep::nothing>(s, state, n, Part::kRows, lane, 0);
#pragma unroll
  for (int r = 0; r < static_cast<int>(std::extent_v<typename Part::State, 0>); ++r) s[r][0].words[0].x ^= 1;
  Part::template store_state<Keep::nothing>(s, state, n, Part::kRows, lane, 0);
}

template <class Part, int Warps>
void launch_floor(const Params& p, Context& context) {
  const Grid grid(p.head_dim / (Part::kRows * Warps), p.heads, p.rows);
  floor_kernel<Part, Warps><<<grid.checked(), Warps * 32, 0, context.stream>>>(p);
}

template <class Part, int Warps, int Walk, Keep K>
void launch_tiles(const Params& p, Context& context) {
  constexpr int kRows = Part::kRows * Warps * Walk;
  const Grid grid((p.head_dim + kRows - 1) / kRows, p.heads, p.rows);
  const bool whole_x = reinterpret_cast<uintptr_t>(p.x) % 16 == 0 && p.x_stride % 8 == 0 && p.head_dim % 8 == 0;
  launch(context, {.grid = grid, .block = Warps * 32}, tiles_kernel<Part, Warps, Walk, K>, p,
         static_cast<int>(p.heads / p.groups), whole_x, false);
}

template <class T, class S>
void launch_any(const Params& p, Context& context) {
  const Grid grid((p.heads * p.head_dim + kAnyWarps - 1) / kAnyWarps, p.rows);
  launch(context, {.grid = grid, .block = kAnyWarps * 32}, any_kernel<T, S>, p);
}

}  // namespace mamba::cuda::state_update

namespace {

using namespace mamba;
using namespace mamba::cuda;
using namespace mamba::cuda::state_update;
using lab::Buffer;
using lab::context_of;
using lab::Host;
using StateUpdate = SsdStateUpdateParams;

struct Version {
  std::string name;
  DType state;  // of the versions for one type only
  std::function<void(const StateUpdate&, Context&)> launch;
  bool any = false;     // any shape and type; else N up to 128, x in bf16, aligned
  bool checked = true;  // a floor is not the op
};

template <class S, int Lanes, int Pieces, int Rows, int Warps, int Walk, Keep K = Keep::nothing>
Version tiles() {
  const char* kept[] = {"", " keep written", " keep all"};
  return {"L" + std::to_string(Lanes) + "x" + std::to_string(Pieces) + " R" + std::to_string(Rows) + " W" +
              std::to_string(Warps) + " K" + std::to_string(Walk) + kept[static_cast<int>(K)],
          std::is_same_v<S, float> ? DType::f32 : DType::bf16,
          launch_tiles<Tile<bf16, S, Lanes, Pieces, Rows>, Warps, Walk, K>};
}

const std::vector<Version> kVersions = {
    {"dispatch", DType::f32, run_ssd_state_update, true},
    {"only the state", DType::bf16, launch_floor<Tile<bf16, bf16, 16, 1, 4>, 2>, false, false},
    {"only the state", DType::f32, launch_floor<Tile<bf16, float, 32, 1, 4>, 4>, false, false},
    tiles<bf16, 16, 1, 2, 4, 1>(),
    tiles<bf16, 16, 1, 4, 2, 1>(),
    tiles<bf16, 16, 1, 4, 2, 2>(),
    tiles<bf16, 16, 1, 4, 1, 2>(),
    tiles<bf16, 16, 1, 4, 2, 4>(),
    tiles<bf16, 16, 1, 4, 1, 4>(),
    tiles<bf16, 16, 1, 8, 2, 1>(),
    tiles<bf16, 16, 1, 8, 1, 2>(),
    tiles<bf16, 16, 1, 2, 4, 1, Keep::written>(),
    tiles<bf16, 16, 1, 4, 1, 4, Keep::written>(),
    tiles<bf16, 16, 1, 4, 2, 4, Keep::written>(),
    tiles<bf16, 16, 1, 4, 1, 2, Keep::all>(),
    tiles<bf16, 16, 1, 4, 2, 2, Keep::all>(),
    tiles<bf16, 16, 1, 4, 1, 4, Keep::all>(),
    tiles<bf16, 16, 1, 4, 2, 4, Keep::all>(),
    tiles<bf16, 16, 1, 8, 1, 2, Keep::all>(),
    tiles<float, 32, 1, 4, 4, 1>(),
    tiles<float, 32, 1, 4, 4, 2>(),
    tiles<float, 16, 2, 2, 4, 1>(),
    tiles<float, 16, 2, 4, 4, 1>(),
    tiles<float, 16, 2, 4, 4, 2>(),
    tiles<float, 16, 2, 4, 2, 2>(),
    tiles<float, 16, 2, 4, 2, 4>(),
    tiles<float, 16, 2, 4, 4, 2, Keep::written>(),
    tiles<float, 16, 2, 4, 2, 4, Keep::written>(),
    tiles<float, 16, 2, 4, 4, 2, Keep::all>(),
    tiles<float, 16, 2, 4, 2, 2, Keep::all>(),
    tiles<float, 16, 2, 4, 2, 4, Keep::all>(),
};

struct Case {
  int64_t rows, heads, head_dim, groups, state_size;
  DType dtype, dt, state;
  bool z = false, d = true, bias = true, softplus = true, untied = false;
  int64_t extra = 0;  // what rows of x, B, C, z and out are apart beyond their length
  int64_t pool = 0;   // slots; 0 = a few more than rows
  bool clamp = false, padding = true;
};

bool fits(const Version& v, const StateUpdate& p) {
  const auto whole = [](const void* at) { return reinterpret_cast<uintptr_t>(at) % 16 == 0; };
  return v.any || (p.tied() && p.state_size <= 128 && p.state_size % 8 == 0 && p.dtype == DType::bf16 &&
                   p.state_dtype == v.state && p.b_stride % 8 == 0 && p.c_stride % 8 == 0 &&
                   p.state_slot_stride % 8 == 0 && whole(p.b) && whole(p.c) && whole(p.state));
}

constexpr int kChain = 20;

struct Verdict {
  int64_t checks = 0, failed = 0;
  double worst = 0;
};

// The state stays on the device, except for the slots in use and two neighbours of each, so pools may be large.
void check(const Case& k, Verdict& verdict) {
  lab::Random random{lab::mix(std::time(nullptr) * 1000 + k.rows * 31 + k.heads + k.head_dim)};
  const int64_t pool = k.pool ? k.pool : 2 * k.rows + 3, channels = k.heads * k.head_dim;
  const int64_t slot_size = channels * k.state_size, slot_stride = slot_size + (k.pool ? 0 : k.extra);
  const int64_t x_stride = channels + k.extra, b_stride = k.groups * k.state_size + k.extra;
  const int64_t dts = k.untied ? channels : k.heads, as = k.untied ? slot_size : k.heads;
  Host x(k.dtype, k.rows * x_stride), z(k.dtype, k.rows * x_stride), b(k.dtype, k.rows * b_stride),
      c(k.dtype, k.rows * b_stride), dt(k.dt, k.rows * dts), a(DType::f32, as), d(DType::f32, dts),
      bias(DType::f32, dts);
  x.fill_normal(random), z.fill_normal(random), b.fill_normal(random), c.fill_normal(random), d.fill_normal(random);
  dt.fill_uniform(random, k.softplus ? -4 : 0.01, k.softplus ? 3 : 0.5);
  if (k.softplus) dt.set(0, 25);
  a.fill_uniform(random, -4, -0.05), bias.fill_uniform(random, k.softplus ? -2 : 0, k.softplus ? 0.5 : 0.1);

  std::vector<int32_t> slots;
  while (static_cast<int64_t>(slots.size()) < k.rows) {
    const int64_t high = k.pool && slots.size() % 2 == 0 ? pool - pool / 20 : 0;
    const auto slot = static_cast<int32_t>(high + random.below(pool - high));
    if (std::find(slots.begin(), slots.end(), slot) == slots.end()) slots.push_back(slot);
  }
  for (size_t i = 1; k.padding && i < slots.size(); ++i) {
    if (random.below(4) == 0) slots[i] = random.below(2) ? -1 : static_cast<int32_t>(pool + random.below(3));
  }
  std::vector<int32_t> watched;
  for (int64_t slot = 0; slot < pool; ++slot) {
    bool near = k.pool == 0;
    for (const int32_t used : slots) near = near || (used >= 0 && used < pool && std::abs(slot - used) <= 1);
    if (near) watched.push_back(static_cast<int32_t>(slot));
  }
  const Buffer dx(x), dz(z), db(b), dc(c), ddt(dt), da(a), dd(d), dbias(bias), dslots(slots);
  const size_t element = size_of(k.state);
  Buffer state(static_cast<size_t>(pool * slot_stride) * element), out(x.bytes.size());
  const auto fill = [&] {
    const int64_t n = pool * slot_stride;
    if (k.state == DType::f32) lab::fill_random_kernel<<<1056, 256>>>(state.as<float>(), n, 5);
    if (k.state == DType::bf16) lab::fill_random_kernel<<<1056, 256>>>(state.as<__nv_bfloat16>(), n, 5);
    if (k.state == DType::f16) lab::fill_random_kernel<<<1056, 256>>>(state.as<__half>(), n, 5);
    LAB_CHECK(cudaDeviceSynchronize());
  };
  const auto read_slot = [&](int64_t slot) {
    Host host(k.state, slot_stride);
    LAB_CHECK(cudaMemcpy(host.bytes.data(), state.as<uint8_t>() + static_cast<size_t>(slot * slot_stride) * element,
                         host.bytes.size(), cudaMemcpyDeviceToHost));
    return host;
  };
  fill();
  std::vector<Host> before;
  for (const int32_t slot : watched) before.push_back(read_slot(slot));

  StateUpdate p = {};
  p.rows = k.rows, p.heads = k.heads, p.head_dim = k.head_dim, p.groups = k.groups, p.state_size = k.state_size;
  p.slots_in_pool = pool;
  p.x = dx.data, p.dt = ddt.data, p.b = db.data, p.c = dc.data, p.z = k.z ? dz.data : nullptr;
  p.x_stride = p.z_stride = p.out_stride = x_stride, p.b_stride = p.c_stride = b_stride;
  p.dt_row_stride = dts, p.dt_head_stride = k.untied ? k.head_dim : 1, p.dt_channel_stride = k.untied;
  p.a = da.as<float>(), p.d = k.d ? dd.as<float>() : nullptr, p.dt_bias = k.bias ? dbias.as<float>() : nullptr;
  p.a_head_stride = k.untied ? k.head_dim * k.state_size : 1, p.a_channel_stride = k.untied ? k.state_size : 0;
  p.a_state_stride = k.untied;
  p.d_head_stride = p.dt_bias_head_stride = p.dt_head_stride;
  p.d_channel_stride = p.dt_bias_channel_stride = p.dt_channel_stride;
  p.state = state.data, p.state_slot_stride = slot_stride, p.slots = dslots.as<int32_t>(), p.out = out.data;
  p.dt_min = k.clamp ? 0.05f : 0.0f, p.dt_max = k.clamp ? 0.5f : INFINITY, p.dt_softplus = k.softplus;
  p.dtype = k.dtype, p.dt_dtype = k.dt, p.state_dtype = k.state;

  // The reference: what each watched slot and each output should be, and how far rounding may take them.
  std::vector<std::vector<double>> expected(watched.size()), slack(watched.size());
  std::vector<double> y(static_cast<size_t>(k.rows * channels)), y_slack(y.size());
  for (int64_t row = 0; row < k.rows; ++row) {
    const int32_t slot = slots[static_cast<size_t>(row)];
    if (slot < 0 || slot >= pool) continue;
    const size_t w = static_cast<size_t>(std::find(watched.begin(), watched.end(), slot) - watched.begin());
    expected[w].resize(static_cast<size_t>(slot_size)), slack[w].resize(static_cast<size_t>(slot_size));
    for (int64_t i = 0; i < channels; ++i) {
      const int64_t h = i / k.head_dim, g = h / (k.heads / k.groups), at = k.untied ? i : h;
      double step = dt.get(row * dts + at) + (k.bias ? bias.get(at) : 0);
      if (k.softplus) step = step > 20 ? step : std::log1p(std::exp(step));
      step = std::min<double>(p.dt_max, std::max<double>(p.dt_min, step));
      const double xi = x.get(row * x_stride + i), dx_term = k.d ? d.get(at) * xi : 0;
      double sum = dx_term, magnitude = std::abs(dx_term);
      for (int64_t n = 0; n < k.state_size; ++n) {
        const double decay = std::exp(step * a.get(k.untied ? i * k.state_size + n : h));
        const double kept = decay * before[w].get(i * k.state_size + n);
        const double added = step * xi * b.get(row * b_stride + g * k.state_size + n);
        const double cn = c.get(row * b_stride + g * k.state_size + n);
        expected[w][static_cast<size_t>(i * k.state_size + n)] = kept + added;
        slack[w][static_cast<size_t>(i * k.state_size + n)] = 2e-6 * (std::abs(kept) + std::abs(added)) + 1e-7;
        sum += (kept + added) * cn, magnitude += (std::abs(kept) + std::abs(added)) * std::abs(cn);
      }
      double gate = 1;
      if (k.z) {
        gate = z.get(row * x_stride + i);
        gate = gate / (1 + std::exp(-gate));
      }
      y[static_cast<size_t>(row * channels + i)] = sum * gate;
      y_slack[static_cast<size_t>(row * channels + i)] = 2e-6 * magnitude * std::abs(gate) + 1e-7;
    }
  }
  bool first = true;
  for (const Version& version : kVersions) {
    if (!version.checked || !fits(version, p)) continue;
    if (!first) fill();
    first = false;
    out.poison();
    Context context = context_of(nullptr);
    version.launch(p, context);
    LAB_CHECK(cudaGetLastError());
    LAB_CHECK(cudaDeviceSynchronize());
    const Host got = out.download(k.dtype);
    lab::Errors out_errors, state_errors, untouched;
    for (int64_t row = 0; row < k.rows; ++row) {
      for (int64_t i = 0; i < channels; ++i) {
        const size_t at = static_cast<size_t>(row * channels + i);
        const int32_t slot = slots[static_cast<size_t>(row)];
        const double allowed = slot < 0 || slot >= pool ? 1e-300 : y_slack[at];
        out_errors.add(got.get(row * x_stride + i), y[at], allowed, lab::rounding(k.dtype));
      }
    }
    for (size_t w = 0; w < watched.size(); ++w) {
      const Host after = read_slot(watched[w]);
      for (int64_t i = 0; i < slot_stride; ++i) {
        if (expected[w].empty() || i >= slot_size) {
          untouched.add(after.get(i), before[w].get(i), 1e-300, 0);
        } else {
          state_errors.add(after.get(i), expected[w][static_cast<size_t>(i)], slack[w][static_cast<size_t>(i)],
                           lab::rounding(k.state));
        }
      }
    }
    ++verdict.checks;
    verdict.worst = std::max({verdict.worst, out_errors.worst, state_errors.worst});
    if (out_errors.bad + state_errors.bad + untouched.bad == 0) continue;
    ++verdict.failed;
    std::printf(
        "FAILED %s: rows %ld H %ld P %ld G %ld N %ld %s/%s/%s: %ld of out (rel %.2e), %ld of state (%.2e), "
        "%ld of what must stay\n",
        version.name.c_str(), static_cast<long>(k.rows), static_cast<long>(k.heads), static_cast<long>(k.head_dim),
        static_cast<long>(k.groups), static_cast<long>(k.state_size), name_of(k.dtype), name_of(k.dt), name_of(k.state),
        static_cast<long>(out_errors.bad), out_errors.relative(), static_cast<long>(state_errors.bad),
        state_errors.relative(), static_cast<long>(untouched.bad));
  }
}

bool check_all(bool quick) {
  Verdict verdict;
  const DType types[] = {DType::f32, DType::bf16, DType::f16};
  for (const DType t : types) {
    for (const DType s : types) {
      check({5, 4, 64, 2, 128, t, DType::f32, s}, verdict);
      check({4, 2, 80, 1, 64, t, t, s, true, true, false, true, false, 16}, verdict);
      check({4, 2, 32, 1, 256, t, t, s, false, false, true, false}, verdict);
      check({3, 2, 20, 1, 128, t, t, s, true}, verdict);
      check({3, 2, 7, 2, 64, t, DType::f32, s}, verdict);
      check({2, 4, 48, 2, 256, t, t, s, true}, verdict);
      check({2, 4, 64, 2, 16, t, t, s, false, true, true, true, false, 32}, verdict);
      check({2, 2, 17, 1, 24, t, t, s, true}, verdict);
      check({2, 2, 16, 1, 96, t, t, s}, verdict);
      check({2, 2, 16, 1, 260, t, t, s}, verdict);
      check({2, 2, 32, 1, 128, t, t, s, true, true, true, true, false, 1}, verdict);
      Case untied = {4, 2, 24, 1, 16, t, t, s, true};
      untied.untied = true, untied.extra = 3;
      check(untied, verdict);
    }
  }
  Case clamped = {5, 24, 64, 1, 128, DType::bf16, DType::bf16, DType::bf16};
  clamped.clamp = true;
  check(clamped, verdict);
  clamped.state = DType::f32;
  check(clamped, verdict);
  for (const DType s : {DType::bf16, DType::f32}) {
    const DType t = DType::bf16;
    check({4, 80, 64, 1, 128, t, t, s}, verdict);
    check({3, 24, 64, 1, 128, t, t, s, true, true, true, true, false, 8}, verdict);
    check({3, 6, 80, 2, 128, t, t, s}, verdict);
    check({3, 4, 32, 1, 64, t, t, s}, verdict);
    check({3, 4, 64, 1, 96, t, t, s}, verdict);
    check({3, 4, 64, 1, 128, t, t, s, false, true, true, true, false, 5}, verdict);
    check({3, 128, 64, 8, 128, t, t, s}, verdict);
    if (!quick) check({4, 128, 64, 8, 128, t, t, s, false, true, true, true, false, 0, 2200, false, false}, verdict);
  }
  // More tiles than blocks have stages: every barrier goes round.
  if (!quick) check({17, 64, 64, 8, 128, DType::bf16, DType::bf16, DType::bf16}, verdict);
  std::printf("state update: %ld checks, %ld failed, worst %.3f of the allowed distance\n",
              static_cast<long>(verdict.checks), static_cast<long>(verdict.failed), verdict.worst);
  return verdict.failed == 0;
}

__global__ void waiting_kernel() {
  let_next_start();
  wait_for_inputs();
}

// What a product does to the L2: each block streams a part of a large array and reads a small one, which all blocks
// share, again and again.
__global__ void __launch_bounds__(256)
    product_kernel(const uint4* large, const uint4* small, int small_words, int rounds, uint32_t* sink) {
  let_next_start();
  wait_for_inputs();
  uint32_t sum = 0;
  int at = static_cast<int>(threadIdx.x);
  for (int i = 0; i < rounds; ++i) {
    sum += large[(int64_t{i} * gridDim.x + blockIdx.x) * 256 + threadIdx.x].x;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      sum += __ldcg(small + at).x;
      at = at + 256 < small_words ? at + 256 : static_cast<int>(threadIdx.x);
    }
  }
  if (sum == 0x12345678u) *sink = sum;
}

// The state update between two products, as in a layer: what its hints to the L2 do to them.
void time_between_products(const StateUpdate& p, const std::string& name, const Version& version, lab::Bench& bench,
                           lab::Report& report, const Buffer& large, const Buffer& small) {
  constexpr int kLayers = 6, kRounds = 16, kBlocks = 132 * 6;  // 52 MB a product
  lab::Times us = bench.time([&](cudaStream_t s) {
    Context context = context_of(s);
    for (int i = 0; i < kLayers; ++i) {
      launch(context, {.grid = kBlocks, .block = 256}, product_kernel,
             large.as<uint4>() + i % 3 * (int64_t{kRounds} * kBlocks * 256), small.as<uint4>(),
             static_cast<int>(small.bytes / 16), kRounds, static_cast<uint32_t*>(nullptr));
      StateUpdate q = p;
      q.slots += i * p.rows;
      version.launch(q, context);
    }
  });
  us.event /= kLayers, us.clean /= kLayers;
  report.line("ssd_state_update", name, version.name + ", product", us, 0, {});
}

// What a launch costs in a chain.
void time_empty_chain(lab::Bench& bench, lab::Report& report) {
  lab::Times us = bench.time([&](cudaStream_t s) {
    Context context = context_of(s);
    for (int i = 0; i < kChain; ++i) launch(context, {.grid = 132, .block = 128}, waiting_kernel);
  });
  us.event /= kChain, us.clean /= kChain;
  report.line("empty", "", "each of 20", us, 0, {});
}

void time_all(const lab::Options& o, lab::Bench& bench, lab::Report& report) {
  constexpr int64_t kHeads = 128, kChannels = 64, kGroups = 8, kN = 128, kPool = 2200, kMost = 256;
  constexpr int64_t kSlot = kHeads * kChannels * kN;
  lab::Random random{3};
  const int64_t row = kHeads * kChannels + 2 * kGroups * kN;
  Host a(DType::f32, kHeads), d(DType::f32, kHeads), bias(DType::f32, kHeads), dt(DType::bf16, kMost * kHeads);
  a.fill_uniform(random, -4, -0.05), d.fill_normal(random), bias.fill_uniform(random, -3, 0), dt.fill_normal(random);
  std::vector<int32_t> slots(kPool);
  for (int64_t i = 0; i < kPool; ++i) slots[static_cast<size_t>(i)] = static_cast<int32_t>(i);
  for (int64_t i = kPool; i > 1; --i) {
    std::swap(slots[static_cast<size_t>(i - 1)], slots[static_cast<size_t>(random.below(i))]);
  }
  const Buffer xbc(kMost * row * 2), out(kMost * kHeads * kChannels * 2), da(a), dd(d), dbias(bias), ddt(dt),
      dslots(slots), state(static_cast<size_t>(kPool * kSlot) * 4);
  const Buffer large(size_t{160} << 20), small(size_t{2600} << 10);
  LAB_CHECK(cudaMemset(large.data, 1, large.bytes));
  LAB_CHECK(cudaMemset(small.data, 1, small.bytes));
  lab::fill_random_kernel<<<1056, 256>>>(xbc.as<__nv_bfloat16>(), kMost * row, 1);
  for (const DType type : {DType::bf16, DType::f32}) {
    if (type == DType::bf16) {
      lab::fill_random_kernel<<<1056, 256>>>(state.as<__nv_bfloat16>(), kPool * kSlot, 2);
    } else {
      lab::fill_random_kernel<<<1056, 256>>>(state.as<float>(), kPool * kSlot, 2);
    }
    LAB_CHECK(cudaDeviceSynchronize());
    for (const int64_t rows : {1, 8, 64, 256}) {
      StateUpdate p = {};
      p.rows = rows, p.heads = kHeads, p.head_dim = kChannels, p.groups = kGroups, p.state_size = kN;
      p.slots_in_pool = kPool;
      p.x = xbc.data, p.b = xbc.as<bf16>() + kHeads * kChannels,
      p.c = xbc.as<bf16>() + kHeads * kChannels + kGroups * kN;
      p.x_stride = p.b_stride = p.c_stride = row, p.dt = ddt.data, p.dt_row_stride = kHeads, p.dt_head_stride = 1;
      p.a = da.as<float>(), p.d = dd.as<float>(), p.dt_bias = dbias.as<float>();
      p.a_head_stride = p.d_head_stride = p.dt_bias_head_stride = 1;
      p.state = state.data, p.state_slot_stride = kSlot, p.slots = dslots.as<int32_t>();
      p.out = out.data, p.out_stride = kHeads * kChannels, p.dt_max = INFINITY, p.dt_softplus = true;
      p.dtype = p.dt_dtype = DType::bf16, p.state_dtype = type;
      const double bytes = static_cast<double>(rows) *
                               (2.0 * kSlot * size_of(type) + 2 * row + 2 * kHeads * kChannels + 2 * kHeads + 4) +
                           12 * kHeads;
      const std::string name = std::string(name_of(type)) + " B=" + std::to_string(rows);
      const lab::Times copy = o.time ? bench.copy(bytes) : lab::Times{};
      if (o.time) report.line("ssd_state_update", name, "in place copy", bench.in_place(bytes), bytes, copy);
      for (const Version& version : kVersions) {
        if (!fits(version, p)) continue;
        if (!o.time) {
          if (version.name.find(o.once) == std::string::npos) continue;
          if (!o.once_case.empty() && o.once_case != name) continue;
          Context context = context_of(bench.stream());
          version.launch(p, context);
          LAB_CHECK(cudaStreamSynchronize(bench.stream()));
          continue;
        }
        const lab::Times us = bench.time([&](cudaStream_t s) {
          Context context = context_of(s);
          version.launch(p, context);
        });
        report.line("ssd_state_update", name, version.name, us, bytes, copy);
        if (!version.checked) continue;
        if (rows >= 8) time_between_products(p, name, version, bench, report, large, small);
        if (rows > 64) continue;
        // Launches one after another, as in a model, each on slots of its own: the time of each.
        lab::Times chain = bench.time([&](cudaStream_t s) {
          Context context = context_of(s);
          for (int i = 0; i < kChain; ++i) {
            StateUpdate q = p;
            q.slots += i * rows;
            version.launch(q, context);
          }
        });
        chain.event /= kChain, chain.clean /= kChain;
        report.line("ssd_state_update", name, version.name + ", each of 20", chain, bytes, copy);
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const lab::Options options(argc, argv);
  if (options.check && !check_all(options.quick)) return 1;
  if (!options.time && options.once.empty()) return 0;
  lab::Bench bench;
  lab::Report report(options);
  if (options.time) {
    report.line("empty", "", "", bench.empty(), 0, {});
    time_empty_chain(bench, report);
  }
  time_all(options, bench, report);
  return 0;
}
