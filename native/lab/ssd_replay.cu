// ssd_replay (ops/ssd.h, ops/replay.h) on one GPU: the kernel of native/cuda/ssd_replay.cuh in several shapes, held to
// the bits of the plain update called token by token, and timed. Built and run as native/lab/README.md says.
#include <memory>

#include "cuda/kernels.h"
#include "cuda/ssd_replay.cuh"
#include "lab/context.cuh"
#include "lab/lab.cuh"

namespace {

using namespace mamba;
using namespace mamba::cuda;
using lab::Buffer;
using lab::context_of;
using lab::Host;

struct Shape {
  int64_t rows = 4, tokens = 4, heads = 8, head_dim = 64, groups = 2, state_size = 128;
  DType dtype = DType::bf16, state = DType::f32;
  int held = -1;  // of each row; -1: drawn
  int settles = -1;
  bool z = true;
};

// A batch over slots in random order, one slot more than rows; its last row is padding.
struct Problem {
  Shape shape;
  int64_t inner, bc, entries, width, slots_in_pool, slot_size;
  std::vector<ReplayRow> rows;
  std::vector<int32_t> slots;
  Host x, b, c, z, dt, state, history;  // of each row's held tokens and then its own: [rows, entries, ...]
  Buffer da, dd, dbias;

  static Host drawn(DType t, int64_t n, lab::Random& random, double scale = 1) {
    Host host(t, n);
    host.fill_normal(random, scale);
    return host;
  }
  static Host negative(int64_t n, lab::Random& random) {
    Host host(DType::f32, n);
    host.fill_uniform(random, -4, -0.1);
    return host;
  }

  Problem(const Shape& s, lab::Random random)
      : shape(s),
        inner(s.heads * s.head_dim),
        bc(s.groups * s.state_size),
        entries(2 * s.tokens),
        width((inner + bc + s.heads + 7) / 8 * 8),
        slots_in_pool(s.rows + 1),
        slot_size(inner * s.state_size),
        x(drawn(s.dtype, s.rows * entries * inner, random)),
        b(drawn(s.dtype, s.rows * entries * bc, random)),
        c(drawn(s.dtype, s.rows * entries * bc, random)),
        z(drawn(s.dtype, s.rows * entries * inner, random)),
        dt(drawn(s.dtype, s.rows * entries * s.heads, random)),
        state(drawn(s.state, slots_in_pool * slot_size, random)),
        history(s.dtype, slots_in_pool * entries * width),
        da(negative(s.heads, random)),
        dd(drawn(DType::f32, s.heads, random)),
        dbias(drawn(DType::f32, s.heads, random, 0.3)) {
    std::memset(history.bytes.data(), 0xff, history.bytes.size());
    for (int64_t r = 0; r < s.rows; ++r) {
      const int held = s.held >= 0 ? s.held : static_cast<int>(random.below(s.tokens + 1));
      const int settles = s.settles >= 0 ? s.settles : static_cast<int>(random.below(3));
      rows.push_back({static_cast<int32_t>(held + random.below(50)), held, settles});
      slots.push_back(static_cast<int32_t>(r));
    }
    for (int64_t r = s.rows - 1; r > 0; --r) std::swap(slots[r], slots[random.below(r + 1)]);
    if (s.rows > 1) slots.back() = -1;
    for (int64_t r = 0; r < s.rows; ++r) {
      for (int64_t i = 0; slots[r] >= 0 && i < rows[r].held; ++i) keep(history, r, i);
    }
  }

  // Token i of row r, counted from its first held one, as an entry of the history.
  void keep(Host& to, int64_t r, int64_t i) const {
    const int64_t at = (slots[r] * entries + (rows[r].first - rows[r].held + i) % entries) * width,
                  token = r * entries + i;
    const size_t element = size_of(shape.dtype);
    const auto copy = [&](int64_t place, const Host& from, int64_t each) {
      std::memcpy(&to.bytes[(at + place) * element], &from.bytes[token * each * element], each * element);
    };
    copy(0, x, inner), copy(inner, b, bc), copy(inner + bc, dt, shape.heads);
  }

