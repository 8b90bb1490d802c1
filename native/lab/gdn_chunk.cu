// gdn_chunk (ops/gdn.h) on one GPU: its form for Hopper with sequences cut into segments of several lengths, checked
// against the recurrence in float64 and timed. Built and run as native/lab/README.md says.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <array>
#include <mutex>

#include "cuda/gdn_chunk.h"
#include "cuda/kernels.h"
#include "lab/context.cuh"
#include "lab/gdn_problem.cuh"

namespace {

using namespace mamba;
using lab::Buffer;
using lab::GateKind;
using lab::GdnProblem;
using lab::GdnShape;
using lab::Host;
using lab::KeyKind;

constexpr int kWhole = 1 << 20;  // chunks of a segment: no sequence is cut

struct Version {
  std::string name;
  int least;  // chunks of a segment; 0: the op
  cuda::GdnCut cut() const { return {least, 32, 32}; }
};
const std::vector<Version> kVersions = {{"dispatch", 0}, {"walk whole", kWhole}, {"walk 8", 8},
                                        {"walk 16", 16}, {"walk 32", 32},        {"walk 64", 64}};

constexpr int kAllBlocks = 1 << 30;

struct Gpu {
  lab::Workspace workspace;
  int most_blocks = kAllBlocks;  // with few of them each walks many items
  cuda::Context context(cudaStream_t stream) const {
    cuda::Context context = workspace.on(stream);
    context.multiprocessors = std::min(context.multiprocessors, most_blocks);
    return context;
  }
};

// A problem with the metadata of its chunks.
struct Problem : GdnProblem {
  std::vector<int32_t> chunks = {0}, chunk_seq, last_chunk;
  std::optional<Buffer> start_, slots_, initial_, chunks_, chunk_seq_, last_chunk_;
  GdnChunkParams p{};

