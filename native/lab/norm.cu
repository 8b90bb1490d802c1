// Ladders of rms_norm, gated_rms_norm, embedding and gather_rows.
//
//   nvcc -std=c++20 -O3 -gencode=arch=compute_90a,code=sm_90a -lineinfo -Inative native/lab/norm.cu
//       native/cuda/{norm,embedding,status}.{cu,cpp} -o norm && ./norm [--json FILE --commit SHA] [--check | --time]
//
// The kernels are those of native/cuda/norm.cuh and embedding.cuh, except the flat embedding. T threads along a row,
// each with V vectors of eight channels; R rows a block, if each has one warp.
//
// Measured, us on one H200, between two events around a graph of the launch alone, after a flush of the L2 by writes.
// An empty kernel takes 3.8 of it, and 0.6 in a chain of 20 dependent launches. x and out in bf16, the residual in
// float (bf16 in brackets); "early" loads the weights before the row.
//
// rms_norm, rows x width           1x2560       64x2560      256x2560     8192x2560    8192x768     8192x4096
//   copy of the same bytes         4.4 (4.4)    5.3 (5.4)    6.8 (6.2)    64.8 (44.5)  23.2 (17.6)  99.5 (68.5)
//   V1 early                       5.5 (5.2)    6.0 (5.6)    7.2 (6.8)    67.8 (46.4)  23.7 (17.9)  104.0 (69.7)
//   V1                             5.9 (5.6)    6.1 (5.7)    7.3 (6.8)    66.2 (45.5)  23.9 (18.0)  102.7 (71.3)
//   V2 early                       6.0 (5.7)    6.5 (6.1)    7.5 (7.0)    66.7 (46.9)  24.4 (18.9)  102.7 (74.2)
//   V2                             6.8 (6.1)    6.7 (6.3)    7.8 (7.1)    66.6 (46.6)  24.4 (18.9)  103.6 (74.9)
//   V4                             6.6 (6.3)    6.7 (6.5)    7.9 (7.3)    68.2 (48.7)  24.2 (19.0)  102.7 (71.3)
//   a warp a row (V10, V3, V16)    23.4 (10.2)  24.1 (10.8)  27.0 (12.1)  404.0 (71.7) 24.1 (19.1)  678.1 (359.0)
//   each of 20, warm L2            2.0 (1.7)    2.1 (1.9)    2.7 (2.4)
//   the same, dependent launches   1.5 (1.3)    1.8 (1.5)    2.7 (2.1)
//
// gated_rms_norm, width/groups     1x5120/1     64x5120/1    256x5120/1   8192x5120/1  1x8192/8     8192x8192/8
//   copy of the same bytes         4.6          5.1          6.6          64.6         4.4          99.8
//   V2 (8192/8: V1) early          5.5          6.1          7.8          66.6         5.2          101.7
//   V2 (8192/8: V1)                6.0          6.4          8.1          68.9         5.8          103.2
//   each of 20, warm L2            2.2          2.4          3.3                       1.7
//   the same, dependent launches   1.8          2.1          3.3                       1.3
//
// embedding, rows x width          1x2560       64x2560      256x2560     8192x2560    8192x768     8192x4096
//   copy of the same bytes         4.9          5.6          6.0          25.4         11.0         37.0
//   row: a block a row             5.1          5.7          6.4          28.1         14.3         42.6
//   flat: threads along all rows   5.3          5.7          6.6          28.3         12.5         41.4
//
// More than 8 vectors a thread spill under the bound of 512 threads. The sum over a row's warps, added in a loop of
// unknown length, took 0.5 us more (1x2560 in a chain of 100: 1.8 against 1.3).
#include <cuda_runtime.h>

#include "cuda/embedding.cuh"
#include "cuda/kernels.h"
#include "cuda/norm.cuh"
#include "lab/context.cuh"
#include "lab/lab.cuh"
#include "ops/embedding.h"

