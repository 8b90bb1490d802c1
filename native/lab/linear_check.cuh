#pragma once
// Checks of linear.cu: the ladder's versions, and run_linear and run_pack_linear_weight as the engine calls them.
#include "lab/linear_versions.cuh"

namespace {

using lab::Buffer;
using lab::Host;
using mamba::DType;
using mamba::LinearParams;
using mamba::PackLinearWeightParams;
using mamba::cuda::Context;
using mamba::cuda::kVersions;
using mamba::cuda::Order;
using mamba::cuda::Skinny;
using mamba::cuda::Version;

constexpr size_t kPartialBytes = size_t{64} << 20, kCounterBytes = size_t{1} << 20;

struct Workspace : lab::LinearWorkspace {
  Buffer partials{kPartialBytes}, counters{kCounterBytes};
  Workspace() { LAB_CHECK(cudaMemset(counters.data, 0, counters.bytes)); }
};

bool run(const Version& version, const Skinny& p, Context context, bool early) {
  context.early = early;
  return version.run(p, context);
}

Skinny describe(int64_t m, int64_t n, int64_t k, const void* x, int64_t x_stride, const void* weight, void* out,
                int64_t out_stride, DType out_dtype, const Workspace& workspace) {
  Skinny p = {};
  p.m = m, p.n = n, p.k = k, p.x = x, p.x_stride = x_stride, p.weight = weight, p.out = out, p.out_stride = out_stride;
  p.x_dtype = p.weight_dtype = DType::bf16, p.out_dtype = out_dtype;
  p.partials = workspace.partials.as<float>(), p.counters = workspace.counters.as<uint32_t>();
  p.vector_x = mamba::cuda::vector_x(p);
  return p;
}

uint64_t next_seed() {
  static uint64_t seed = static_cast<uint64_t>(std::time(nullptr)) << 20;
  return seed++;
}

// The product in float64, [m][n], and what float sums may be off by.
struct Expected {
  std::vector<double> values, slack;
  Expected(const Host& x, int64_t x_stride, const Host& w, const Host* bias, int64_t m, int64_t n, int64_t k) {
    std::vector<float> wf(static_cast<size_t>(n * k)), xf(static_cast<size_t>(m * k));
    for (int64_t i = 0; i < n * k; ++i) wf[static_cast<size_t>(i)] = static_cast<float>(w.get(i));
    for (int64_t i = 0; i < m * k; ++i) {
      xf[static_cast<size_t>(i)] = static_cast<float>(x.get(i / k * x_stride + i % k));
    }
    values.resize(static_cast<size_t>(m * n)), slack.resize(values.size());
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        double sums[4] = {}, sizes[4] = {};
        const float *a = xf.data() + i * k, *b = wf.data() + j * k;
        for (int64_t c = 0; c < k; ++c) {
          const double product = static_cast<double>(a[c]) * static_cast<double>(b[c]);
          sums[c % 4] += product, sizes[c % 4] += std::abs(product);
        }
        const size_t at = static_cast<size_t>(i * n + j);
        values[at] = sums[0] + sums[1] + sums[2] + sums[3];
        slack[at] = 1e-6 * (sizes[0] + sizes[1] + sizes[2] + sizes[3]) + 1e-6;
        if (bias) values[at] += bias->get(j), slack[at] += 1e-5;
      }
    }
  }
};

struct Tally {
  int64_t checks = 0, failed = 0, unsteady = 0, by_m = 0;
  double worst = 0;
};

