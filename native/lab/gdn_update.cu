// gdn_update (ops/gdn.h) on one GPU: the kernels of native/cuda/gdn_tiles.cuh in several shapes, checked against the
// recurrence in float64 and timed beside a copy of as many bytes. Built and run as native/lab/README.md says.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "cuda/gdn_tiles.cuh"
#include "cuda/gdn_update.h"
#include "cuda/kernels.h"
#include "lab/context.cuh"
#include "lab/gdn_problem.cuh"

namespace {

using namespace mamba;
using namespace mamba::cuda;
using lab::Buffer;
using lab::context_of;
using lab::GdnProblem;
using lab::GdnShape;
using lab::Host;

struct Version {
  std::string name;
  DType state;
  std::function<void(const GdnUpdateParams&, Context&)> run;
  bool any = false;
};

template <class S, int Lanes, int Rows, int Warps, int Walk, Keep K = Keep::nothing>
Version tiles() {
  using Part = gdn::Tile<bf16, S, Lanes, Rows>;
  const char* kept[] = {"", " keep written", " keep all"};
  return {"L" + std::to_string(Lanes) + " R" + std::to_string(Rows) + " W" + std::to_string(Warps) + " K" +
              std::to_string(Walk) + kept[static_cast<int>(K)],
          std::is_same_v<S, float> ? DType::f32 : DType::bf16, [](const GdnUpdateParams& p, Context& context) {
            constexpr int kBlocks = gdn::kDim / (Part::kRows * Warps * Walk);
            launch(context, {.grid = p.rows * p.value_heads * kBlocks, .block = Warps * 32},
                   gdn::tiles_kernel<Part, Warps, Walk, K, true>, p, static_cast<int>(p.value_heads / p.key_heads),
                   false);
          }};
}

const std::vector<Version> kVersions = {
    {"dispatch", DType::f32, run_gdn_update, true},
    tiles<float, 16, 2, 4, 1>(),
    tiles<float, 16, 4, 4, 1>(),
    tiles<float, 16, 4, 2, 2>(),
    tiles<float, 16, 4, 2, 4>(),
    tiles<float, 16, 4, 2, 4, Keep::written>(),
    tiles<float, 16, 4, 2, 2, Keep::all>(),
    tiles<float, 16, 4, 1, 2, Keep::all>(),
    tiles<float, 16, 4, 1, 4, Keep::all>(),
    tiles<float, 16, 4, 2, 4, Keep::all>(),
    tiles<float, 16, 2, 2, 4, Keep::all>(),
    tiles<float, 32, 4, 2, 4, Keep::all>(),
    tiles<float, 32, 4, 1, 4, Keep::all>(),
    tiles<bf16, 16, 2, 4, 1>(),
    tiles<bf16, 16, 4, 2, 1>(),
    tiles<bf16, 16, 4, 2, 4, Keep::written>(),
    tiles<bf16, 16, 4, 1, 2, Keep::all>(),
    tiles<bf16, 16, 4, 1, 4, Keep::all>(),
    tiles<bf16, 16, 4, 2, 2, Keep::all>(),
    tiles<bf16, 16, 4, 2, 4, Keep::all>(),
    tiles<bf16, 16, 8, 1, 2, Keep::all>(),
    tiles<bf16, 16, 8, 1, 4, Keep::all>(),
    tiles<bf16, 16, 8, 2, 2, Keep::all>(),
};

GdnUpdateParams params_of(const GdnProblem& problem, int64_t tokens_per_row, const Buffer& slots) {
  GdnUpdateParams p = {};
  problem.fill(p);
  p.tokens_per_row = tokens_per_row, p.rows = problem.tokens / tokens_per_row, p.slots = slots.as<int32_t>();
  return p;
}

bool check(GdnShape shape, int rows, int tokens_per_row, uint64_t seed) {
  shape.lengths.assign(static_cast<size_t>(rows), tokens_per_row);
  shape.all_initial = 1;
  GdnProblem problem(shape, seed);
  const Buffer slots(problem.slots);
  const GdnUpdateParams p = params_of(problem, tokens_per_row, slots);
  std::vector<std::vector<double>> out(static_cast<size_t>(rows * shape.value_heads)), state(out.size());
  const auto used = [&](int s) { return problem.slots[s] >= 0 && problem.slots[s] < problem.slots_in_pool; };
  lab::for_heads(rows, shape.value_heads, [&](int s, int h) {
    if (used(s)) problem.reference(s, h, true, out[s * shape.value_heads + h], state[s * shape.value_heads + h]);
  });
  const auto unit = [](DType t) { return t == DType::f32 ? 2e-6 : t == DType::bf16 ? 4e-3 : 6e-4; };
  bool good = true;
  for (const Version& version : kVersions) {
    const bool fits =
        shape.dtype == DType::bf16 && shape.state == version.state && tokens_per_row == 1 && gdn_tiles_fit(p);
    if (!version.any && !fits) continue;
    problem.reset();
    Context context = context_of(nullptr);
    version.run(p, context);
    LAB_CHECK(cudaGetLastError());
    LAB_CHECK(cudaDeviceSynchronize());
    const Host got = problem.dout->download(shape.dtype), after = problem.dstate->download(shape.state);
    double worst = 0, worst_state = 0, far = 0;
    int64_t wrong = 0;
    for (int s = 0; s < rows; ++s) {
      for (int h = 0; h < shape.value_heads; ++h) {
        lab::GdnError of_out, of_state;
        const int64_t count = int64_t{tokens_per_row} * shape.value_dim;
        for (int64_t i = 0; i < count; ++i) {
          const double value = got.get((problem.start[s] + i / shape.value_dim) * problem.out_stride +
                                       h * shape.value_dim + i % shape.value_dim);
          used(s) ? of_out.add(value, out[s * shape.value_heads + h][static_cast<size_t>(i)])
                  : void(wrong += value != 0);
        }
        if (!used(s)) continue;
        const auto& expected = state[s * shape.value_heads + h];
        const int64_t at = problem.slots[s] * problem.slot_stride + h * static_cast<int64_t>(expected.size());
        for (size_t i = 0; i < expected.size(); ++i) of_state.add(after.get(at + static_cast<int64_t>(i)), expected[i]);
        worst = std::max(worst, of_out.relative()), worst_state = std::max(worst_state, of_state.relative());
        far = std::max(far, of_out.worst());
        wrong += !of_out.finite || !of_state.finite;
      }
    }
    std::vector<bool> owned(static_cast<size_t>(problem.slots_in_pool));
    for (int s = 0; s < rows; ++s) {
      if (used(s)) owned[problem.slots[s]] = true;
    }
    const size_t element = size_of(shape.state);
    for (int slot = 0; slot < problem.slots_in_pool; ++slot) {
      const auto begin = static_cast<int64_t>(slot * problem.slot_stride * element);
      const int64_t skip = owned[slot] ? static_cast<int64_t>(problem.slot_size * element) : 0;
      const int64_t end = static_cast<int64_t>((slot + 1) * problem.slot_stride * element);
      wrong += !std::equal(after.bytes.begin() + begin + skip, after.bytes.begin() + end,
                           problem.state.bytes.begin() + begin + skip);
    }
    // A state rounded between tokens may round the other way.
    const double allowed = unit(shape.dtype) + (tokens_per_row > 1 ? unit(shape.state) : 0);
    const bool fine = worst < allowed + 4e-6 && worst_state < unit(shape.state) + 4e-6 && wrong == 0;
    if (!fine) {
      std::printf("FAILED %-24s rows %d x %d heads %d/%d %s %s %s: out %.2e (%.2e) state %.2e wrong %ld\n",
                  version.name.c_str(), rows, tokens_per_row, shape.key_heads, shape.value_heads, name_of(shape.dtype),
                  name_of(shape.gate), name_of(shape.state), worst, far, worst_state, static_cast<long>(wrong));
    }
    good = good && fine;
  }
  return good;
}

bool check_all() {
  bool good = true;
  uint64_t seed = 1;
  int count = 0;
  const auto row = [&](const GdnShape& shape, int rows, int tokens) {
    good = check(shape, rows, tokens, seed++) && good;
    ++count;
  };
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    for (const DType state : {DType::f32, DType::bf16, DType::f16}) {
      for (const int tokens : {1, 3}) {
        row({.dtype = dtype,
             .gate = seed % 2 ? DType::f32 : dtype,
             .state = state,
             .wide = tokens == 3,
             .pad = 8,
             .padding = 1},
            5, tokens);
      }
    }
  }
  for (const int ratio : {1, 2, 3, 4, 8}) {
    for (const DType state : {DType::f32, DType::bf16}) {
      row({.key_heads = 2, .value_heads = 2 * ratio, .state = state}, 7, 1);
      row({.key_heads = 2, .value_heads = 2 * ratio, .state = state, .padding = 4}, 70, 1);
    }
  }
  for (const lab::GateKind gates : {lab::GateKind::near_zero, lab::GateKind::near_one, lab::GateKind::mixed}) {
    row({.gates = gates, .keys = lab::KeyKind::repeated}, 3, 4);
  }
  std::printf("%d rows, %s\n", count, good ? "all good" : "NOT GOOD");
  return good;
}

