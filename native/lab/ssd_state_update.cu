// Ladder of ssd_state_update (one token per row through the recurrence, in place on the slots).
//
//   nvcc -std=c++20 -O3 -gencode=arch=compute_90a,code=sm_90a -lineinfo -Inative native/lab/ssd_state_update.cu
//       -o ssd_state_update && ./ssd_state_update [--json FILE --commit SHA] [--check | --time]
//
// Idea. Each state element is read, used for S <- decay S + (dt x) B^T and y += S C, and written, once. Lanes lie along
// N, so a warp's accesses are whole lines; a lane's channels give it independent sums, which are then added over the
// lanes with one shuffle per channel kept.
//
// Bound. Bytes. H = 128, P = 64, N = 128: a row is 2^20 elements of state, read and written: 4.2 MB in bf16, 8.4 MB in
// float; x, B, C, dt and out add 1%. At 4.25 TB/s: bf16 B=8 8.0 us, B=64 63.7, B=256 254.9; float B=64 126.9, B=256
// 507.5.
//
// Measured, us on one H200, between two events around a graph of the launch alone, after a flush of the L2 by writes
// (after a flush that leaves it clean in brackets). An empty kernel takes 4.2 (4.0) of it. x in bf16.
//
// State in bf16                                       B=1         8             64          256
//   copy of the same bytes                            6.0 (5.4)   13.0 (11.7)   69.0 (64.0) 257.5 (253.8)
//   copy in place                                     5.9 (5.4)   13.0 (11.6)   68.4 (65.4) 257.0 (254.1)
//   general: a channel a warp, any strides            33.3 (30.3) 163.9 (145.3) 1158 (1129)
//   warp L16 R8 W4: 16 bytes a lane, 8 channels each  7.8 (7.3)   15.8 (13.7)   81.5 (77.9) 301.1 (297.9)
//   warp L16 R4 W2: 64 registers, twice the warps     7.4 (6.8)   15.0 (13.5)   74.0 (70.6) 275.1 (271.5)
//   warp L16 R2 W4: more warps, but B and C again     7.5 (6.7)   15.2 (13.5)   77.7 (74.9) 290.7 (288.2)
//   warp L16 R4 W4, .cs: dirty lines leave too early  7.4 (6.7)   15.1 (13.6)   76.5 (71.0) 285.3 (275.4)
//   walk L16 R4 W4 K2: two tiles a warp, pipelined    7.9 (7.2)   15.2 (13.3)   74.5 (70.6) 278.1 (274.3)
//   bulk S1 M6: a head's 16 KB by the copy engine     7.6 (6.9)   14.8 (13.7)   74.7 (70.4) 277.5 (273.4)
//   bulk S3 M4: blocks stay, two tiles ahead          7.5 (6.7)   14.2 (12.8)   76.2 (71.4) 286.0 (280.4)
//   bulk S4 M3: three tiles ahead                     7.6 (6.9)   15.5 (13.5)   72.9 (68.7) 280.4 (276.1)
//
// State in float                                      B=1         8             64            256
//   copy of the same bytes                            7.1 (6.5)   21.5 (18.6)   130.7 (127.2) 506.2 (502.8)
//   general                                           13.4 (12.3) 49.7 (45.5)   338.8 (334.8)
//   warp L32 R4 W4: a row of N a warp                 8.1 (7.6)   22.9 (20.1)   140.5 (136.9) 543.8 (540.3)
//   warp L16 R4 W4: two rows a warp                   8.7 (7.5)   23.8 (22.0)   139.2 (137.8) 538.1 (534.9)
//   walk L16 R4 W4 K2: two tiles a warp, pipelined    8.6 (7.6)   22.5 (20.3)   138.0 (134.8) 531.3 (528.5)
//   bulk L32 R8 W4 S1 M8                              8.5 (7.7)   22.8 (19.7)   139.6 (135.7) 539.9 (536.2)
//
// What is left: the path between the two halves of the L2 is 83% busy with memory at 74% of its peak (a plain copy
// reaches 90% and 80%). Kernels held to 48 registers spill and lose 10% (an earlier run).
#include <cuda_runtime.h>

#include "cuda/kernels.h"
#include "cuda/ssd_state_update.cuh"
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
  const dim3 grid(static_cast<unsigned>(p.head_dim / (Part::kRows * Warps)), static_cast<unsigned>(p.heads),
                  static_cast<unsigned>(p.rows));
  floor_kernel<Part, Warps><<<grid, Warps * 32, 0, context.stream>>>(p);
}

template <class Part, int Warps, int Walk, Keep K>
void launch_tiles(const Params& p, Context& context) {
  constexpr int kRows = Part::kRows * Warps * Walk;
  const dim3 grid(static_cast<unsigned>((p.head_dim + kRows - 1) / kRows), static_cast<unsigned>(p.heads),
                  static_cast<unsigned>(p.rows));
  const bool whole_x = reinterpret_cast<uintptr_t>(p.x) % 8 == 0 && p.x_stride % 4 == 0;
  launch(context, {.grid = grid, .block = Warps * 32}, tiles_kernel<Part, Warps, Walk, K>, p,
         static_cast<int>(p.heads / p.groups), whole_x);
}

template <class T, class S>
void launch_any(const Params& p, Context& context) {
  const dim3 grid(static_cast<unsigned>((p.heads * p.head_dim + 3) / 4), static_cast<unsigned>(p.rows));
  launch(context, {.grid = grid, .block = 128}, any_kernel<T, S>, p);
}

}  // namespace mamba::cuda::state_update

namespace {

using namespace mamba;
using namespace mamba::cuda;
using namespace mamba::cuda::state_update;
using lab::Buffer;
using lab::Host;
using StateUpdate = SsdStateUpdateParams;

Context context_of(cudaStream_t stream) {
  return {.stream = stream,
          .multiprocessors = 132,
          .capability = 90,
          .workspace = nullptr,
          .workspace_bytes = 0,
          .gemm_plans = nullptr,
          .early = false};
}

struct Version {
  std::string name;
  DType state;  // of the versions for one type only
  std::function<void(const StateUpdate&, Context&)> launch;
  bool any = false;     // any shape and type; else N = 128, P a multiple of 16, x in bf16, aligned
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
  return v.any || (p.tied() && p.state_size == 128 && p.head_dim % 16 == 0 && p.dtype == DType::bf16 &&
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
