#pragma once
// Times of linear.cu: versions alone, in chains of in_proj and out_proj, and in chains with the small kernels of a
// layer.
#include "lab/linear_check.cuh"
#include "lab/linear_layers.cuh"

namespace {

__global__ void fill_kernel(mamba::bf16* to, int64_t n, float scale, uint64_t seed) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < n; i += int64_t{gridDim.x} * blockDim.x) {
    uint64_t z = (i + seed) * 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 29)) * 0xbf58476d1ce4e5b9ull;
    to[i] =
        mamba::cuda::rounded<mamba::bf16>(scale * static_cast<float>(static_cast<int32_t>((z >> 32) ^ z)) * 0x1p-31f);
  }
}

// The results of earlier commits hold the times of the others.
bool timed(const char* version) {
  for (const char* name : {"op", "library", "frag", "packed C1 T1 W8 D4", "packed C2"}) {
    if (std::strncmp(version, name, std::strlen(name)) == 0) return !std::strstr(version, "ahead");
  }
  return false;
}

void time_shapes(lab::Bench& bench, lab::Report& report, const Workspace& workspace, const Buffer& weights,
                 const Buffer& x, const Buffer& out, uint32_t* sink) {
  const auto time_shape = [&](const std::string& shape, int64_t n, int64_t k, DType type) {
    const double weight_bytes = 2.0 * static_cast<double>(n * k);
    const lab::Times copy = bench.copy(weight_bytes);
    report.line("linear", shape, "read only", read_floor(bench, weights.data, weight_bytes, sink), weight_bytes, copy);
    for (const int64_t m : {1, 8, 16, 32, 64, 256, 8192}) {
      if (m > 256 && type == DType::f32) continue;
      const std::string name = shape + " m=" + std::to_string(m);
      const double bytes = weight_bytes + static_cast<double>(m) * (2.0 * k + static_cast<double>(size_of(type)) * n);
      const Skinny p = describe(m, n, k, x.data, k, weights.data, out.data, n, type, workspace);
      for (const Version& version : kVersions) {
        if (!timed(version.name) || !mamba::cuda::fits(version, m) || std::strchr(version.name, '@')) continue;
        if (m > 16 && std::strcmp(version.name, "op") != 0) continue;
        if (!run(version, p, workspace.on(bench.stream()), false)) continue;
        const lab::Times us = bench.time([&](cudaStream_t s) { run(version, p, workspace.on(s), false); });
        report.line("linear", name, version.name, us, bytes, copy);
        if (m >= 256)
          std::printf("  %.0f TFLOP/s\n", 2e-6 * static_cast<double>(m * n) * static_cast<double>(k) / us.event);
      }
    }
  };
  for (const Model& model : kModels) {
    const std::string name = model.name;
    time_shape(name + " in_proj", model.in_n, model.in_k, DType::bf16);
    time_shape(name + " out_proj", model.out_n, model.out_k, DType::bf16);
    time_shape(name + " lm_head", model.head_n, model.in_k, DType::f32);
  }
}

// --- chains ---------------------------------------------------------------------------------------------------------
void time_chains(lab::Bench& bench, lab::Report& report, const Workspace& workspace, const Buffer& weights,
                 const Buffer& x, const Buffer& out, const Buffer& state, uint32_t* sink) {
  for (const Model& model : kModels) {
    const int64_t in_size = (model.in_n + 63) / 64 * 64 * model.in_k, out_size = model.out_n * model.out_k;
    const double bytes = 2.0 * static_cast<double>(model.layers * (in_size + out_size));
    const lab::Times copy = bench.copy(bytes);
    const std::string chain = std::string(model.name) + " x" + std::to_string(model.layers);
    report.line("linear", chain, "read only", read_floor(bench, weights.data, bytes, sink), bytes, copy);
    for (const int64_t m : {1, 8, 16}) {
      // in_proj reads x and writes `out`; out_proj reads from `out` and writes x.
      const auto layer = [&](int64_t i, bool second) {
        auto* w = weights.as<mamba::bf16>() + i * (in_size + out_size) + (second ? in_size : 0);
        return second ? describe(m, model.out_n, model.out_k, out.data, model.in_n, w, x.data, model.in_k, DType::bf16,
                                 workspace)
                      : describe(m, model.in_n, model.in_k, x.data, model.in_k, w, out.data, model.in_n, DType::bf16,
                                 workspace);
      };
      const std::string pairs = chain + " pairs m=" + std::to_string(m),
                        layers = chain + " layers m=" + std::to_string(m);
      const lab::Times none = bench.time([&](cudaStream_t s) {
        Context context = workspace.on(s);
        run_layers(model, m, x, out, state, context, true, [](Context&, int64_t, bool) {});
      });
      report.line("linear", layers, "without linear", none, bytes, copy);
      for (const Version& version : kVersions) {
        if (!timed(version.name) || !mamba::cuda::fits(version, m)) continue;
        if (!run(version, layer(0, false), workspace.on(bench.stream()), false)) continue;
        if (!run(version, layer(0, true), workspace.on(bench.stream()), false)) continue;
        const lab::Times us = bench.time([&](cudaStream_t s) {
          Context context = workspace.on(s);
          for (int64_t i = 0; i < model.layers; ++i) {
            version.run(layer(i, false), context), version.run(layer(i, true), context);
          }
        });
        report.line("linear", pairs, version.name, us, bytes, copy);
        const auto linear = [&](Context& context, int64_t i, bool second) { version.run(layer(i, second), context); };
        const lab::Times whole = bench.time([&](cudaStream_t s) {
          Context context = workspace.on(s);
          run_layers(model, m, x, out, state, context, true, linear);
        });
        report.line("linear", layers, version.name, whole, bytes, copy);
        // The same bits with and without the early start.
        std::vector<Host> ends;
        for (const bool early : {false, true}) {
          Context context = workspace.on(bench.stream());
          fill_kernel<<<64, 256, 0, bench.stream()>>>(x.as<mamba::bf16>(), 64 * 8192, 1.0f, 2);
          run_layers(model, m, x, out, state, context, early, linear);
          LAB_CHECK(cudaStreamSynchronize(bench.stream()));
          ends.push_back(x.download(DType::bf16));
        }
        if (ends[0].bytes != ends[1].bytes)
          std::printf("FAILED %s %s: the early start changes bits\n", layers.c_str(), version.name);
      }
    }
  }
}

void time_all(lab::Bench& bench, lab::Report& report, const Workspace& workspace) {
  constexpr size_t kWeights = size_t{2} << 30;
  const Buffer weights(kWeights), x(8192 * 8192 * 2), out(8192 * 18560 * 2), state(16 * 128 * 64 * 128 * 2), sink(16);
  fill_kernel<<<2112, 256>>>(weights.as<mamba::bf16>(), kWeights / 2, 0.02f, 1);
  fill_kernel<<<2112, 256>>>(x.as<mamba::bf16>(), 8192 * 8192, 1.0f, 2);
  LAB_CHECK(cudaMemset(state.data, 0, state.bytes));
  LAB_CHECK(cudaDeviceSynchronize());
  time_shapes(bench, report, workspace, weights, x, out, sink.as<uint32_t>());
  time_chains(bench, report, workspace, weights, x, out, state, sink.as<uint32_t>());
}

}  // namespace
