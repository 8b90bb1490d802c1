// linear with weights of codes (cuda/quantized_linear.cuh): checks against float64, and times of its shapes beside the
// bytes of the weight.
//
//   nvcc -std=c++20 -O3 -gencode=arch=compute_90a,code=sm_90a -lineinfo -Inative native/lab/quantized_linear.cu
//       native/cuda/linear_rows.cu native/cuda/linear.cu native/cuda/gemm_plans.cpp native/cuda/staging.cpp
//       native/cuda/status.cpp -lcublasLt -o quantized_linear
//   ./quantized_linear [--json FILE --commit SHA] [--check | --time]
//
// A version is named by its tiles of 16 outputs (T), steps in flight (D) and blocks of a multiprocessor (B).
#include <memory>

#include "cuda/quantized_linear.cu"
#include "lab/linear_workspace.cuh"

namespace {

using namespace mamba;
using namespace mamba::cuda;
using lab::Buffer;
using lab::Host;

// --- checks ---------------------------------------------------------------------------------------------------------
struct Case {
  DType codes, x, out;
  int64_t m, n, k, group;
  bool floats, bias, accumulate;
};

bool check_case(const Case& c, lab::LinearWorkspace& workspace) {
  lab::Random random = {static_cast<uint64_t>(c.m * 131 + c.n * 7 + c.k)};
  const int64_t groups = groups_of(c.k, c.group), row_bytes = code_bytes(c.codes, c.k);
  std::vector<uint8_t> codes(static_cast<size_t>(c.n * row_bytes));
  std::vector<float> scales(static_cast<size_t>(c.n * groups)), offsets(scales.size());
  Host floats(DType::bf16, c.n * c.k);
  if (c.floats) {
    floats.fill_normal(random, 0.02);
    std::vector<float> row(static_cast<size_t>(c.k));
    for (int64_t n = 0; n < c.n; ++n) {
      for (int64_t k = 0; k < c.k; ++k) row[k] = static_cast<float>(floats.get(n * c.k + k));
      std::vector<float> unused(static_cast<size_t>(groups));
      quantize_row(row.data(), c.k, c.group, c.codes, codes.data() + n * row_bytes, scales.data() + n * groups,
                   c.codes == DType::u4 ? offsets.data() + n * groups : unused.data());
    }
  } else {
    for (auto& code : codes) {
      code = static_cast<uint8_t>(random.below(256));
      if (c.codes == DType::e4m3 && (code & 0x7f) == 0x7f) code ^= 1;
    }
    // What bf16 and f16 hold.
    for (auto& scale : scales) scale = static_cast<float>(random.below(128) + 128) * 0x1p-14f;
    if (c.codes == DType::u4) {
      for (auto& offset : offsets) offset = static_cast<float>(random.below(256) - 128) * 0x1p-10f;
    }
  }
  Host x(c.x, c.m * c.k), bias(DType::f32, c.n), before(c.out, c.m * c.n);
  x.fill_normal(random), bias.fill_normal(random), before.fill_normal(random);
  const Buffer dx(x), dbias(bias);
  Buffer weight(quantized_weight_bytes(c.n, c.k, c.codes)), out(before);
  weight.poison();
  PackLinearWeightParams pack = {c.n, c.k, nullptr, weight.data, c.codes, c.codes, c.group};
  if (c.floats) {
    pack.src = std::make_shared<MemorySource>(floats.bytes.data()), pack.src_dtype = DType::bf16;
  } else {
    pack.src = std::make_shared<MemorySource>(codes.data());
    pack.scales = std::make_shared<MemorySource>(scales.data());
    if (c.codes == DType::u4) pack.offsets = std::make_shared<MemorySource>(offsets.data());
  }
  run_pack_linear_weight(pack, workspace.context);
  LinearParams p = {};
  p.m = c.m, p.n = c.n, p.k = c.k, p.x = dx.data, p.x_stride = c.k, p.weight = weight.data, p.out = out.data;
  p.out_stride = c.n, p.x_dtype = c.x, p.weight_dtype = c.codes, p.out_dtype = c.out, p.weight_group = c.group;
  p.alpha = 0.5f, p.accumulate = c.accumulate;
  if (c.bias) p.bias = dbias.as<float>();
  if (!c.accumulate) out.poison();
  run_linear(p, workspace.context);
  LAB_CHECK(cudaStreamSynchronize(workspace.context.stream));
  const Host got = out.download(c.out);
  lab::Errors errors;
  std::vector<double> row(static_cast<size_t>(c.k));
  for (int64_t n = 0; n < c.n; n += std::max<int64_t>(1, c.n / 97)) {
    for (int64_t k = 0; k < c.k; ++k) {
      const auto at = static_cast<size_t>(n * groups + k / c.group);
      row[k] = static_cast<double>(scales[at]) * meaning_of(c.codes, codes.data() + n * row_bytes, k) +
               (c.codes == DType::u4 ? offsets[at] : 0);
    }
    for (int64_t m = 0; m < c.m; ++m) {
      double sum = 0, size = 0;
      for (int64_t k = 0; k < c.k; ++k)
        sum += row[k] * x.get(m * c.k + k), size += std::abs(row[k] * x.get(m * c.k + k));
      const double want = 0.5 * sum + (c.bias ? bias.get(n) : 0) + (c.accumulate ? before.get(m * c.n + n) : 0);
      // Rows that are widened are rounded to the type of x.
      const double rounding = c.m > 64 ? lab::rounding(c.x) : 2e-5;
      errors.add(got.get(m * c.n + n), want, 0.5 * size * rounding / std::sqrt(static_cast<double>(c.k)) * 8 + 1e-5,
                 lab::rounding(c.out));
    }
  }
  std::printf("%s %s x %s -> %s m %ld n %ld k %ld group %ld%s%s%s: worst %.2f, relative %.1e\n",
              errors.bad ? "FAILED" : "ok", name_of(c.codes), name_of(c.x), name_of(c.out), c.m, c.n, c.k, c.group,
              c.floats ? " floats" : "", c.bias ? " bias" : "", c.accumulate ? " accumulate" : "", errors.worst,
              errors.relative());
  return errors.bad == 0;
}

bool check_all(lab::LinearWorkspace& workspace) {
  bool good = true;
  for (const DType codes : {DType::e4m3, DType::i8, DType::u4, DType::e2m1}) {
    const int64_t small = codes == DType::e2m1 ? 16 : codes == DType::u4 ? 32 : 128;
    for (const int64_t m : {1, 3, 8, 9, 16, 31, 64, 100}) {
      good &= check_case({codes, DType::bf16, DType::f32, m, 200, 512, small, false, true, true}, workspace);
    }
    good &= check_case({codes, DType::f16, DType::f16, 5, 100, 328, small, false, false, false}, workspace);
    good &= check_case({codes, DType::f32, DType::f32, 5, 100, 131, 131, false, true, false}, workspace);
    good &= check_case({codes, DType::bf16, DType::bf16, 2, 45, 131, 131, false, false, true}, workspace);
    good &= check_case({codes, DType::bf16, DType::bf16, 1, 18560, 4096, small, false, false, false}, workspace);
    good &= check_case({codes, DType::bf16, DType::f32, 1, 768, 8192, small, false, false, true}, workspace);
    if (codes == DType::e2m1) continue;
    good &= check_case({codes, DType::bf16, DType::f32, 4, 300, 640, small, true, false, false}, workspace);
    good &= check_case({codes, DType::bf16, DType::f32, 4, 300, 640, 640, true, false, false}, workspace);
  }
  return good;
}

// --- times ----------------------------------------------------------------------------------------------------------
struct Version {
  const char* name;
  int64_t most_rows;
  void (*run)(const LinearParams&, Context&);
};

template <DType C>
std::vector<Version> versions() {
  using T = bf16;
#define VERSION(columns, tiles, warps, depth, blocks)                           \
  {                                                                             \
    "C" #columns " T" #tiles " W" #warps " D" #depth " B" #blocks, 8 * columns, \
        codes::launch_quantized<T, C, columns, tiles, warps, depth, blocks>     \
  }
  return {VERSION(1, 1, 8, 1, 4), VERSION(1, 1, 8, 2, 3), VERSION(1, 1, 8, 3, 2), VERSION(1, 1, 4, 2, 6),
          VERSION(1, 1, 4, 3, 5), VERSION(1, 2, 8, 1, 3), VERSION(1, 2, 8, 2, 2), VERSION(1, 2, 4, 2, 4),
          VERSION(2, 1, 8, 2, 2), VERSION(2, 2, 8, 1, 2), VERSION(4, 1, 8, 1, 2), VERSION(4, 1, 8, 2, 2),
          VERSION(8, 1, 8, 1, 2), VERSION(8, 1, 8, 2, 1), VERSION(8, 2, 8, 1, 1)};
}

template <DType C>
void time_codes(lab::Bench& bench, lab::Report& report, lab::LinearWorkspace& workspace) {
  const int64_t shapes[][2] = {{18560, 4096}, {4096, 8192}, {10576, 2560}, {3352, 768}};
  for (const auto& [n, k] : shapes) {
    const auto bytes = static_cast<double>(quantized_weight_bytes(n, k, C));
    const Buffer weight(static_cast<size_t>(bytes)), x(static_cast<size_t>(64 * k * 2)),
        out(static_cast<size_t>(64 * n * 4));
    // Any codes; scales that are any bits would be infinite here and there, which costs nothing.
    lab::fill_random_kernel<<<2112, 256>>>(weight.as<float>(), static_cast<int64_t>(bytes / 4), 1);
    lab::fill_random_kernel<<<2112, 256>>>(x.as<__nv_bfloat16>(), 64 * k, 2);
    LAB_CHECK(cudaDeviceSynchronize());
    for (const int64_t m : {1, 8, 16, 32, 64}) {
      for (const Version& version : versions<C>()) {
        if (version.most_rows < m || version.most_rows > std::max<int64_t>(2 * m - 1, 8)) continue;
        LinearParams p = {};
        p.m = m, p.n = n, p.k = k, p.x = x.data, p.x_stride = k, p.weight = weight.data, p.out = out.data;
        p.out_stride = n, p.x_dtype = p.out_dtype = DType::bf16, p.weight_dtype = C, p.weight_group = k;
        const lab::Times us = bench.time([&](cudaStream_t s) {
          Context context = workspace.on(s);
          version.run(p, context);
        });
        const std::string name =
            std::string(name_of(C)) + " m=" + std::to_string(m) + " " + std::to_string(k) + "->" + std::to_string(n);
        std::printf("%6.2f TB/s of %6.1f MB  ", bytes / us.clean * 1e-6, bytes * 1e-6);
        report.line("quantized_linear", name, version.name, us, bytes, {});
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const lab::Options options(argc, argv);
  lab::LinearWorkspace workspace;
  if (options.check && !check_all(workspace)) return 1;
  if (!options.time) return 0;
  lab::Bench bench;
  lab::Report report(options);
  report.line("empty", "", "", bench.empty(), 0, {});
  time_codes<DType::e4m3>(bench, report, workspace);
  time_codes<DType::u4>(bench, report, workspace);
  time_codes<DType::e2m1>(bench, report, workspace);
  time_codes<DType::i8>(bench, report, workspace);
  return 0;
}