namespace {

using namespace mamba;
using namespace mamba::cuda;
using lab::Buffer;
using lab::context_of;
using lab::Host;

// How a row lies over threads: V vectors each; R rows a block, of one warp each.
struct Spread {
  int vectors, rows;
  bool early_weights, early;
};

const Spread kSpreads[] = {
    {1, 1, true, true},  {2, 1, true, true},  {4, 1, true, true},   {1, 1, false, true},  {2, 1, false, true},
    {4, 1, false, true}, {3, 4, false, true}, {10, 4, false, true}, {16, 4, false, true}, {1, 1, true, false},
};

std::string name_of_spread(const Spread& l, int64_t width) {
  return "T" + std::to_string(norm_threads(width, l.vectors)) + " V" + std::to_string(l.vectors) + " R" +
         std::to_string(l.rows) + (l.early_weights ? " early" : "") + (l.early ? "" : " serial");
}

bool wide(const RmsNormParams& p) {
  return p.x_dtype == DType::bf16 && p.out_dtype == DType::bf16 && (!p.residual || p.residual_dtype != DType::f16) &&
         p.width % kNormVec == 0 && p.x_stride % kNormVec == 0 && aligned(p.x) && aligned(p.residual) &&
         aligned(p.out) && aligned(p.weight);
}
bool wide(const GatedRmsNormParams& p) {
  return p.dtype == DType::bf16 && p.group_size % kNormVec == 0 && p.x_stride % kNormVec == 0 &&
         p.gate_stride % kNormVec == 0 && aligned(p.x) && aligned(p.gate) && aligned(p.out) && aligned(p.weight);
}
template <class P>
bool fits(const P& p, int64_t width, const Spread& l) {
  const unsigned threads = norm_threads(width, l.vectors);
  return wide(p) && threads <= kNormThreads && (l.rows == 1 || threads == 32);
}

template <class F>
void with_vectors(int vectors, F f) {
  const auto is = [&]<int V>() {
    if (vectors == V) f.template operator()<V>();
  };
  is.template operator()<1>(), is.template operator()<2>(), is.template operator()<3>(), is.template operator()<4>();
  is.template operator()<10>(), is.template operator()<16>();
}

LaunchShape shape_of(const Spread& l, int64_t rows, int64_t width, int64_t groups) {
  return {.grid = {(rows + l.rows - 1) / l.rows, groups},
          .block = {norm_threads(width, l.vectors), static_cast<unsigned>(l.rows)},
          .early = l.early};
}

void launch_spread(const RmsNormParams& p, const Spread& l, cudaStream_t stream) {
  Context context = context_of(stream, true);
  const LaunchShape shape = shape_of(l, p.rows, p.width, 1);
  with_vectors(l.vectors, [&]<int V>() {
    const auto with_residual = [&]<class R>() {
      l.early_weights ? launch(context, shape, rms_norm_kernel<bf16, R, bf16, V, true>, p)
                      : launch(context, shape, rms_norm_kernel<bf16, R, bf16, V, false>, p);
    };
    if (!p.residual) return with_residual.template operator()<void>();
    p.residual_dtype == DType::f32 ? with_residual.template operator()<float>()
                                   : with_residual.template operator()<bf16>();
  });
}
void launch_spread(const GatedRmsNormParams& p, const Spread& l, cudaStream_t stream) {
  Context context = context_of(stream, true);
  const LaunchShape shape = shape_of(l, p.rows, p.group_size, p.width / p.group_size);
  with_vectors(l.vectors, [&]<int V>() {
    l.early_weights ? launch(context, shape, gated_rms_norm_kernel<bf16, V, true>, p)
                    : launch(context, shape, gated_rms_norm_kernel<bf16, V, false>, p);
  });
}

void run_op(const RmsNormParams& p, cudaStream_t stream) {
  Context context = context_of(stream, true);
  run_rms_norm(p, context);
}
void run_op(const GatedRmsNormParams& p, cudaStream_t stream) {
  Context context = context_of(stream, true);
  run_gated_rms_norm(p, context);
}

// The embedding with all threads along all rows.
__global__ void __launch_bounds__(256)
    flat_embedding_kernel(const bf16* table, const int32_t* ids, bf16* out, uint32_t rows, uint32_t vectors) {
  let_next_start();
  wait_for_inputs();
  const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < rows * vectors) {
    const int64_t from = int64_t{ids[i / vectors]} * vectors + i % vectors;
    store<8>(out + int64_t{i} * 8, load_constant<8>(table + from * 8));
  }
}