  // Tokens of the rows from `first(row)` on, `count` of each: [rows, count, each].
  Host taken(const Host& from, int64_t each, int64_t count, const std::function<int64_t(int64_t)>& first) const {
    Host to(from.dtype, shape.rows * count * each);
    const size_t bytes = each * size_of(from.dtype);
    for (int64_t r = 0; r < shape.rows; ++r) {
      for (int64_t i = 0; i < count; ++i) {
        std::memcpy(&to.bytes[(r * count + i) * bytes], &from.bytes[(r * entries + first(r) + i) * bytes], bytes);
      }
    }
    return to;
  }

  // What both ops take, of inputs that lie one behind the other.
  void fill(SsdStateUpdateParams& p) const {
    p.rows = shape.rows, p.heads = shape.heads, p.head_dim = shape.head_dim, p.groups = shape.groups;
    p.state_size = shape.state_size, p.slots_in_pool = slots_in_pool;
    p.x_stride = p.z_stride = p.out_stride = inner, p.b_stride = p.c_stride = bc;
    p.dt_row_stride = shape.heads, p.dt_head_stride = p.a_head_stride = p.d_head_stride = p.dt_bias_head_stride = 1;
    p.a = da.as<float>(), p.d = dd.as<float>(), p.dt_bias = dbias.as<float>();
    p.state_slot_stride = slot_size;
    p.dt_min = 0, p.dt_max = INFINITY, p.dt_softplus = true;
    p.dtype = p.dt_dtype = shape.dtype, p.state_dtype = shape.state;
  }
};

// What a launch reads of each row: `count` tokens from `first(row)` on.
struct Inputs {
  Buffer x, b, c, z, dt;

  Inputs(const Problem& problem, int64_t count, const std::function<int64_t(int64_t)>& first)
      : x(problem.taken(problem.x, problem.inner, count, first)),
        b(problem.taken(problem.b, problem.bc, count, first)),
        c(problem.taken(problem.c, problem.bc, count, first)),
        z(problem.taken(problem.z, problem.inner, count, first)),
        dt(problem.taken(problem.dt, problem.shape.heads, count, first)) {}