void check(int64_t m, int64_t n, int64_t k, DType out_dtype, bool with_bias, int x_padding, const Workspace& workspace,
           Tally& tally) {
  lab::Random random{lab::mix(next_seed())};
  const int64_t x_stride = k + x_padding, out_stride = n + 5;
  Host x(DType::bf16, m * x_stride), w(DType::bf16, n * k), bias(DType::f32, n);
  x.fill_normal(random), bias.fill_normal(random), w.fill_uniform(random, -1, 1);
  const Expected expected(x, x_stride, w, with_bias ? &bias : nullptr, m, n, k);
  const std::vector<uint16_t> packed = mamba::cuda::pack(reinterpret_cast<const uint16_t*>(w.bytes.data()), n, k);
  const std::vector<uint16_t> wide = mamba::cuda::pack_wide(reinterpret_cast<const uint16_t*>(w.bytes.data()), n, k);
  const Buffer dx(x), dw(mamba::cuda::linear_weight_bytes(n, k, DType::bf16)), dbias(bias), dwide(wide.size() * 2),
      dpacked(packed.size() * 2);
  LAB_CHECK(cudaMemcpy(dw.data, w.bytes.data(), w.bytes.size(), cudaMemcpyHostToDevice));
  LAB_CHECK(cudaMemcpy(dpacked.data, packed.data(), dpacked.bytes, cudaMemcpyHostToDevice));
  LAB_CHECK(cudaMemcpy(dwide.data, wide.data(), dwide.bytes, cudaMemcpyHostToDevice));
  Buffer out(static_cast<size_t>(m * out_stride) * mamba::size_of(out_dtype));
  for (const Version& version : kVersions) {
    const void* weight = version.order == Order::rows    ? dw.data
                         : version.order == Order::tiles ? dpacked.data
                                                         : dwide.data;
    Skinny p = describe(m, n, k, dx.data, x_stride, weight, out.data, out_stride, out_dtype, workspace);
    if (with_bias) p.bias = dbias.as<float>();
    out.poison();
    if (!run(version, p, workspace.context, false)) continue;
    LAB_CHECK(cudaDeviceSynchronize());
    const Host got = out.download(out_dtype);
    out.poison();
    run(version, p, workspace.context, true);
    LAB_CHECK(cudaDeviceSynchronize());
    const bool steady = out.download(out_dtype).bytes == got.bytes;
    // The first row alone.
    p.m = 1;
    out.poison();
    run(version, p, workspace.context, false);
    LAB_CHECK(cudaDeviceSynchronize());
    const Host alone = out.download(out_dtype);
    const bool same =
        std::memcmp(alone.bytes.data(), got.bytes.data(), static_cast<size_t>(n) * size_of(out_dtype)) == 0;
    lab::Errors errors;
    bool padding = true;
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < out_stride; ++j) {
        const double value = got.get(i * out_stride + j);
        if (j >= n) {
          padding = padding && std::isnan(value);
        } else {
          const size_t at = static_cast<size_t>(i * n + j);
          errors.add(value, expected.values[at], expected.slack[at], lab::rounding(out_dtype));
        }
      }
    }
    ++tally.checks, tally.worst = std::max(tally.worst, errors.worst);
    tally.unsteady += !steady, tally.by_m += !same;
    if (errors.bad == 0 && padding && steady && same) continue;
    const bool wrong = errors.bad > 0 || !padding || !steady;
    tally.failed += wrong;
    std::printf("%s %s: m %ld n %ld k %ld %s: %ld bad (rel %.2e)%s%s%s\n", wrong ? "FAILED" : "note", version.name,
                static_cast<long>(m), static_cast<long>(n), static_cast<long>(k), name_of(out_dtype),
                static_cast<long>(errors.bad), errors.relative(), padding ? "" : ", wrote outside",
                steady ? "" : ", not the same bits twice", same ? "" : ", row 0 depends on m");
  }
}

