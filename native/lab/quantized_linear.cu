// linear with weights of codes (cuda/quantized_linear.cuh): checks against float64, and times of its shapes beside the
// bytes of the weight.
//
//   nvcc -std=c++20 -O3 -gencode=arch=compute_90a,code=sm_90a -lineinfo -Inative native/lab/quantized_linear.cu
//       native/cuda/{activation,linear,linear_rows,linear_walk,product_trial,quantized_ring}.cu
//       native/cuda/{gemm_plans,staging,status}.cpp -lcublasLt -o quantized_linear
//   ./quantized_linear [--json FILE --commit SHA] [--check | --time]
//
// A version is named by its tiles of 16 outputs (T), steps in flight (D) and blocks of a multiprocessor (B); `ring` is
// quantized_ring.cuh, where the backend takes it, `row ring` quantized_row_ring.cuh with so many KB.
#include <memory>

#include "cuda/quantized_linear.cu"
#include "lab/quantized_row_check.cuh"

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
  int64_t group_rows = 1;  // whose scales are the same
  bool quantize_x = false;

  // Rows of x that become codes, from the first on.
  int64_t quantized_rows() const {
    if (!quantize_x || m <= 16 || k % 8) return 0;
    if (m <= 64) return m;
    if (bias || n % 16) return 0;
    return group >= k ? m : m / 4 * 4;
  }
};

// x as it is after its rounding to codes.
std::vector<double> rounded_x(const Case& c, const Host& x) {
  std::vector<double> values(static_cast<size_t>(c.m * c.k));
  for (int64_t i = 0; i < c.m * c.k; ++i) values[static_cast<size_t>(i)] = x.get(i);
  const int64_t share = c.group >= c.k ? c.k : 128;
  for (int64_t row = 0; row < c.quantized_rows(); ++row) {
    for (int64_t first = 0; first < c.k; first += share) {
      double* part = values.data() + row * c.k + first;
      const int64_t count = std::min(share, c.k - first);
      double most = 0;
      for (int64_t i = 0; i < count; ++i) most = std::max(most, std::abs(part[i]));
      const float scale = most > 0 ? static_cast<float>(most) / 448 : 1.0f, inverse = 1 / scale;
      for (int64_t i = 0; i < count; ++i) {
        part[i] = static_cast<double>(scale) * meaning_of_e4m3(to_e4m3(static_cast<float>(part[i]) * inverse));
      }
    }
  }
  return values;
}

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
    for (int64_t n = 0; n < c.n; ++n) {
      const int64_t first = n / c.group_rows * c.group_rows;
      std::copy_n(scales.begin() + first * groups, groups, scales.begin() + n * groups);
    }
    if (c.codes == DType::u4) {
      for (auto& offset : offsets) offset = static_cast<float>(random.below(256) - 128) * 0x1p-10f;
    }
  }
  Host x(c.x, c.m * c.k), bias(DType::f32, c.n), before(c.out, c.m * c.n);
  x.fill_normal(random), bias.fill_normal(random), before.fill_normal(random);
  const Buffer dx(x), dbias(bias);
  Buffer weight(quantized_weight_bytes(c.n, c.k, c.codes)), out(before);
  weight.poison();
  PackLinearWeightParams pack = {c.n, c.k, nullptr, weight.data, c.codes, c.codes, c.group, c.quantize_x};
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
  p.weight_group_rows = c.group_rows, p.quantize_x = c.quantize_x;
  p.alpha = 0.5f, p.accumulate = c.accumulate;
  if (c.bias) p.bias = dbias.as<float>();
  if (!c.accumulate) out.poison();
  run_linear(p, workspace.context);
  LAB_CHECK(cudaStreamSynchronize(workspace.context.stream));
  const Host got = out.download(c.out);
  lab::Errors errors;
  const std::vector<double> xs = rounded_x(c, x);
  std::vector<double> row(static_cast<size_t>(c.k));
  for (int64_t n = 0; n < c.n; n += std::max<int64_t>(1, c.n / 97)) {
    for (int64_t k = 0; k < c.k; ++k) {
      const auto at = static_cast<size_t>(n * groups + k / c.group);
      row[k] = static_cast<double>(scales[at]) * meaning_of(c.codes, codes.data() + n * row_bytes, k) +
               (c.codes == DType::u4 ? offsets[at] : 0);
    }
    for (int64_t m = 0; m < c.m; ++m) {
      double sum = 0, size = 0;
      for (int64_t k = 0; k < c.k; ++k) {
        const double product = row[k] * xs[static_cast<size_t>(m * c.k + k)];
        sum += product, size += std::abs(product);
      }
      const double want = 0.5 * sum + (c.bias ? bias.get(n) : 0) + (c.accumulate ? before.get(m * c.n + n) : 0);
      // Rows that are widened are rounded to the type of x; sums of codes have fewer bits than floats.
      const double rounding = m < c.quantized_rows() ? 0x1p-10 : c.m > 64 ? lab::rounding(c.x) : 2e-5;
      // The library rounds a product of codes before it adds it to 16-bit floats.
      const bool twice = m < c.quantized_rows() && c.m > 64 && c.accumulate && c.out != DType::f32;
      const double product = twice ? 0.5 * std::abs(sum) * lab::rounding(c.out) : 0;
      errors.add(got.get(m * c.n + n), want,
                 0.5 * size * rounding / std::sqrt(static_cast<double>(c.k)) * 8 + product + 1e-5,
                 lab::rounding(c.out));
    }
  }
  std::printf("%s %s x %s -> %s m %ld n %ld k %ld group %ld x %ld%s%s%s%s: worst %.2f, relative %.1e\n",
              errors.bad ? "FAILED" : "ok", name_of(c.codes), name_of(c.x), name_of(c.out), c.m, c.n, c.k, c.group,
              c.group_rows, c.quantize_x ? " x quantized" : "", c.floats ? " floats" : "", c.bias ? " bias" : "",
              c.accumulate ? " accumulate" : "", errors.worst, errors.relative());
  return errors.bad == 0;
}