  void fill(SsdStateUpdateParams& p, bool gates) const {
    p.x = x.data, p.b = b.data, p.c = c.data, p.z = gates ? z.data : nullptr, p.dt = dt.data;
  }
};

struct Version {
  std::string name;
  DType state;
  std::function<void(const SsdReplayParams&, Context&)> run;
  bool any = false;
};

template <class S, int Rows, int Warps, int Blocks>
Version tiles() {
  using Part = state_update::Tile<bf16, S, 16, sizeof(S) / 2, Rows>;  // of states of 128
  constexpr int kChannels = Part::kRows * Warps;
  return {"R" + std::to_string(Rows) + " W" + std::to_string(Warps) + " B" + std::to_string(Blocks),
          std::is_same_v<S, float> ? DType::f32 : DType::bf16, [](const SsdReplayParams& p, Context& context) {
            const auto shared = static_cast<size_t>(
                state_update::ReplayInputs::bytes(p.history.entries, p.tokens_per_row, p.state_size, kChannels));
            const Grid grid((p.head_dim + kChannels - 1) / kChannels, p.heads, p.rows);
            launch(context, {.grid = grid, .block = Warps * 32, .shared_bytes = shared},
                   state_update::replay_kernel<Part, bf16, Warps, Blocks>, p, 0, static_cast<int>(p.heads / p.groups),
                   false);
          }};
}

const std::vector<Version> kVersions = {
    {"dispatch", DType::f32, run_ssd_replay, true},
    tiles<float, 4, 4, 5>(),
    tiles<float, 4, 8, 2>(),
    tiles<float, 4, 8, 3>(),
    tiles<float, 8, 2, 6>(),
    tiles<float, 8, 2, 8>(),
    tiles<float, 8, 4, 3>(),
    tiles<float, 8, 4, 4>(),
    tiles<bf16, 4, 4, 5>(),
    tiles<bf16, 4, 8, 2>(),
    tiles<bf16, 4, 8, 3>(),
    tiles<bf16, 8, 4, 3>(),
    tiles<bf16, 8, 4, 4>(),
    tiles<bf16, 8, 4, 5>(),
};

bool equal(const Host& a, const Host& b) { return a.bytes == b.bytes; }

bool check(const Shape& shape, uint64_t seed) {
  const Problem problem(shape, lab::Random{seed * 1000003});
  const int64_t rows = shape.rows, tokens = shape.tokens;
  const auto held = [&](int64_t r) { return int64_t{problem.rows[r].held}; };
  // The plain update, token by token; rows that have no such token are padding.
  Buffer state(problem.state);
  std::vector<Host> states = {problem.state};
  Host expected(shape.dtype, rows * tokens * problem.inner);
  const auto plain = [&](const std::function<int64_t(int64_t)>& token) {
    const auto first = [&](int64_t r) { return std::max<int64_t>(0, token(r)); };
    const Inputs inputs(problem, 1, first);
    std::vector<int32_t> slots = problem.slots;
    for (int64_t r = 0; r < rows; ++r) slots[r] = token(r) < 0 ? -1 : slots[r];
    const Buffer dslots(slots), out(static_cast<size_t>(rows * problem.inner) * size_of(shape.dtype));
    SsdStateUpdateParams p = {};
    problem.fill(p);
    inputs.fill(p, shape.z);
    p.state = state.data;
    p.slots = dslots.as<int32_t>(), p.out = out.data;
    Context context = context_of(nullptr);
    run_ssd_state_update(p, context);
    LAB_CHECK(cudaDeviceSynchronize());
    return out.download(shape.dtype);
  };
  for (int64_t i = 0; i < tokens; ++i) plain([&](int64_t r) { return i < held(r) ? i : -1; });
  states.push_back(state.download(shape.state));
  for (int64_t t = 0; t < tokens; ++t) {
    const Host out = plain([&](int64_t r) { return held(r) + t; });
    const size_t bytes = problem.inner * size_of(shape.dtype);
    for (int64_t r = 0; r < rows; ++r) {
      std::memcpy(&expected.bytes[(r * tokens + t) * bytes], &out.bytes[r * bytes], bytes);
    }
  }
  states.push_back(state.download(shape.state));
  Host settled = problem.state, history = problem.history;
  for (int64_t r = 0; r < rows; ++r) {
    if (problem.slots[r] < 0) continue;
    const size_t bytes = problem.slot_size * size_of(shape.state), at = problem.slots[r] * bytes;
    std::memcpy(&settled.bytes[at], &states[problem.rows[r].settles].bytes[at], bytes);
    for (int64_t t = 0; t < tokens; ++t) problem.keep(history, r, held(r) + t);
  }

  const Inputs inputs(problem, tokens, held);
  const Buffer slots(problem.slots);
  Buffer replay(rows * sizeof(ReplayRow));
  LAB_CHECK(cudaMemcpy(replay.data, problem.rows.data(), replay.bytes, cudaMemcpyHostToDevice));
  bool good = true;
  for (const Version& version : kVersions) {
    const bool fits = shape.dtype == DType::bf16 && shape.state == version.state && shape.state_size == 128 &&
                      shape.head_dim % 8 == 0;
    if (!version.any && !fits) continue;
    Buffer out(expected.bytes.size()), kept(problem.history);
    state.upload(problem.state);
    out.poison();
    SsdReplayParams p = {};
    problem.fill(p);
    inputs.fill(p, shape.z);
    p.state = state.data;
    p.slots = slots.as<int32_t>(), p.out = out.data, p.tokens_per_row = tokens, p.replay = replay.as<ReplayRow>();
    p.history = {kept.data, problem.entries * problem.width, problem.entries, problem.width};
    Context context = context_of(nullptr);
    version.run(p, context);
    LAB_CHECK(cudaGetLastError());
    LAB_CHECK(cudaDeviceSynchronize());
    const bool same_out = equal(out.download(shape.dtype), expected),
               same_state = equal(state.download(shape.state), settled);
    const bool same_history = equal(kept.download(shape.dtype), history);
    if (!same_out || !same_state || !same_history) {
      std::printf("FAILED %-12s rows %ld x %ld P %ld N %ld %s %s:%s%s%s\n", version.name.c_str(),
                  static_cast<long>(rows), static_cast<long>(tokens), static_cast<long>(shape.head_dim),
                  static_cast<long>(shape.state_size), name_of(shape.dtype), name_of(shape.state),
                  same_out ? "" : " out", same_state ? "" : " state", same_history ? "" : " history");
      good = false;
    }
  }
  return good;
}

bool check_all() {
  bool good = true;
  int count = 0;
  const auto row = [&](const Shape& shape) { good = check(shape, static_cast<uint64_t>(++count)) && good; };
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    for (const DType state : {DType::f32, DType::bf16, DType::f16}) {
      for (const int tokens : {1, 2, 4, 7, 8}) row({.rows = 5, .tokens = tokens, .dtype = dtype, .state = state});
    }
  }
  for (const DType state : {DType::f32, DType::bf16}) {
    for (const int64_t head_dim : {8, 24, 32, 72, 80, 96, 128}) row({.head_dim = head_dim, .state = state});
    for (const int64_t n : {16, 24, 64, 96, 200, 256, 264}) row({.state_size = n, .state = state});
    row({.rows = 70, .heads = 16, .state = state, .z = false});
    row({.rows = 1, .heads = 16, .groups = 16, .state = state});
    row({.rows = 40, .heads = 128, .groups = 8, .state = state});
  }
  std::printf("%d rows, %s\n", count, good ? "all good" : "NOT GOOD");
  return good;
}