void launch_flat(const EmbeddingParams& p, cudaStream_t stream) {
  Context context = context_of(stream, true);
  const auto rows = static_cast<uint32_t>(p.tokens), vectors = static_cast<uint32_t>(p.hidden / 8);
  launch(context, {.grid = (rows * vectors + 255) / 256, .block = {256}}, flat_embedding_kernel,
         static_cast<const bf16*>(p.weight), p.ids, static_cast<bf16*>(p.out), rows, vectors);
}

struct Verdict {
  int64_t checks = 0, failed = 0;
  double worst = 0;
  void add(const char* what, const std::string& version, int64_t rows, int64_t width, const lab::Errors& e) {
    ++checks;
    worst = std::max(worst, e.worst);
    if (e.bad == 0) return;
    ++failed;
    std::printf("FAILED %s %s: rows %ld width %ld: %ld wrong (rel %.2e)\n", what, version.c_str(),
                static_cast<long>(rows), static_cast<long>(width), static_cast<long>(e.bad), e.relative());
  }
};

double silu64(double x) { return x / (1 + std::exp(-x)); }

// Versions: the spreads, then the op. Each is run twice for the same bits.
template <class P, class Run>
void each_version(const P& p, int64_t width, Run run) {
  for (const Spread& l : kSpreads) {
    if (fits(p, width, l)) run(name_of_spread(l, width), [&] { launch_spread(p, l, nullptr); });
  }
  run("dispatch", [&] { run_op(p, nullptr); });
}

void* at(const Buffer& b, int64_t element, DType t) {
  return b.as<uint8_t>() + static_cast<size_t>(element) * size_of(t);
}

void check_rms(int64_t rows, int64_t width, int64_t extra, DType xt, DType ot, bool has_residual, DType rt,
               Verdict& verdict) {
  lab::Random random{lab::mix(std::time(nullptr) * 977 + rows * 31 + width)};
  const int64_t stride = width + extra, shift = extra % 2;  // shift: nothing is aligned
  Host x(xt, shift + rows * stride), residual(rt, shift + rows * width), weight(DType::f32, shift + width);
  x.fill_normal(random), residual.fill_normal(random, 3), weight.fill_uniform(random, 0.2, 2);
  const Buffer dx(x), dweight(weight);
  Buffer dresidual(residual), out(static_cast<size_t>(shift + rows * width) * size_of(ot));
  RmsNormParams p = {rows,
                     width,
                     at(dx, shift, xt),
                     stride,
                     has_residual ? at(dresidual, shift, rt) : nullptr,
                     dweight.as<float>() + shift,
                     at(out, shift, ot),
                     1e-5f,
                     xt,
                     rt,
                     ot};
  std::vector<double> expected(static_cast<size_t>(rows * width)), sums(expected.size());
  for (int64_t r = 0; r < rows; ++r) {
    double squares = 0;
    for (int64_t c = 0; c < width; ++c) {
      const size_t at = static_cast<size_t>(r * width + c);
      Host one(rt, 1);
      sums[at] = x.get(shift + r * stride + c);
      if (has_residual) {
        // In float, as the op adds, then as the residual's type rounds.
        one.set(0, static_cast<float>(x.get(shift + r * stride + c)) +
                       static_cast<float>(residual.get(shift + r * width + c)));
        sums[at] = one.get(0);
      }
      squares += sums[at] * sums[at];
    }
    const double scale = 1 / std::sqrt(squares / static_cast<double>(width) + 1e-5f);
    for (int64_t c = 0; c < width; ++c) {
      const size_t at = static_cast<size_t>(r * width + c);
      expected[at] = sums[at] * scale * weight.get(shift + c);
    }
  }
  each_version(p, width, [&](const std::string& name, const auto& run) {
    std::vector<uint8_t> first;
    for (int turn = 0; turn < 2; ++turn) {
      dresidual.upload(residual);
      out.poison();
      run();
      LAB_CHECK(cudaGetLastError());
      LAB_CHECK(cudaDeviceSynchronize());
      const Host got = out.download(ot), after = dresidual.download(rt);
      lab::Errors errors;
      for (int64_t i = 0; i < rows * width; ++i) {
        errors.add(got.get(shift + i), expected[static_cast<size_t>(i)], 1e-7, lab::rounding(ot));
        if (has_residual) errors.add(after.get(shift + i), sums[static_cast<size_t>(i)], 1e-300, 0);
      }
      if (turn == 1 && got.bytes != first) errors.bad += 1000000;
      first = got.bytes;
      verdict.add("rms_norm", name, rows, width, errors);
    }
  });
}