bool check_all(lab::LinearWorkspace& workspace) {
  bool good = true;
  const DType bf16 = DType::bf16, f16 = DType::f16, f32 = DType::f32, e4m3 = DType::e4m3;
  // Many rows of x as codes: a scale of a row, of steps, of blocks.
  for (const auto& [group, rows] : {std::pair<int64_t, int64_t>{4096, 1}, {128, 1}, {128, 128}}) {
    const auto check = [&](Case c) {
      c.group = group, c.group_rows = rows, c.quantize_x = true;
      good &= check_case(c, workspace);
    };
    for (const int64_t m : {65, 66, 128, 1193}) check({e4m3, bf16, bf16, m, 272, 512});
    check({e4m3, bf16, f32, 100, 256, 1024});
    check({e4m3, bf16, f32, 100, 256, 1024, 0, false, false, true});
    check({e4m3, bf16, bf16, 100, 256, 1024, 0, false, false, true});
    check({e4m3, f16, f16, 100, 256, 1024});
    check({e4m3, bf16, bf16, 100, 256, 1024, 0, false, true});  // widened
    check({e4m3, bf16, bf16, 100, 200, 328});
    check({e4m3, bf16, bf16, 100, 144, 328});
    check({e4m3, bf16, bf16, 80, 18560, 4096});  // two pieces
    check({e4m3, bf16, bf16, 70, 48, 200});
    for (const int64_t m : {9, 16, 17, 31, 33, 64}) check({e4m3, bf16, bf16, m, 272, 512});
    for (const int64_t m : {20, 64}) {
      check({e4m3, bf16, f32, m, 18560, 1024, 0, false, true, true});
      check({e4m3, bf16, bf16, m, 4096, 8192});  // pairs of blocks
      check({e4m3, bf16, f32, m, 45, 1672, 0, false, true, true});
      check({e4m3, f16, f32, m, 2400, 1536});
      check({e4m3, f16, f16, m, 40000, 328});
      check({e4m3, bf16, f32, m, 13, 24});
    }
  }
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
    for (const int64_t m : {1, 3, 8}) {
      good &= check_case({codes, DType::bf16, DType::f32, m, 4096, 8192, small, false, true, true}, workspace);
      good &= check_case({codes, DType::f16, DType::f16, m, 45000, 328, small, false, false, false}, workspace);
      good &= check_case({codes, DType::bf16, DType::bf16, m, 2117, 200, small, false, false, false}, workspace);
    }
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
      LinearParams p = {};
      p.m = m, p.n = n, p.k = k, p.x = x.data, p.x_stride = k, p.weight = weight.data, p.out = out.data;
      p.out_stride = n, p.x_dtype = p.out_dtype = DType::bf16, p.weight_dtype = C, p.weight_group = k;
      const auto time = [&](const char* version, auto run) {
        const lab::Times us = bench.time([&](cudaStream_t s) {
          Context context = workspace.on(s);
          run(p, context);
        });
        const std::string name =
            std::string(name_of(C)) + " m=" + std::to_string(m) + " " + std::to_string(k) + "->" + std::to_string(n);
        std::printf("%6.2f TB/s of %6.1f MB  ", bytes / us.clean * 1e-6, bytes * 1e-6);
        report.line("quantized_linear", name, version, us, bytes, {});
      };
      for (const Version& version : versions<C>()) {
        if (version.most_rows < m || version.most_rows > std::max<int64_t>(2 * m - 1, 8)) continue;
        time(version.name, version.run);
      }
      if (run_quantized_ring(p, workspace.context)) time("ring", run_quantized_ring);
      if (m > 1 || C == DType::e2m1 || codes::tiles_of(n) < workspace.context.multiprocessors) continue;
      for (const uint32_t kilobytes : {120u, 190u}) {
        time(("row ring " + std::to_string(kilobytes)).c_str(), [=](const LinearParams& params, Context& context) {
          codes::run_row_ring<bf16, void>(params, {}, {kilobytes}, context);
        });
      }
    }
  }
}