// A timed step: tokens of a row, entries of the ring, held tokens of each row or -1: as many as its number modulo the
// ring.
struct Case {
  const char* name;
  int tokens, entries, held, settles;
};

const std::vector<Case> kCases = {{"1 + 0", 1, 8, 0, kSettlesNothing},
                                  {"1 + 3", 1, 8, 3, kSettlesNothing},
                                  {"1 + 7", 1, 8, 7, kSettlesNothing},
                                  {"1 + 7 written", 1, 8, 7, kSettlesAll},
                                  {"1 + 0 to 7", 1, 8, -1, 0},
                                  {"2 + 2", 2, 4, 2, kSettlesNothing},
                                  {"4 + 0", 4, 8, 0, kSettlesNothing},
                                  {"4 + 4", 4, 8, 4, kSettlesNothing},
                                  {"4 + 3 written", 4, 8, 3, kSettlesHeld},
                                  {"7 + 4", 7, 14, 4, kSettlesNothing}};
const std::vector<int> kBatches = {1, 8, 64, 256};

// Buffers for the largest case, of random inputs; nothing is on the host but the rows.
struct Large {
  static constexpr int64_t kHeads = 128, kHeadDim = 64, kGroups = 8, kStateSize = 128;
  static constexpr int64_t kInner = kHeads * kHeadDim, kBc = kGroups * kStateSize, kWidth = kInner + kBc + kHeads;
  Buffer x, z, b, c, dt, out, pool, history, a, d, bias;

  Large()
      : x(size_t{256} * 7 * kInner * 2),
        z(x.bytes),
        b(x.bytes),
        c(x.bytes),
        dt(x.bytes),
        out(x.bytes),
        pool(size_t{256} * kInner * kStateSize * 4),
        history(size_t{256} * 14 * kWidth * 2),
        a(kHeads * 4),
        d(kHeads * 4),
        bias(kHeads * 4) {
    uint64_t seed = 1;
    for (const Buffer* each : {&x, &z, &b, &c, &dt, &history}) {
      lab::fill_random_kernel<<<1024, 256>>>(each->as<__nv_bfloat16>(), static_cast<int64_t>(each->bytes / 2), seed++);
    }
    for (const Buffer* each : {&d, &bias}) lab::fill_random_kernel<<<1, 256>>>(each->as<float>(), kHeads, seed++);
    const std::vector<float> decays(kHeads, -1.0f);
    LAB_CHECK(cudaMemcpy(a.data, decays.data(), a.bytes, cudaMemcpyHostToDevice));
    LAB_CHECK(cudaMemset(pool.data, 0, pool.bytes));
  }

