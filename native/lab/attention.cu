// Attention over pages: check against float64 and time, of the op as the engine calls it (dispatch) and of the ladder.
#include <array>
#include <cstdlib>
#include <memory>

#include "lab/attention_ladder.cuh"
#include "lab/attention_problem.cuh"

namespace {

using lab::AttentionCase;
using lab::AttentionProblem;
using lab::context_of;
using mamba::DType;
using mamba::KvPages;
using namespace mamba::cuda;
using lab::kDecodes;
using lab::kWalks;
using lab::Version;

int failures = 0;

void report_check(const std::string& what, const lab::Errors& errors) {
  const bool ok = errors.bad == 0;
  failures += !ok;
  if (!ok || std::getenv("LAB_VERBOSE"))
    std::printf("%s %s: worst %.2f of the allowance, relative %.2e, %ld wrong\n", ok ? "ok    " : "FAILED",
                what.c_str(), errors.worst, errors.relative(), static_cast<long>(errors.bad));
}

std::string text_of(const AttentionCase& c) {
  std::string rows;
  for (size_t i = 0; i < c.rows.size() && i < 6; ++i)
    rows += " " + std::to_string(c.rows[i].first) + "/" + std::to_string(c.rows[i].second);
  return std::string(name_of(c.dtype)) + (c.codes ? " e4m3" : "") + " d=" + std::to_string(c.head_dim) + " heads " +
         std::to_string(c.heads) + "/" + std::to_string(c.kv_heads) + " page " + std::to_string(c.page_size) +
         " window " + std::to_string(c.window) + " pad " + std::to_string(c.q_pad) + "/" + std::to_string(c.page_pad) +
         " split " + std::to_string(c.split) + " rows" + rows;
}

// Twice; the second time the bits must be the same.
template <class Launch>
void check(const std::string& what, const AttentionCase& c, lab::Random& random, Launch launch) {
  AttentionProblem problem(c, random);
  launch(problem, cudaStream_t{nullptr});
  const cudaError_t status = cudaDeviceSynchronize();
  if (status != cudaSuccess) throw lab::Failure(what + ", " + text_of(c) + ": " + cudaGetErrorString(status));
  report_check(what + ", " + text_of(c), problem.compare(random, 24));
  const lab::Host first = problem.out_on.download(c.dtype);
  for (int i = 0; i < 3; ++i) {
    problem.out_on.poison();
    launch(problem, cudaStream_t{nullptr});
    if (problem.out_on.download(c.dtype).bytes != first.bytes) {
      std::printf("FAILED %s, %s: other bits\n", what.c_str(), text_of(c).c_str());
      ++failures;
      return;
    }
  }
}

AttentionCase drawn(lab::Random& random, bool paged, const std::vector<int>& head_dims, int most) {
  AttentionCase c;
  const auto pick = [&](const auto& values) {
    return values[static_cast<size_t>(random.below(static_cast<int64_t>(std::size(values))))];
  };
  c.head_dim = pick(head_dims);
  c.kv_heads = static_cast<int>(1 + random.below(3));
  c.heads = c.kv_heads * pick(std::array{1, 2, 3, 4, 7, 8});
  c.page_size = pick(std::array{16, 32, 64, 128, 256});
  c.window = random.below(4) == 0 ? static_cast<int>(1 + random.below(200)) : 0;
  c.q_pad = random.below(3) == 0 ? pick(std::array{8, 256}) : 0;
  c.page_pad = random.below(4) == 0 ? 64 : 0;
  const int query_len = paged ? pick(std::array{1, 1, 1, 2, 3, 8}) : 0;
  if (paged) c.split = pick(std::array{128, 256, 512});
  const int64_t rows = 1 + random.below(paged ? 12 : 6);
  for (int64_t i = 0; i < rows; ++i) {
    const auto context = static_cast<int>(random.below(2) * random.below(most));
    const int own = paged ? query_len : static_cast<int>(random.below(5) == 0 ? 0 : random.below(most));
    c.rows.push_back(paged && random.below(6) == 0 ? std::pair{own, 0} : std::pair{own, own + context});
  }
  if (AttentionProblem::tokens_of(c) == 0) c.rows.push_back({1, 1});
  return c;
}

void combine(const AttentionProblem& p, Context& context) {
  launch(context, {.grid = p.tokens * p.c.heads, .block = attention::kCombineThreads}, attention::combine_kernel,
         attention::job_of(p.paged()));
}

void check_all(bool quick, bool prefill, bool decode) {
  lab::Random random{7};
  const std::vector<int> any = {8, 24, 64, 72, 80, 96, 112, 128, 160, 224, 256};
  for (int i = 0; i < (quick ? 40 : 240); ++i) {
    const bool paged = prefill && decode ? i % 2 : decode;
    AttentionCase c = drawn(random, paged, any, quick ? 200 : 700);
    c.dtype = std::array{DType::bf16, DType::f16, DType::bf16, DType::f32}[static_cast<size_t>(random.below(4))];
    c.codes = random.below(3) == 0;
    if (random.below(6) == 0) c.q_pad = 3;  // not aligned
    c.tile = static_cast<int>(mamba::attention_tile(c.head_dim));
    // As on a Hopper GPU, and as on one before.
    for (const int capability : {90, 80}) {
      check(capability == 90 ? "dispatch" : "before sm_90", c, random, [&](AttentionProblem& p, cudaStream_t stream) {
        Context context = context_of(stream);
        context.capability = capability;
        paged ? run_paged_attention(p.paged(), context) : run_attention_varlen(p.varlen(), context);
      });
    }
  }
  std::printf("dispatch checked, %d failures so far\n", failures);
  const auto each = [&](const Version& version, bool paged) {
    const int before = failures;
    for (int i = 0; i < (quick ? 6 : 14); ++i) {
      const int d = version.head_dim;
      const std::vector<int> own = {d}, padded = {d, d - 16, d, d - 48};
      AttentionCase c = drawn(random, paged, paged ? padded : own, i % 3 == 2 ? 2000 : 400);
      if (!paged) c.tile = version.tile;
      c.codes = version.codes;
      check(std::string(paged ? "decode " : "walk ") + version.name, c, random,
            [&](AttentionProblem& p, cudaStream_t stream) {
              Context context = context_of(stream);
              if (!paged) {
                if (!version.launch(attention::job_of(p.varlen()), p.tokens, context))
                  std::printf("FAILED no map\n"), ++failures;
                return;
              }
              const auto job = attention::job_of(p.paged());
              if (!version.launch(job, p.items, context)) std::printf("FAILED no map\n"), ++failures;
              combine(p, context);
            });
    }
    std::printf("%s %s: %s\n", paged ? "decode" : "walk", version.name, failures == before ? "ok" : "FAILED");
  };
  for (const Version& version : kDecodes) {
    if (decode) each(version, true);
  }
  for (const Version& version : kWalks) {
    if (prefill) each(version, false);
  }
}

// Rotation and stores against the same in double.
void check_rope() {
  lab::Random random{3};
  for (const bool codes : {false, true}) {
    for (const int head_dim : {64, 80, 128}) {
      const int tokens = 37, heads = 8, kv_heads = 2, page_size = 16, pages = 8,
                half = head_dim == 80 ? 10 : head_dim / 2;
      const int width = (heads + 2 * kv_heads) * head_dim;
      lab::Host qkv(DType::bf16, tokens * width);
      qkv.fill_normal(random);
      std::vector<int32_t> positions, slots;
      for (int t = 0; t < tokens; ++t)
        positions.push_back(static_cast<int32_t>(random.below(1 << 20))), slots.push_back(t % 5 == 0 ? -1 : 3 * t);
      lab::Host freq(DType::f32, half);
      for (int i = 0; i < half; ++i) freq.set(i, std::pow(10000.0, -static_cast<double>(i) / half));
      const lab::Buffer on(qkv), positions_on(positions), slots_on(slots), freq_on(freq);
      const lab::Buffer k(static_cast<size_t>(pages * kv_heads * page_size * head_dim) * 2), v(k.bytes);
      const KvPages pool = {pages,
                            kv_heads,
                            page_size,
                            head_dim,
                            k.data,
                            v.data,
                            kv_heads * page_size * head_dim,
                            kv_heads * page_size * head_dim,
                            codes ? 0.02f : 1,
                            codes ? 0.02f : 1,
                            codes ? DType::u8 : DType::bf16};
      auto* base = on.as<__nv_bfloat16>();
      Context context = context_of(nullptr);
      run_rope_store_kv({tokens, heads, 2 * half, base, base + heads * head_dim, base + (heads + kv_heads) * head_dim,
                         width, width, width, positions_on.as<int32_t>(), slots_on.as<int32_t>(), freq_on.as<float>(),
                         1.25f, nullptr, nullptr, 0, pool, DType::bf16},
                        context);
      LAB_CHECK(cudaDeviceSynchronize());
      const lab::Host after = on.download(DType::bf16), k_after = k.download(codes ? DType::u8 : DType::bf16);
      lab::Errors errors;
      for (int t = 0; t < tokens; ++t) {
        for (int h = 0; h < heads + kv_heads; ++h) {
          for (int i = 0; i < head_dim; ++i) {
            const int64_t at = int64_t{t} * width + h * head_dim;
            double want = qkv.get(at + i);
            if (i < 2 * half) {
              const int j = i % half;
              const double angle =
                  static_cast<float>(positions[static_cast<size_t>(t)]) * static_cast<float>(freq.get(j));
              const double a = qkv.get(at + j), b = qkv.get(at + half + j);
              want = 1.25 *
                     (i < half ? a * std::cos(angle) - b * std::sin(angle) : b * std::cos(angle) + a * std::sin(angle));
            }
            if (h < heads) {
              errors.add(after.get(at + i), want, 1e-6, 1.01 * lab::rounding(DType::bf16));
            } else if (slots[static_cast<size_t>(t)] >= 0) {
              const int slot = slots[static_cast<size_t>(t)];
              const int64_t to =
                  (int64_t{slot / page_size * kv_heads + h - heads} * page_size + slot % page_size) * head_dim + i;
              const double got =
                  codes ? lab::code_value(k_after.bytes[static_cast<size_t>(to)]) * 0.02 : k_after.get(to);
              errors.add(got, want, codes ? 0.02 * 0x1p-9 : 1e-6, codes ? 0.064 : 1.01 * lab::rounding(DType::bf16));
            }
          }
        }
      }
      report_check("rope_store_kv d=" + std::to_string(head_dim), errors);
    }
  }
  std::printf("rope_store_kv checked, %d failures so far\n", failures);
}

// For the pairs that the queries of a causal step see.
double flops(const AttentionCase& c) {
  double pairs = 0;
  for (const auto& [query_len, kv_len] : c.rows) pairs += query_len * (kv_len - query_len + (query_len + 1) / 2.0);
  return 4 * pairs * c.heads * c.head_dim;
}

double median_us(const std::function<void()>& launch, int runs) {
  static const lab::Buffer scratch(size_t{256} << 20);
  std::vector<float> times;
  cudaEvent_t begin, end;
  LAB_CHECK(cudaEventCreate(&begin));
  LAB_CHECK(cudaEventCreate(&end));
  for (int i = 0; i < runs + 2; ++i) {
    LAB_CHECK(cudaMemsetAsync(scratch.data, i, scratch.bytes, nullptr));
    LAB_CHECK(cudaEventRecord(begin, nullptr));
    launch();
    LAB_CHECK(cudaEventRecord(end, nullptr));
    LAB_CHECK(cudaEventSynchronize(end));
    float ms;
    LAB_CHECK(cudaEventElapsedTime(&ms, begin, end));
    if (i >= 2) times.push_back(ms * 1e3f);
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

void time_prefill() {
  for (const auto& [length, runs] : {std::pair{8192, 12}, {2048, 12}, {32768, 5}}) {
    for (const int head_dim : {128, 256, 64, 80, 96, 112, 160, 192, 224}) {
      if (length != 8192 && head_dim != 128 && head_dim != 64 && head_dim != 256) continue;
      AttentionCase c;
      c.rows = {{length, length}};
      c.head_dim = head_dim;
      if (head_dim == 256) c.heads = 16, c.kv_heads = 2;
      const std::string name = "d=" + std::to_string(head_dim) + " H=" + std::to_string(c.heads) + "/" +
                               std::to_string(c.kv_heads) + " S=" + std::to_string(length);
      lab::Random random{11};
      std::unique_ptr<AttentionProblem> problem;
      for (const Version& walk : kWalks) {
        if (walk.head_dim != head_dim) continue;
        if (!problem || problem->c.tile != walk.tile) {
          c.tile = walk.tile;
          problem = std::make_unique<AttentionProblem>(c, random);
        }
        const auto job = attention::job_of(problem->varlen());
        const double us = median_us(
            [&] {
              Context context = context_of(nullptr);
              walk.launch(job, problem->tokens, context);
            },
            runs);
        if (length == 8192) report_check(name + " walk " + walk.name, problem->compare(random, 16));
        std::printf("prefill %-24s walk %-40s %9.1f us %6.1f TFLOP/s\n", name.c_str(), walk.name, us,
                    flops(c) / us * 1e-6);
      }
      if (length != 8192) continue;
      c.tile = static_cast<int>(mamba::attention_tile(head_dim));
      problem = std::make_unique<AttentionProblem>(c, random);
      const double us = median_us(
          [&] {
            Context context = context_of(nullptr);
            run_attention_varlen(problem->varlen(), context);
          },
          5);
      report_check(name + " dispatch", problem->compare(random, 16));
      std::printf("prefill %-24s dispatch %36s %9.1f us %6.1f TFLOP/s\n", name.c_str(), "", us, flops(c) / us * 1e-6);
    }
  }
}

void time_decode() {
  struct Row {
    int batch, kv_len, heads, kv_heads, head_dim;
    bool codes;
  };
  for (const Row& row : {Row{64, 8192, 32, 8, 128, false},
                         {1, 65536, 32, 8, 128, false},
                         {64, 8192, 32, 8, 128, true},
                         {64, 8192, 32, 8, 64, false},
                         {16, 8192, 16, 2, 256, false},
                         {256, 1024, 32, 8, 128, false},
                         {64, 1024, 32, 8, 128, false},
                         {1, 1024, 32, 8, 128, false},
                         {1, 8192, 32, 8, 128, false},
                         {1, 8192, 40, 8, 80, false}}) {
    for (const int split : {128, 256, 608, 1024}) {
      if (split > row.kv_len) continue;
      AttentionCase c;
      c.rows.assign(static_cast<size_t>(row.batch), {1, row.kv_len});
      c.heads = row.heads, c.kv_heads = row.kv_heads, c.head_dim = row.head_dim, c.codes = row.codes, c.split = split,
      c.timed = true;
      static std::unique_ptr<AttentionProblem> problem;
      problem.reset();
      lab::Random random{5};
      problem = std::make_unique<AttentionProblem>(c, random);
      const double bytes = 2.0 * row.batch * row.kv_len * row.kv_heads * row.head_dim * (row.codes ? 1 : 2);
      const std::string name = "B=" + std::to_string(row.batch) + " ctx=" + std::to_string(row.kv_len) +
                               " H=" + std::to_string(row.heads) + "/" + std::to_string(row.kv_heads) +
                               " d=" + std::to_string(row.head_dim) + (row.codes ? " e4m3" : "");
      const auto time = [&](const char* version, const std::function<void(Context&)>& launch) {
        const double us = median_us(
            [&] {
              Context context = context_of(nullptr);
              launch(context);
            },
            9);
        std::printf("decode %-36s split %5d %-24s %9.1f us %7.2f TB/s\n", name.c_str(), split, version, us,
                    bytes / us * 1e-6);
      };
      time("dispatch", [&](Context& context) { run_paged_attention(problem->paged(), context); });
      for (const Version& version : kDecodes) {
        if (version.head_dim != (row.head_dim + 63) / 64 * 64 || version.codes != row.codes) continue;
        time(version.name, [&](Context& context) {
          version.launch(attention::job_of(problem->paged()), problem->items, context);
          combine(*problem, context);
        });
      }
    }
  }
}

}  // namespace

// --prefill or --decode: one of the two only.
int main(int argc, char** argv) {
  const lab::Options options(argc, argv);
  const auto given = [&](const char* flag) {
    return std::any_of(argv + 1, argv + argc, [&](const char* a) { return std::strcmp(a, flag) == 0; });
  };
  const bool prefill = !given("--decode"), decode = !given("--prefill");
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  if (options.check) {
    if (decode) check_rope();
    check_all(options.quick, prefill, decode);
  }
  if (options.time && prefill) time_prefill();
  if (options.time && decode) time_decode();
  std::printf("%d failures\n", failures);
  return failures > 0;
}