// Many rows of x as codes, with each way of scales, beside those of a widened weight and of a weight of floats.
void time_many_rows(lab::Bench& bench, lab::Report& report, lab::LinearWorkspace& workspace) {
  const int64_t shapes[][2] = {{8192, 8192}, {18560, 4096}, {4096, 8192}};
  for (const auto& [n, k] : shapes) {
    const Buffer weight(static_cast<size_t>(n * k * 2)), x(static_cast<size_t>(8192 * k * 2)),
        out(static_cast<size_t>(8192 * n * 2)), codes(quantized_weight_bytes(n, k, DType::e4m3));
    lab::fill_random_kernel<<<2112, 256>>>(weight.as<__nv_bfloat16>(), n * k, 1);
    lab::fill_random_kernel<<<2112, 256>>>(x.as<__nv_bfloat16>(), 8192 * k, 2);
    LAB_CHECK(cudaDeviceSynchronize());
    Host rows(DType::bf16, n * k);
    LAB_CHECK(cudaMemcpy(rows.bytes.data(), weight.data, rows.bytes.size(), cudaMemcpyDeviceToHost));
    run_pack_linear_weight(
        {n, k, std::make_shared<MemorySource>(rows.bytes.data()), codes.data, DType::bf16, DType::e4m3, 128, true},
        workspace.context);
    LAB_CHECK(cudaStreamSynchronize(workspace.context.stream));
    for (const int64_t m : {8192, 1192, 256, 64, 32, 16}) {
      LinearParams p = {};
      p.m = m, p.n = n, p.k = k, p.x = x.data, p.x_stride = k, p.weight = codes.data, p.out = out.data;
      p.out_stride = n, p.x_dtype = p.out_dtype = DType::bf16, p.weight_dtype = DType::e4m3;
      const auto time = [&](const char* name, auto run) {
        run(workspace.context);  // chooses an algorithm
        LAB_CHECK(cudaStreamSynchronize(workspace.context.stream));
        const lab::Times us = bench.time([&](cudaStream_t s) {
          Context context = workspace.on(s);
          run(context);
        });
        std::printf("%6.0f TFLOP/s  ", 2e-6 * static_cast<double>(m * n * k) / us.clean);
        const std::string shape = "m=" + std::to_string(m) + " " + std::to_string(k) + "->" + std::to_string(n);
        report.line("linear_many_rows", shape, name, us, static_cast<double>(codes.bytes), {});
      };
      const auto op = [&](Context& context) { run_linear(p, context); };
      p.quantize_x = true;
      p.weight_group = k;
      time("scales of rows", op);
      p.weight_group = 128;
      time("scales of groups", op);
      p.weight_group_rows = 128;
      time("scales of blocks", op);
      if (m > 16 && m <= 64) {
        for (const int batch : {1, 2, 3, 4}) {
          p.weight_group = k;
          const auto name = "copies of " + std::to_string(batch);
          const auto run = [&](Context& context) { codes::run_codes<mamba::bf16>(p, context, batch); };
          time((name + ", rows").c_str(), run);
          p.weight_group = 128;
          time((name + ", steps").c_str(), run);
        }
      }
      p.quantize_x = false;
      time("widened", op);
      p.weight = weight.data, p.weight_dtype = DType::bf16, p.weight_group = 0;
      time("bf16", op);
      p.weight = codes.data, p.weight_dtype = DType::e4m3;
      time("x to codes, by rows",
           [&](Context& context) { codes::quantize_x<mamba::bf16>(p, CodeScales::Share::rows, context); });
      time("x to codes, by groups",
           [&](Context& context) { codes::quantize_x<mamba::bf16>(p, CodeScales::Share::groups, context); });
      LinearParams part = p;
      part.n = std::min<int64_t>(n, 4096);
      time("4096 rows of the weight",
           [&](Context& context) { codes::rows_of_weight(part, CodeScales::Share::groups, context); });
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const lab::Options options(argc, argv);
  lab::LinearWorkspace workspace;
  if (options.check && !(check_all(workspace) & check_rows(workspace))) return 1;
  if (!options.time) return 0;
  lab::Bench bench;
  lab::Report report(options);
  report.line("empty", "", "", bench.empty(), 0, {});
  time_many_rows(bench, report, workspace);
  time_codes<DType::e4m3>(bench, report, workspace);
  time_codes<DType::u4>(bench, report, workspace);
  time_codes<DType::e2m1>(bench, report, workspace);
  time_codes<DType::i8>(bench, report, workspace);
  time_row_layers<DType::e4m3, DType::e4m3>(bench, report, workspace);
  time_row_layers<DType::u4, DType::u4>(bench, report, workspace);
  time_row_layers<DType::u4, DType::i8>(bench, report, workspace);
  return 0;
}