  SsdReplayParams params(int rows, DType state, const Buffer& slots) const {
    SsdReplayParams p = {};
    p.rows = rows, p.heads = kHeads, p.head_dim = kHeadDim, p.groups = kGroups, p.state_size = kStateSize;
    p.x = x.data, p.b = b.data, p.c = c.data, p.z = z.data, p.dt = dt.data, p.state = pool.data, p.out = out.data;
    p.x_stride = p.z_stride = p.out_stride = kInner, p.b_stride = p.c_stride = kBc, p.dt_row_stride = kHeads;
    p.dt_head_stride = p.a_head_stride = p.d_head_stride = p.dt_bias_head_stride = 1;
    p.a = a.as<float>(), p.d = d.as<float>(), p.dt_bias = bias.as<float>(), p.slots = slots.as<int32_t>();
    p.state_slot_stride = kInner * kStateSize, p.slots_in_pool = rows, p.dt_max = INFINITY, p.dt_softplus = true;
    p.dtype = p.dt_dtype = DType::bf16, p.state_dtype = state;
    return p;
  }
};

void time_all(const lab::Options& o) {
  const Large large;
  std::unique_ptr<lab::Bench> bench;
  if (o.once.empty()) bench = std::make_unique<lab::Bench>();
  std::printf(
      "us after a flush that leaves the L2 clean; H = 128, P = 64, N = 128, G = 8, x in bf16; tokens + held, rows:");
  for (const int rows : kBatches) std::printf(" %d", rows);
  for (const DType state : {DType::f32, DType::bf16}) {
    const auto row = [&](const std::string& name, const std::function<void(cudaStream_t, int)>& run) {
      std::printf("\n  %-14s", name.c_str());
      for (const int rows : kBatches) {
        std::printf(" %8.1f", bench->time([&](cudaStream_t s) { run(s, rows); }).clean);
        std::fflush(stdout);
      }
    };
    std::vector<std::unique_ptr<Buffer>> slots, replay;
    for (const int rows : kBatches) {
      std::vector<int32_t> numbers(rows);
      for (int r = 0; r < rows; ++r) numbers[r] = static_cast<int32_t>(r * int64_t{5} % rows);
      slots.push_back(std::make_unique<Buffer>(numbers));
    }
    const auto place_of = [&](int rows) {
      return std::find(kBatches.begin(), kBatches.end(), rows) - kBatches.begin();
    };
    if (bench) {
      std::printf("\n%s, plain update", name_of(state));
      row("", [&](cudaStream_t s, int rows) {
        const SsdReplayParams p = large.params(rows, state, *slots[place_of(rows)]);
        Context context = context_of(s);
        run_ssd_state_update(p, context);
      });
    }
    for (const Case& c : kCases) {
      if (!o.once_case.empty() && o.once_case != c.name) continue;
      std::printf("\n%s, %s", name_of(state), c.name);
      replay.clear();
      for (const int rows : kBatches) {
        std::vector<int32_t> words;
        for (int r = 0; r < rows; ++r) {
          const int held = c.held >= 0 ? c.held : r % c.entries;
          const int settles = c.held >= 0 ? c.settles : held + 1 == c.entries ? kSettlesAll : kSettlesNothing;
          words.insert(words.end(), {held + 3, held, settles});
        }
        replay.push_back(std::make_unique<Buffer>(words));
      }
      for (const Version& version : kVersions) {
        if (!version.any && version.state != state) continue;
        const auto run = [&](cudaStream_t s, int rows) {
          SsdReplayParams p = large.params(rows, state, *slots[place_of(rows)]);
          p.tokens_per_row = c.tokens, p.replay = replay[place_of(rows)]->as<ReplayRow>();
          p.history = {large.history.data, c.entries * Large::kWidth, c.entries, Large::kWidth};
          Context context = context_of(s);
          version.run(p, context);
        };
        if (bench) {
          row(version.name, run);
        } else if (version.name == o.once) {
          run(nullptr, 64);
          LAB_CHECK(cudaDeviceSynchronize());
        }
      }
    }
  }
  std::printf("\n");
}

}  // namespace

int main(int argc, char** argv) {
  const lab::Options options(argc, argv);
  if (options.check && !check_all()) return 1;
  if (options.time || !options.once.empty()) time_all(options);
  return 0;
}