bool check_all(bool quick, const Workspace& workspace) {
  Tally tally;
  const DType f32 = DType::f32, half = DType::bf16;
  check(1, 16, 32, f32, false, 0, workspace, tally);
  check(1, 1, 8, half, false, 0, workspace, tally);
  check(3, 24, 64, half, true, 8, workspace, tally);
  check(2, 37, 129, f32, false, 3, workspace, tally);
  check(5, 100, 200, half, false, 0, workspace, tally);
  check(7, 77, 104, f32, true, 1, workspace, tally);
  check(16, 48, 1000, half, false, 8, workspace, tally);
  check(13, 333, 77, half, true, 0, workspace, tally);
  check(33, 130, 520, half, false, 0, workspace, tally);
  check(64, 257, 776, f32, true, 16, workspace, tally);
  if (!quick) {
    check(1, 3352, 768, half, false, 0, workspace, tally);
    check(8, 3352, 768, half, true, 0, workspace, tally);
    check(4, 768, 1536, half, false, 3352 - 1536, workspace, tally);
    check(64, 768, 1536, half, false, 0, workspace, tally);
    check(2, 2560, 5120, f32, false, 0, workspace, tally);
    check(17, 1040, 2560, half, false, 0, workspace, tally);
    check(8, 10576, 2560, half, false, 0, workspace, tally);
    check(4, 1024, 8192, half, false, 0, workspace, tally);
  }
  std::printf("ladder: %ld checks, %ld failed, %ld unsteady, %ld where row 0 depends on m, worst %.3f of the allowed\n",
              static_cast<long>(tally.checks), static_cast<long>(tally.failed), static_cast<long>(tally.unsteady),
              static_cast<long>(tally.by_m), tally.worst);
  return tally.failed == 0;
}

// --- the op as the engine calls it ----------------------------------------------------------------------------------
struct Row {
  int64_t m, n, k;
  DType x, source, weight, out;
  bool bias = false;
  int x_pad = 0, out_pad = 0, shift = 0;  // elements; the shift is of the first element of x and out
};

// Guard elements before, between and after the rows of out keep their bits.
struct OutArea {
  const Row& row;
  int64_t stride, count;
  Buffer data;
  explicit OutArea(const Row& r)
      : row(r),
        stride(r.n + r.out_pad),
        count(8 + r.shift + r.m * stride + 8),
        data(static_cast<size_t>(count) * size_of(r.out)) {}
  void* first() const { return data.as<char>() + (8 + row.shift) * static_cast<int64_t>(size_of(row.out)); }
  bool guarded(const Host& got) const {
    for (int64_t i = 0; i < count; ++i) {
      const int64_t at = i - 8 - row.shift;
      const bool inside = at >= 0 && at < row.m * stride && at % stride < row.n;
      const size_t size = size_of(row.out);
      for (size_t b = 0; b < size && !inside; ++b) {
        if (got.bytes[static_cast<size_t>(i) * size + b] != 0xff) return false;
      }
    }
    return true;
  }
};

Host converted(const Host& from, DType to) {
  Host made(to, from.size());
  for (int64_t i = 0; i < from.size(); ++i) made.set(i, from.get(i));
  return made;
}