void check_gated(int64_t rows, int64_t width, int64_t groups, int64_t extra, DType t, bool in_place, Verdict& verdict) {
  lab::Random random{lab::mix(std::time(nullptr) * 983 + rows * 37 + width)};
  const int64_t group = width / groups, x_stride = in_place ? width : width + extra, gate_stride = width + 2 * extra;
  Host x(t, rows * x_stride), gate(t, rows * gate_stride), weight(DType::f32, width);
  x.fill_normal(random), gate.fill_normal(random, 2), weight.fill_uniform(random, 0.2, 2);
  const Buffer dgate(gate), dweight(weight);
  Buffer dx(x), out(static_cast<size_t>(rows * width) * size_of(t));
  const GatedRmsNormParams p = {rows,
                                width,
                                group,
                                dx.data,
                                x_stride,
                                dgate.data,
                                gate_stride,
                                dweight.as<float>(),
                                in_place ? dx.data : out.data,
                                1e-5f,
                                false,
                                t};
  std::vector<double> expected(static_cast<size_t>(rows * width));
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t first = 0; first < width; first += group) {
      double squares = 0;
      for (int64_t c = first; c < first + group; ++c) {
        const double v = x.get(r * x_stride + c) * silu64(gate.get(r * gate_stride + c));
        expected[static_cast<size_t>(r * width + c)] = v;
        squares += v * v;
      }
      const double scale = 1 / std::sqrt(squares / static_cast<double>(group) + 1e-5f);
      for (int64_t c = first; c < first + group; ++c) {
        expected[static_cast<size_t>(r * width + c)] *= scale * weight.get(c);
      }
    }
  }
  each_version(p, group, [&](const std::string& name, const auto& run) {
    std::vector<uint8_t> first;
    for (int turn = 0; turn < 2; ++turn) {
      dx.upload(x);
      out.poison();
      run();
      LAB_CHECK(cudaGetLastError());
      LAB_CHECK(cudaDeviceSynchronize());
      const Host got = in_place ? dx.download(t) : out.download(t);
      lab::Errors errors;
      for (int64_t i = 0; i < rows * width; ++i) {
        errors.add(got.get(i), expected[static_cast<size_t>(i)], 1e-7, lab::rounding(t) + 2e-6);
      }
      if (turn == 1 && got.bytes != first) errors.bad += 1000000;
      first = got.bytes;
      verdict.add("gated_rms_norm", name, rows, width, errors);
    }
  });
}

void check_copy(int64_t rows, int64_t table_rows, int64_t width, int64_t extra, DType from, DType to,
                Verdict& verdict) {
  lab::Random random{lab::mix(std::time(nullptr) * 991 + rows * 41 + width)};
  const int64_t stride = width + extra;
  Host table(from, table_rows * stride);
  table.fill_normal(random);
  std::vector<int32_t> index(static_cast<size_t>(rows));
  for (int32_t& i : index) i = static_cast<int32_t>(random.below(table_rows + 2) - 1);
  index[0] = -1, index.back() = static_cast<int32_t>(table_rows);
  const Buffer dtable(table), dindex(index);
  Buffer out(static_cast<size_t>(rows * width) * size_of(to));
  for (const bool gather : {false, true}) {
    if (gather ? from != to : extra != 0) continue;
    Context context = context_of(nullptr, true);
    out.poison();
    if (gather) {
      run_gather_rows({rows, table_rows, width, dtable.data, stride, dindex.as<int32_t>(), out.data, from}, context);
    } else {
      run_embedding({rows, width, table_rows, dtable.data, dindex.as<int32_t>(), out.data, from, to}, context);
    }
    LAB_CHECK(cudaGetLastError());
    LAB_CHECK(cudaDeviceSynchronize());
    const Host got = out.download(to);
    Host expected(to, rows * width);
    lab::Errors errors;
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t source = index[static_cast<size_t>(r)];
      for (int64_t c = 0; c < width; ++c) {
        const bool inside = source >= 0 && source < table_rows;
        expected.set(r * width + c, inside ? table.get(source * stride + c) : 0);
        errors.add(got.get(r * width + c), expected.get(r * width + c), 1e-300, 0);
      }
    }
    verdict.add(gather ? "gather_rows" : "embedding", "dispatch", rows, width, errors);
  }
}