  Problem(const GdnShape& s, uint64_t seed) : GdnProblem(s, seed) {
    for (size_t i = 0; i < s.lengths.size(); ++i) {
      for (int at = 0; at < s.lengths[i]; at += 64) {
        chunks.push_back(chunks.back() + std::min(64, s.lengths[i] - at));
        chunk_seq.push_back(static_cast<int32_t>(i));
      }
      last_chunk.push_back(static_cast<int32_t>(chunk_seq.size()) - 1);
    }
    start_.emplace(start), slots_.emplace(slots), initial_.emplace(initial), chunks_.emplace(chunks);
    chunk_seq_.emplace(chunk_seq), last_chunk_.emplace(last_chunk);
    fill(p);
    p.tokens = tokens, p.sequences = static_cast<int64_t>(s.lengths.size());
    p.chunks = static_cast<int64_t>(chunk_seq.size());
    p.query_start_loc = start_->as<int32_t>(), p.slots = slots_->as<int32_t>();
    p.has_initial_state = initial_->as<int32_t>(), p.cu_chunk_seqlens = chunks_->as<int32_t>();
    p.chunk_seq = chunk_seq_->as<int32_t>(), p.last_chunk = last_chunk_->as<int32_t>();
  }
};

void run(const Version& version, const GdnChunkParams& p, cuda::Context& context) {
  if (version.least == 0) return cuda::run_gdn_chunk(p, context);
  cuda::run_gdn_walk(p, version.cut(), context);
}

struct Result {
  Host out, state;
};
Result compute(Problem& problem, const Version& version, const Gpu& gpu) {
  problem.reset();
  cuda::Context context = gpu.context(nullptr);
  run(version, problem.p, context);
  LAB_CHECK(cudaGetLastError());
  LAB_CHECK(cudaDeviceSynchronize());
  return {problem.dout->download(problem.shape.dtype), problem.dstate->download(problem.shape.state)};
}

bool check(const std::string& name, const GdnShape& shape, const Gpu& gpu, uint64_t seed, bool print = false) {
  Problem problem(shape, seed);
  const int sequences = static_cast<int>(shape.lengths.size()), heads = shape.value_heads;
  std::vector<std::vector<double>> out(static_cast<size_t>(sequences * heads)), state(out.size());
  const auto used = [&](int s) {
    return problem.slots[s] >= 0 && problem.slots[s] < problem.slots_in_pool && s != shape.dirty &&
           shape.lengths[s] > 0;
  };
  lab::for_heads(sequences, heads, [&](int s, int h) {
    if (used(s)) problem.reference(s, h, false, out[s * heads + h], state[s * heads + h]);
  });
  // Keys that are alike: what is written is a small difference.
  const double allowed = (shape.dtype == DType::bf16 ? 1.2e-2 : 2e-3) * (shape.keys == KeyKind::normal ? 1 : 2);
  bool good = true;
  for (const Version& version : kVersions) {
    const cuda::Context context = gpu.context(nullptr);
    if (version.least != 0 &&
        !(cuda::gdn_walk_fits(problem.p, context) && cuda::gdn_scratch_fits(problem.p, version.cut(), context)))
      continue;
    const Result result = compute(problem, version, gpu);
    double worst = 0, worst_state = 0, far = 0;
    int64_t wrong = 0;
    for (int s = 0; s < sequences; ++s) {
      for (int h = 0; h < heads && used(s); ++h) {
        lab::GdnError of_out, of_state;
        const auto& expected = out[s * heads + h];
        for (size_t i = 0; i < expected.size(); ++i) {
          const int64_t l = problem.start[s] + static_cast<int64_t>(i) / shape.value_dim;
          of_out.add(result.out.get(l * problem.out_stride + h * shape.value_dim + i % shape.value_dim), expected[i]);
        }
        const auto& after = state[s * heads + h];
        const int64_t at = problem.slots[s] * problem.slot_stride + h * static_cast<int64_t>(after.size());
        for (size_t i = 0; i < after.size(); ++i)
          of_state.add(result.state.get(at + static_cast<int64_t>(i)), after[i]);
        worst = std::max(worst, of_out.relative()), worst_state = std::max(worst_state, of_state.relative());
        far = std::max(far, of_out.worst());
        if (!of_out.finite || !of_state.finite) ++wrong;
      }
    }
    // What nothing may write: gaps, tokens past the last, slots that are not used; and zeros for padding.
    std::vector<bool> owned(static_cast<size_t>(problem.slots_in_pool));
    for (int s = 0; s < sequences; ++s) {
      if (problem.slots[s] >= 0 && problem.slots[s] < problem.slots_in_pool && shape.lengths[s] > 0)
        owned[problem.slots[s]] = true;
    }
    int64_t touched = 0;
    const size_t element = size_of(shape.dtype), state_element = size_of(shape.state);
    for (int64_t l = 0; l < problem.tokens + 2; ++l) {
      const int64_t from = l < problem.tokens ? problem.values : 0;
      for (size_t i = static_cast<size_t>(l * problem.out_stride + from) * element;
           i < static_cast<size_t>((l + 1) * problem.out_stride) * element; ++i) {
        touched += result.out.bytes[i] != 0xff;
      }
    }
    for (int slot = 0; slot < problem.slots_in_pool; ++slot) {
      const size_t begin = static_cast<size_t>(slot * problem.slot_stride) * state_element;
      const size_t skip = owned[slot] ? static_cast<size_t>(problem.slot_size) * state_element : 0;
      touched += !std::equal(result.state.bytes.begin() + begin + skip,
                             result.state.bytes.begin() + begin + problem.slot_stride * state_element,
                             problem.state.bytes.begin() + begin + skip);
    }
    if (shape.padding >= 0) {
      for (int64_t l = problem.start[shape.padding]; l < problem.start[shape.padding + 1]; ++l) {
        for (int64_t i = 0; i < problem.values; ++i) wrong += result.out.get(l * problem.out_stride + i) != 0;
      }
    }
    const Result again = compute(problem, version, gpu);
    const bool same = again.out.bytes == result.out.bytes && again.state.bytes == result.state.bytes;
    const bool fine =
        worst < allowed && worst_state < allowed && far < 12 * allowed && wrong == 0 && touched == 0 && same;
    if (!fine || (print && version.least == 0)) {
      std::printf("%s %-28s %-12s out %.2e (largest %.2e of rms) state %.2e%s%s%s\n", fine ? "ok    " : "FAILED",
                  name.c_str(), version.name.c_str(), worst, far, worst_state, wrong ? " WRONG" : "",
                  touched ? " TOUCHED" : "", same ? "" : " DIFFERS");
    }
    good = good && fine;
  }
  return good;
}

// The bits of a sequence in a batch are those that it has alone.
bool check_alone(const Gpu& gpu) {
  const GdnShape shape = {.lengths = {700, 64, 2200, 130, 1}, .all_initial = 1};
  Problem all(shape, 77);
  bool good = true;
  for (const Version& version : kVersions) {
    const Result together = compute(all, version, gpu);
    for (size_t s = 0; s < shape.lengths.size(); ++s) {
      GdnShape one = shape;
      one.lengths = {shape.lengths[s]};
      Problem alone(one, 78);
      const int64_t first = all.start[s], count = shape.lengths[s];
      const auto take = [&](Host& to, const Host& from, int64_t stride, Buffer& buffer) {
        const size_t bytes = static_cast<size_t>(stride) * size_of(from.dtype);
        std::copy_n(from.bytes.begin() + first * bytes, count * bytes, to.bytes.begin());
        buffer.upload(to);
      };
      take(alone.q, all.q, all.q_stride, *alone.dq), take(alone.k, all.k, all.q_stride, *alone.dk);
      take(alone.v, all.v, all.v_stride, *alone.dv), take(alone.a, all.a, all.gate_stride, *alone.da);
      take(alone.b, all.b, all.gate_stride, *alone.db);
      const size_t slot = static_cast<size_t>(all.slot_stride) * size_of(shape.state);
      std::copy_n(all.state.bytes.begin() + all.slots[s] * slot, slot,
                  alone.state.bytes.begin() + alone.slots[0] * slot);
      alone.ddecay->upload(all.decay), alone.dbias->upload(all.bias);
      const Result one_result = compute(alone, version, gpu);
      const size_t row = static_cast<size_t>(all.out_stride) * size_of(shape.dtype);
      const bool same = std::equal(one_result.out.bytes.begin(), one_result.out.bytes.begin() + count * row,
                                   together.out.bytes.begin() + first * row) &&
                        std::equal(one_result.state.bytes.begin() + alone.slots[0] * slot,
                                   one_result.state.bytes.begin() + (alone.slots[0] + 1) * slot,
                                   together.state.bytes.begin() + all.slots[s] * slot);
      if (!same) std::printf("FAILED %s: sequence %zu alone has other bits\n", version.name.c_str(), s);
      good = good && same;
    }
  }
  return good;
}

// Errors of the first and the last 2,048 of many tokens.
bool check_long(const Gpu& gpu, int tokens, GateKind gates) {
  const GdnShape shape = {.key_heads = 1, .value_heads = 2, .lengths = {tokens}, .gates = gates, .all_initial = 1};
  Problem problem(shape, 5);
  std::vector<std::vector<double>> out(2), state(2);
  lab::for_heads(1, 2, [&](int, int h) { problem.reference(0, h, false, out[h], state[h]); });
  bool good = true;
  for (const Version& version : kVersions) {
    if (version.least != 0 && version.least < 16) continue;
    const Result result = compute(problem, version, gpu);
    for (int h = 0; h < 2; ++h) {
      lab::GdnError parts[3], of_state;
      for (int64_t l = 0; l < tokens; ++l) {
        const int part = l < 2048 ? 0 : l >= tokens - 2048 ? 2 : 1;
        for (int i = 0; i < 128; ++i) {
          parts[part].add(result.out.get(l * problem.out_stride + h * 128 + i),
                          out[h][static_cast<size_t>(l * 128 + i)]);
        }
      }
      for (size_t i = 0; i < state[h].size(); ++i) {
        of_state.add(result.state.get(problem.slots[0] * problem.slot_stride + h * 16384 + static_cast<int64_t>(i)),
                     state[h][i]);
      }
      const bool fine = parts[2].relative() < 1.3 * parts[0].relative() + 1e-3 && parts[1].relative() < 1.2e-2;
      std::printf("%s %d tokens, gates %d, %-12s first %.2e between %.2e last %.2e state %.2e\n",
                  fine ? "ok    " : "FAILED", tokens, static_cast<int>(gates), version.name.c_str(),
                  parts[0].relative(), parts[1].relative(), parts[2].relative(), of_state.relative());
      good = good && fine;
    }
  }
  return good;
}

bool check_all(Gpu& gpu, bool quick) {
  bool good = true;
  int count = 0;
  const auto row = [&](const std::string& name, GdnShape shape, bool print = false) {
    good = check(name, shape, gpu, 100 + count++, print) && good;
  };
  for (const int blocks : {kAllBlocks, 3}) {
    gpu.most_blocks = blocks;
    row("one token", {.lengths = {1}}, true);
    row("one chunk", {.lengths = {64}}, true);
    row("some", {.lengths = {40, 7, 65, 128, 200, 0, 64}}, true);
    row("padding", {.lengths = {40, 70, 65, 128}, .pad = 8, .padding = 1}, true);
    row("dirty", {.lengths = {40, 70, 65, 128}, .dirty = 1}, true);
    row("segments", {.key_heads = 1, .value_heads = 2, .lengths = {2300, 100, 1100}}, true);
    if (quick) continue;
    for (const int ratio : {1, 2, 3, 4, 8, 12}) {
      row("ratio " + std::to_string(ratio), {.key_heads = 2, .value_heads = 2 * ratio, .lengths = {300, 65}},
          blocks > 3);
    }
    for (const DType dtype : {DType::bf16, DType::f16}) {
      for (const DType gate : {DType::f32, dtype}) {
        for (const DType state : {DType::f32, DType::bf16, DType::f16}) {
          row("types", {.lengths = {130, 600}, .dtype = dtype, .gate = gate, .state = state, .wide = true, .pad = 8});
        }
      }
    }
    for (const GateKind gates : {GateKind::near_zero, GateKind::near_one, GateKind::mixed}) {
      for (const KeyKind keys : {KeyKind::normal, KeyKind::repeated, KeyKind::similar}) {
        row("gates " + std::to_string(static_cast<int>(gates)) + " keys " + std::to_string(static_cast<int>(keys)),
            {.lengths = {1200, 90}, .gates = gates, .keys = keys}, blocks > 3);
      }
    }
  }
  gpu.most_blocks = kAllBlocks;
  good = check_alone(gpu) && good;
  if (!quick) {
    good = check_long(gpu, 65536, GateKind::normal) && good;
    good = check_long(gpu, 32768, GateKind::near_one) && good;
  }
  std::printf("%d rows, %s\n", count, good ? "all good" : "NOT GOOD");
  return good;
}

// --- times -----------------------------------------------------------------------------------------------------------

void time_all(const Gpu& gpu, const lab::Options& o) {
  struct Timed {
    const char* name;
    int key_heads, value_heads;
    std::vector<int> lengths;
    DType state = DType::f32;
  };
  const auto repeat = [](int count, int length) { return std::vector<int>(count, length); };
  const std::vector<Timed> cases = {
      {"2/8 1x8192", 2, 8, {8192}},
      {"16/32 1x8192", 16, 32, {8192}},
      {"2/8 1x65536", 2, 8, {65536}},
      {"2/8 1x1193", 2, 8, {1193}},
      {"16/32 1x1193", 16, 32, {1193}},
      {"16/48 1x1193", 16, 48, {1193}},
      {"16/48 1x8192", 16, 48, {8192}},
      {"16/16 1x8192", 16, 16, {8192}},
      {"2/16 1x8192", 2, 16, {8192}},
      {"16/32 4x2048", 16, 32, repeat(4, 2048)},
      {"16/32 64x128", 16, 32, repeat(64, 128)},
      {"16/32 256x128", 16, 32, repeat(256, 128)},
  };
  lab::Bench bench;
  lab::Report report(o);
  if (o.time) report.line("empty", "", "", bench.empty(), 0, {});
  for (const Timed& c : cases) {
    if (!o.time && !o.once_case.empty() && o.once_case != c.name) continue;
    GdnShape shape = {.key_heads = c.key_heads, .value_heads = c.value_heads, .lengths = c.lengths, .state = c.state};
    shape.wide = true, shape.all_initial = 1, shape.large = true;
    Problem problem(shape, 1);
    const GdnChunkParams& p = problem.p;
    const double bytes =
        static_cast<double>(p.tokens) * (4.0 * problem.keys + 4.0 * problem.values + 8.0 * c.value_heads) +
        2.0 * static_cast<double>(p.sequences * problem.slot_size) * static_cast<double>(size_of(c.state));
    cuda::Context context = gpu.context(bench.stream());
    const lab::Times copy = o.time ? bench.copy(bytes) : lab::Times{};
    for (const Version& version : kVersions) {
      if (version.least == kWhole && p.tokens > 20000) continue;
      if (version.least != 0 && !cuda::gdn_scratch_fits(p, version.cut(), context)) continue;
      if (!o.time) {
        if (version.name.find(o.once) == std::string::npos) continue;
        context.early = false;
        run(version, p, context);
        LAB_CHECK(cudaStreamSynchronize(bench.stream()));
        continue;
      }
      const lab::Times us = bench.time([&](cudaStream_t) {
        context.early = false;
        run(version, p, context);
      });
      report.line("gdn_chunk", c.name, version.name, us, bytes, copy);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const lab::Options options(argc, argv);
  Gpu gpu;
  const bool good = !options.check || check_all(gpu, options.quick);
  if (!good) std::printf("WRONG RESULTS\n");
  if (options.time || !options.once.empty()) time_all(gpu, options);
  return good ? 0 : 1;
}