bool check_row(const Row& row, Workspace& workspace) {
  lab::Random random{lab::mix(next_seed())};
  const auto [m, n, k] = std::tuple(row.m, row.n, row.k);
  const int64_t x_stride = k + row.x_pad;
  Host x(row.x, row.shift + m * x_stride + 8), source(row.source, n * k), bias(DType::f32, n);
  x.fill_normal(random), bias.fill_normal(random), source.fill_normal(random, 1 / std::sqrt(static_cast<double>(k)));
  const Host weight = converted(source, row.weight);
  Host values(row.x, m * x_stride + 8);
  std::memcpy(values.bytes.data(), x.bytes.data() + row.shift * size_of(row.x), values.bytes.size());
  const Expected expected(values, x_stride, weight, row.bias ? &bias : nullptr, m, n, k);
  const Buffer dx(x), dbias(bias), dweight(mamba::cuda::linear_weight_bytes(n, k, row.weight));
  Context context = workspace.context;
  context.workspace_bytes = size_t{1} << 16;  // pieces
  mamba::cuda::run_pack_linear_weight(
      {n, k, std::make_shared<mamba::MemorySource>(source.bytes.data()), dweight.data, row.source, row.weight},
      context);
  context.workspace_bytes = workspace.context.workspace_bytes;
  bool packed = !context.early;
  LAB_CHECK(cudaStreamSynchronize(context.stream));
  Host stored = dweight.download(row.weight);
  stored.bytes.resize(weight.bytes.size());
  packed = packed && stored.bytes == weight.bytes;
  OutArea out(row);
  LinearParams p = {};
  p.m = m, p.n = n, p.k = k, p.x = dx.as<char>() + row.shift * size_of(row.x), p.x_stride = x_stride;
  p.weight = dweight.data, p.bias = row.bias ? dbias.as<float>() : nullptr, p.out = out.first();
  p.out_stride = out.stride, p.x_dtype = row.x, p.weight_dtype = row.weight, p.out_dtype = row.out;
  std::vector<Host> results;
  cudaGraphNodeType last_node = cudaGraphNodeTypeKernel;
  for (int i = 0; i < 3; ++i) {
    out.data.poison();
    LAB_CHECK(cudaDeviceSynchronize());
    context.early = false;
    if (i < 2) {
      mamba::cuda::run_linear(p, context);
    } else {  // as a graph
      cudaGraph_t graph;
      cudaGraphExec_t executable;
      LAB_CHECK(cudaStreamBeginCapture(context.stream, cudaStreamCaptureModeThreadLocal));
      mamba::cuda::run_linear(p, context);
      mamba::cuda::run_linear(p, context);
      LAB_CHECK(cudaStreamEndCapture(context.stream, &graph));
      cudaGraphNode_t nodes[64];
      size_t count = 64;
      LAB_CHECK(cudaGraphGetNodes(graph, nodes, &count));
      for (size_t node = 0; node < count; ++node) {
        cudaGraphNodeType type;
        LAB_CHECK(cudaGraphNodeGetType(nodes[node], &type));
        if (type != cudaGraphNodeTypeKernel) last_node = type;
      }
      LAB_CHECK(cudaGraphInstantiate(&executable, graph, 0));
      LAB_CHECK(cudaGraphLaunch(executable, context.stream));
      LAB_CHECK(cudaStreamSynchronize(context.stream));
      LAB_CHECK(cudaGraphExecDestroy(executable));
      LAB_CHECK(cudaGraphDestroy(graph));
    }
    LAB_CHECK(cudaDeviceSynchronize());
    results.push_back(out.data.download(row.out));
  }
  const bool steady = results[0].bytes == results[1].bytes && results[0].bytes == results[2].bytes;
  lab::Errors errors;
  for (int64_t i = 0; i < m * n; ++i) {
    errors.add(results[0].get(8 + row.shift + i / n * out.stride + i % n), expected.values[static_cast<size_t>(i)],
               expected.slack[static_cast<size_t>(i)], lab::rounding(row.out));
  }
  // Rows alone, where the op promises the same bits.
  bool same = true;
  if (row.x == row.weight && (m <= 8 || n * k <= 64 << 10)) {
    for (const int64_t i : {int64_t{0}, m / 2, m - 1}) {
      LinearParams one = p;
      one.m = 1, one.x = static_cast<const char*>(p.x) + i * x_stride * static_cast<int64_t>(size_of(row.x));
      out.data.poison();
      LAB_CHECK(cudaDeviceSynchronize());
      if (row.x == DType::f32 && n * k > 64 << 10) break;
      mamba::cuda::run_linear(one, context);
      LAB_CHECK(cudaDeviceSynchronize());
      const Host alone = out.data.download(row.out);
      const size_t size = size_of(row.out);
      same = same && std::memcmp(alone.bytes.data() + (8 + row.shift) * size,
                                 results[0].bytes.data() + (8 + row.shift + i * out.stride) * size, n * size) == 0;
    }
  }
  const bool guarded = out.guarded(results[0]) && out.guarded(results[2]);
  if (errors.bad == 0 && packed && steady && same && guarded && last_node == cudaGraphNodeTypeKernel) return true;
  std::printf(
      "FAILED op: m %ld n %ld k %ld %s x %s (from %s) -> %s bias %d pads %d %d shift %d: %ld bad (rel "
      "%.2e)%s%s%s%s%s\n",
      static_cast<long>(m), static_cast<long>(n), static_cast<long>(k), name_of(row.x), name_of(row.weight),
      name_of(row.source), name_of(row.out), row.bias, row.x_pad, row.out_pad, row.shift, static_cast<long>(errors.bad),
      errors.relative(), packed ? "" : ", packed otherwise", steady ? "" : ", not the same bits again",
      same ? "" : ", a row depends on others", guarded ? "" : ", wrote outside",
      last_node == cudaGraphNodeTypeKernel ? "" : ", not only kernels");
  return false;
}