bool check_all() {
  Verdict verdict;
  const DType f32 = DType::f32, bf = DType::bf16, f16 = DType::f16;
  for (const int64_t width : {768, 2560, 4096, 1000, 8192}) {
    for (const int64_t rows : {1, 7, 33}) {
      check_rms(rows, width, 0, bf, bf, true, f32, verdict);
      check_rms(rows, width, 8, bf, bf, true, bf, verdict);
      check_rms(rows, width, 3, bf, bf, false, f32, verdict);
      check_rms(rows, width, 0, bf, bf, false, f32, verdict);
    }
  }
  for (const DType t : {f32, bf, f16}) {
    for (const DType r : {f32, bf, f16}) check_rms(5, 331, 1, t, t, true, r, verdict);
    check_rms(5, 96, 0, t, f32, true, t, verdict);
    check_gated(5, 330, 2, 1, t, false, verdict);
    check_gated(70, 96, 32, 0, t, true, verdict);
    check_gated(70, 2048, 32, 0, t, false, verdict);
    check_gated(3, 12288, 1, 0, t, false, verdict);
    for (const int64_t rows : {2, 80, 300}) {
      check_rms(rows, 2560, 0, t, t, false, t, verdict);
      check_rms(rows, 256, 0, t, t, true, t, verdict);
      check_rms(rows, 6144, 0, t, t, true, f32, verdict);
    }
    check_rms(3, 20000, 0, t, t, true, t, verdict);
  }
  for (const int64_t rows : {1, 7, 33}) {
    for (const bool in_place : {false, true}) {
      check_gated(rows, 1536, 1, 8, bf, in_place, verdict);
      check_gated(rows, 5120, 1, 16, bf, in_place, verdict);
      check_gated(rows, 8192, 8, 8, bf, in_place, verdict);
      check_gated(rows, 512, 8, 8, bf, in_place, verdict);
    }
  }
  for (const DType from : {f32, bf, f16}) {
    for (const DType to : {f32, bf, f16}) {
      check_copy(37, 50, 2560, 0, from, to, verdict);
      check_copy(5, 9, 331, 0, from, to, verdict);
    }
    check_copy(37, 50, 4096, 8, from, from, verdict);
    check_copy(37, 50, 770, 1, from, from, verdict);
    check_copy(37, 50, 770, 2, from, from, verdict);
  }
  std::printf("norm: %ld checks, %ld failed, worst %.3f of the allowed distance\n", static_cast<long>(verdict.checks),
              static_cast<long>(verdict.failed), verdict.worst);
  return verdict.failed == 0;
}

constexpr int kChain = 20;

template <class P>
void time_spreads(const char* op, const std::string& name, const P& p, int64_t width, double bytes, lab::Bench& bench,
                  lab::Report& report) {
  const lab::Times copy = bench.copy(bytes);
  for (const Spread& l : kSpreads) {
    if (!fits(p, width, l)) continue;
    report.line(op, name, name_of_spread(l, width), bench.time([&](cudaStream_t s) { launch_spread(p, l, s); }), bytes,
                copy);
  }
  report.line(op, name, "dispatch", bench.time([&](cudaStream_t s) { run_op(p, s); }), bytes, copy);
  // Launches one after another, as in a model: the time of each, with and without an early start.
  if (p.rows > 256) return;
  const auto each = [&](const char* version, auto go) {
    lab::Times us = bench.time([&](cudaStream_t s) {
      for (int i = 0; i < kChain; ++i) go(s);
    });
    us.event /= kChain, us.clean /= kChain;
    report.line(op, name, version, us, bytes, copy);
  };
  each("each of 20 dispatch", [&](cudaStream_t s) { run_op(p, s); });
  for (const bool early : {false, true}) {
    const Spread l = {width / kNormVec <= kNormThreads ? 1 : 2, 1, p.rows <= 256, early};
    if (fits(p, width, l)) {
      each(early ? "each of 20 early" : "each of 20 serial", [&](cudaStream_t s) { launch_spread(p, l, s); });
    }
  }
}

__global__ void empty_dependent_kernel() {
  let_next_start();
  wait_for_inputs();
}