void time_all(const lab::Options& o) {
  lab::Bench bench;
  lab::Report report(o);
  report.line("empty", "", "", bench.empty(), 0, {});
  for (const DType state : {DType::f32, DType::bf16}) {
    for (const int rows : {1, 8, 64, 256, 1024}) {
      GdnShape shape = {
          .key_heads = 16, .value_heads = 16, .state = state, .wide = true, .all_initial = 1, .large = true};
      shape.lengths.assign(static_cast<size_t>(rows), 1);
      GdnProblem problem(shape, 1);
      const Buffer slots(problem.slots);
      const GdnUpdateParams p = params_of(problem, 1, slots);
      const double bytes = rows * (2.0 * static_cast<double>(problem.slot_size) * static_cast<double>(size_of(state)) +
                                   4.0 * problem.keys + 4.0 * problem.values + 8.0 * shape.value_heads + 4);
      const lab::Times copy = bench.copy(bytes);
      const std::string name = std::string(name_of(state)) + " B=" + std::to_string(rows);
      report.line("gdn_update", name, "in place copy", bench.in_place(bytes), bytes, copy);
      for (const Version& version : kVersions) {
        if (!version.any && version.state != state) continue;
        const lab::Times us = bench.time([&](cudaStream_t s) {
          Context context = context_of(s);
          version.run(p, context);
        });
        report.line("gdn_update", name, version.name, us, bytes, copy);
        if (!version.any || rows > 8) continue;
        lab::Times chain = bench.time([&](cudaStream_t s) {
          Context context = context_of(s);
          for (int i = 0; i < 20; ++i) version.run(p, context);
        });
        chain.event /= 20, chain.clean /= 20;
        report.line("gdn_update", name, version.name + ", each of 20", chain, bytes, copy);
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const lab::Options options(argc, argv);
  const bool good = !options.check || check_all();
  if (!good) std::printf("WRONG RESULTS\n");
  if (options.time) time_all(options);
  return good ? 0 : 1;
}