bool check_op(bool quick, Workspace& workspace) {
  const DType f32 = DType::f32, bf16 = DType::bf16, f16 = DType::f16;
  std::vector<Row> rows;
  // Every path with every combination of types.
  for (const DType x : {f32, bf16, f16}) {
    for (const DType weight : {f32, bf16, f16}) {
      for (const DType out : {f32, x}) {
        if (x == f32 && !rows.empty() && rows.back().x == f32 && rows.back().weight == weight) continue;
        for (const int64_t k : {8, 24, 40}) rows.push_back({3, 21, k, x, weight, weight, out});
        for (const int64_t m : {1, 9, 19}) {
          rows.push_back({m, 48, 64, x, f32, weight, out});
          rows.push_back({m, 33, 45, x, bf16, weight, out, true, 7, 5, 1});
          rows.push_back({m, 300, 520, x, f16, weight, out, true, 0, 0, 0});
          rows.push_back({m, 301, 1032, x, weight, weight, out, true, 7, 5, 1});
          rows.push_back({m, 260, 1024, x, weight, weight, out, false, 8, 8, 8});
        }
      }
    }
  }
  for (const DType type : {f32, bf16, f16}) {
    for (const int64_t m : {1, 2, 17, 200}) rows.push_back({m, 48, 64, type, type, type, type});
    for (const int64_t n : {1, 33, 1000}) rows.push_back({5, n, 64, type, type, type, type});
    for (const int64_t k : {1, 3, 65, 2048}) rows.push_back({5, 48, k, type, type, type, type});
    rows.push_back({33, 45, 131, type, type, type, type, true});
    rows.push_back({130, 300, 2048, type, type, type, type});
    rows.push_back({130, 300, 2048, type, type, type, type, true});
    rows.push_back({40, 1001, 333, type, type, type, f32, true, 1, 2, 3});
    if (quick) continue;
    for (const int64_t m : {1, 8, 16, 31, 64, 65, 100, 129}) rows.push_back({m, 1024, 768, type, type, type, type});
    rows.push_back({8, 3352, 768, type, type, type, type});
    rows.push_back({64, 1024, 4096, type, type, type, f32});
    rows.push_back({3, 768, 1536, type, type, type, type});
    rows.push_back({12, 264, 8192, type, type, type, type});
  }
  int64_t failed = 0;
  const size_t step = quick ? 7 : 1;
  for (size_t i = 0; i < rows.size(); i += step) failed += !check_row(rows[i], workspace);
  // Addresses without memory in a capture that is thrown away; shapes that have no plan yet.
  for (const DType type : {f32, bf16}) {
    for (const int64_t m : {1, 16, 77, 5000}) {
      LinearParams p = {};
      p.m = m, p.n = 2048, p.k = 1536, p.x = reinterpret_cast<void*>(uintptr_t{1} << 45), p.x_stride = 1536;
      p.weight = reinterpret_cast<void*>((uintptr_t{1} << 45) + (1 << 30)), p.out_stride = 2048;
      p.out = reinterpret_cast<void*>((uintptr_t{1} << 45) + (2u << 30));
      p.x_dtype = p.weight_dtype = p.out_dtype = type;
      Context context = workspace.context;
      cudaGraph_t graph;
      LAB_CHECK(cudaStreamBeginCapture(context.stream, cudaStreamCaptureModeThreadLocal));
      mamba::cuda::run_linear(p, context);
      LAB_CHECK(cudaStreamEndCapture(context.stream, &graph));
      LAB_CHECK(cudaGraphDestroy(graph));
      LAB_CHECK(cudaDeviceSynchronize());
    }
  }
  std::printf("op: %zu rows, %ld failed\n", rows.size(), static_cast<long>(failed));
  return failed == 0;
}

}  // namespace