void time_all(lab::Bench& bench, lab::Report& report) {
  lab::Times us = bench.time([&](cudaStream_t s) {
    Context context = context_of(s, true);
    for (int i = 0; i < kChain; ++i) launch(context, {.grid = 1, .block = {320}}, empty_dependent_kernel);
  });
  us.event /= kChain, us.clean /= kChain;
  report.line("empty", "", "each of 20 early", us, 0, {});
  constexpr int64_t kRows = 8192, kWidth = 8192;
  const Buffer x(kRows * kWidth * 2), gate(kRows * kWidth * 2), residual(kRows * 4096 * 4), out(kRows * kWidth * 2),
      weight(kWidth * 4);
  lab::fill_random_kernel<<<1056, 256>>>(x.as<__nv_bfloat16>(), kRows * kWidth, 1);
  lab::fill_random_kernel<<<1056, 256>>>(gate.as<__nv_bfloat16>(), kRows * kWidth, 2);
  lab::fill_random_kernel<<<1056, 256>>>(weight.as<float>(), kWidth, 3);
  for (const DType type : {DType::f32, DType::bf16}) {
    LAB_CHECK(cudaMemset(residual.data, 0, residual.bytes));
    for (const int64_t width : {768, 2560, 4096}) {
      for (const int64_t rows : {1, 8, 64, 256, 8192}) {
        const RmsNormParams p = {rows,     width, x.data,      width, residual.data, weight.as<float>(),
                                 out.data, 1e-5f, DType::bf16, type,  DType::bf16};
        const double bytes = static_cast<double>(rows * width) * (4 + 2.0 * size_of(type)) + 4.0 * width;
        const std::string name = std::string(name_of(type)) + " " + std::to_string(rows) + "x" + std::to_string(width);
        time_spreads("rms_norm", name, p, width, bytes, bench, report);
      }
    }
  }
  for (const auto& [width, groups] : {std::pair<int64_t, int64_t>{1536, 1}, {5120, 1}, {8192, 8}}) {
    for (const int64_t rows : {1, 8, 64, 256, 8192}) {
      const GatedRmsNormParams p = {rows,   width,     width / groups, x.data,
                                    width,  gate.data, width,          weight.as<float>(),
                                    x.data, 1e-5f,     false,          DType::bf16};
      const double bytes = static_cast<double>(rows * width) * 6 + 4.0 * width;
      const std::string name = std::to_string(rows) + "x" + std::to_string(width) + "/" + std::to_string(groups);
      time_spreads("gated_rms_norm", name, p, width / groups, bytes, bench, report);
    }
  }
  constexpr int64_t kVocab = 50288;
  lab::Random random{9};
  std::vector<int32_t> ids(kRows);
  for (const int64_t width : {768, 2560, 4096}) {
    const Buffer table(static_cast<size_t>(kVocab * width) * 2);
    lab::fill_random_kernel<<<1056, 256>>>(table.as<__nv_bfloat16>(), kVocab * width, 4);
    for (const int64_t rows : {1, 8, 64, 256, 8192}) {
      for (const bool gather : {false, true}) {
        if (gather && rows > 256) continue;
        const int64_t source = gather ? 8192 : kVocab;
        for (int32_t& i : ids) i = static_cast<int32_t>(random.below(source));
        const Buffer index(ids);
        const double bytes = static_cast<double>(rows) * (4.0 * width + 4);
        const std::string name = std::to_string(rows) + "x" + std::to_string(width);
        const lab::Times copy = bench.copy(bytes);
        const EmbeddingParams e = {rows,     width,       source,     table.data, index.as<int32_t>(),
                                   out.data, DType::bf16, DType::bf16};
        const lab::Times us = bench.time([&](cudaStream_t s) {
          Context context = context_of(s, true);
          if (!gather) return run_embedding(e, context);
          run_gather_rows({rows, source, width, x.data, width, index.as<int32_t>(), out.data, DType::bf16}, context);
        });
        report.line(gather ? "gather_rows" : "embedding", name, "dispatch", us, bytes, copy);
        if (gather) continue;
        const lab::Times flat = bench.time([&](cudaStream_t s) { launch_flat(e, s); });
        report.line("embedding", name, "flat", flat, bytes, copy);
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const lab::Options options(argc, argv);
  if (options.check && !check_all()) return 1;
  if (!options.time) return 0;
  lab::Bench bench;
  lab::Report report(options);
  report.line("empty", "", "", bench.empty(), 0, {});
  time_all(bench, report);
  return 0;
}
