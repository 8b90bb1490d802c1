// Ladders of causal_conv1d_update (one token per row) and causal_conv1d_varlen (packed prompts): check and timing of
// the backend's kernels (native/cuda/conv1d.cuh, whose idea and mapping stand there) beside earlier ones.
//
//   nvcc -std=c++20 -O3 -gencode=arch=compute_90a,code=sm_90a -lineinfo -Inative native/lab/causal_conv1d.cu
//       native/cuda/conv1d.cu native/cuda/status.cpp -o causal_conv1d
//   ./causal_conv1d [--json FILE --commit SHA] [--check | --time]
//
// Bound. Bytes, see native/cuda/conv1d.cu. At 4.25 TB/s: update, dim 10240, B=256 9.9 us, 1024 39.5; varlen, 8192
// tokens 79.0, 3 x 2048 and 256 x 1 69.2.
//
// Measured, us on one H200, between two events around a graph of the launch alone, after a flush of the L2 by writes
// (after a flush that leaves it clean in brackets). An empty kernel takes 3.7 (3.6) of it; 4.0 (3.8) in the earlier run
// whose lines are marked with *.
//
// Update, bf16, dim 10240                         B=1        8          64         256         1024
//   copy of the same bytes                        4.6 (4.3)  5.1 (4.5)  7.3 (6.5)  15.3 (13.2) 44.0 (40.9)
// * V1 R1: a channel a thread                     5.7 (5.3)  6.0 (5.6)  10.1 (8.8) 22.2 (19.8) 70.2 (67.6)
//   V2 R1 t64: all the threads a row can use      5.4 (5.0)  5.8 (5.4)  8.7 (8.3)  18.4 (17.6) 57.2 (56.1)
// * V8 R1 t64: 16-byte accesses, fewer threads    5.7 (5.4)  6.1 (5.6)  8.2 (7.0)  17.2 (14.3) 50.7 (46.6)
//   V4 R3 t128: taps once for three rows          5.4 (5.2)  5.8 (5.4)  8.0 (7.2)  16.3 (13.7) 47.9 (44.4)
//   steps R1 t64: V4, taps ahead of the inputs    5.7 (5.5)  6.2 (5.7)  8.7 (7.5)  17.1 (16.9) 54.0 (53.9)
//   steps R3 t128                                 5.7 (5.4)  6.3 (5.8)  8.7 (7.6)  17.0 (14.6) 48.7 (44.8)
//   steps R4 t128                                 5.7 (5.5)  6.7 (6.2)  8.9 (7.7)  16.8 (14.5) 48.5 (45.2)
//   V2 R1 t64, taps in bf16: nothing gained       5.8 (5.5)  6.1 (5.8)
//   in a chain, taps ahead of the kernel before   1.6 (1.6)  2.0 (1.8)  4.4 (4.2)
//   in a chain, one after another                 2.2 (2.2)  2.7 (2.5)  4.9 (4.6)
// The early start saves 0.6 us in a chain, which a decode step is; taps ahead of the slots, for its sake, cost 0.3 us
// where a launch stands alone. Walking over several batches of rows with the next one in flight gains nothing (R2 x
// 4: 16.9, 49.6). With .cs on loads and stores (an earlier run) B=1024 took 52.9 against 49.9: dirty lines leave the L2
// too early.
//
// Varlen, bf16, dim 10240; V: blocks of 24        1x8192        64x128        3x2048+256x1  1x64        1x512
//   copy of the same bytes                        83.7 (80.0)   85.6 (82.0)   74.1 (70.2)   5.3 (4.6)   9.5 (8.5)
// * V1 B1: a channel a thread (blocks of 32)      203.4 (198.2) 208.2 (203.1) 179.0 (173.7) 19.4 (18.8) 22.1 (19.0)
// * V8 B4: 16-byte accesses, 128 registers        98.7 (93.3)   100.0 (96.2)  88.1 (83.9)   11.4 (11.1) 14.4 (12.5)
// * V4 B4: half the registers                     97.2 (93.1)   100.0 (96.5)  90.0 (86.0)   10.8 (10.2) 14.3 (12.3)
//   V4 B6 64x1: the best of both                  92.2 (88.4)   95.8 (92.1)   86.1 (82.3)   9.8 (9.3)   13.4 (12.1)
//   the same, blocks of 64                        103.5 (95.7)  102.6 (95.5)  87.1 (82.6)   13.5 (13.1) 16.6 (14.9)
//   bulk V4 32/8: in flight in shared memory      91.3 (88.3)   94.6 (91.7)   87.4 (84.3)   9.3 (9.1)   14.1 (13.0)
//   V4 B4 32x4 part 8: for few tokens             108.8 (104.7) 116.5 (113.3) 113.5 (109.5) 8.2 (7.6)   14.2 (12.5)
//   chunks B6 R4 t64 M8: equal shares             93.2 (89.2)   97.4 (93.3)   85.9 (81.7)   8.1 (7.6)   12.7 (11.8)
//   chunks B7 R4 t64 M8                           93.2 (88.9)   96.3 (92.5)   85.4 (81.4)   8.2 (7.7)   12.8 (12.2)
//   chunks B8 R4 t64 M8                           94.6 (90.4)   98.1 (94.1)   87.9 (83.0)   9.1 (8.6)   13.5 (12.7)
//   chunks B6 R2 t64 M10: spills                  96.8 (91.8)   101.3 (96.6)  87.9 (82.9)   9.3 (8.6)   13.2 (12.2)
// Chunks do not ask how the host cut the tokens, are the best for few tokens and within 2% of the best for many. Three
// steps paid before: exp2 and reciprocal without subnormals, then a body of B tokens without tests (V8 B4 at blocks of
// 32: 130, 107, 98). Chunks through a ring in shared memory, filled by the copy engine: 97.6 to 106 at 1x8192. What is
// left is the path between the two halves of the L2: 83 to 86% busy with memory at 73 to 75% of its peak (a plain copy
// reaches 90% and 80%); taps and the tokens before a block, which chunks hardly read, are not what holds it up.
#include "lab/conv1d_check.cuh"

namespace {

constexpr int kChain = 20;

bool selected(const lab::Options& o, const char* version) {
  return o.once.empty() || std::string(version).find(o.once) != std::string::npos;
}

void time_update(const lab::Options& o, lab::Bench& bench, lab::Report& report) {
  constexpr int64_t kDim = 10240, kWidth = 4, kPool = 2048, kMost = 1024;
  lab::Random random{7};
  Host weight(DType::f32, kWidth * kDim), bias(DType::f32, kDim);
  weight.fill_normal(random, 0.5), bias.fill_normal(random);
  const auto slots = make_slots(random, kMost, kPool, false);
  const Buffer x(kMost * kDim * 2), state(kPool * (kWidth - 1) * kDim * 2), out(kMost * kDim * 2), dweight(weight),
      dbias(bias), dslots(slots);
  lab::fill_random_kernel<<<1056, 256>>>(x.as<__nv_bfloat16>(), kMost * kDim, 1);
  lab::fill_random_kernel<<<1056, 256>>>(state.as<__nv_bfloat16>(), kPool * (kWidth - 1) * kDim, 2);
  LAB_CHECK(cudaDeviceSynchronize());
  for (const int64_t rows : {1, 8, 64, 256, 1024}) {
    const Update p = {rows,
                      kDim,
                      kWidth,
                      kPool,
                      x.data,
                      kDim,
                      state.data,
                      (kWidth - 1) * kDim,
                      dweight.as<float>(),
                      dbias.as<float>(),
                      dslots.as<int32_t>(),
                      out.data,
                      kDim,
                      true,
                      DType::bf16,
                      DType::bf16};
    const double bytes = static_cast<double>(rows * (16 * kDim + 4)) + (kWidth + 1) * kDim * 4;
    const lab::Times copy = o.time ? bench.copy(bytes) : lab::Times{};
    if (o.time)
      report.line("causal_conv1d_update", "B=" + std::to_string(rows), "in place copy", bench.in_place(bytes), bytes,
                  copy);
    for (const auto& version : kUpdates) {
      if (!selected(o, version.name)) continue;
      if (!o.time) {
        if (o.once_case.empty() || o.once_case == std::to_string(rows)) version.launch(p, bench.stream());
        LAB_CHECK(cudaStreamSynchronize(bench.stream()));
        continue;
      }
      const lab::Times us = bench.time([&](cudaStream_t s) { version.launch(p, s); });
      report.line("causal_conv1d_update", "B=" + std::to_string(rows), version.name, us, bytes, copy);
    }
    if (!o.time || rows > 64) continue;
    // Launches one after another, as in a model, each on slots of its own: the time of each.
    for (const bool early : {false, true}) {
      lab::Times us = bench.time([&](cudaStream_t s) {
        Context context = context_of(s);
        for (int i = 0; i < kChain; ++i) {
          Update q = p;
          q.slots += rows * i % (kMost - rows + 1);
          context.early = early && i > 0;
          run_causal_conv1d_update(q, context);
        }
      });
      us.event /= kChain, us.clean /= kChain;
      report.line("causal_conv1d_update", "B=" + std::to_string(rows), early ? "each of 20 early" : "each of 20 serial",
                  us, bytes, copy);
    }
    if (rows > 8) continue;
    // What taps in 16 bits would save (the bits of the float taps, so only the time means something).
    const lab::Times us = bench.time([&](cudaStream_t s) {
      const dim3 grid(kDim / (64 * 2), static_cast<unsigned>(rows));
      causal_conv1d_update_kernel<4, bf16, bf16, 2, 1, bf16><<<grid, 64, 0, s>>>(p, 1);
    });
    report.line("causal_conv1d_update", "B=" + std::to_string(rows), "V2 R1x1 t64, taps in bf16", us, bytes, copy);
  }
}

void time_varlen(const lab::Options& o, lab::Bench& bench, lab::Report& report) {
  constexpr int64_t kDim = 10240, kWidth = 4, kPool = 512, kMost = 8192;
  lab::Random random{9};
  Host weight(DType::f32, kWidth * kDim), bias(DType::f32, kDim);
  weight.fill_normal(random, 0.5), bias.fill_normal(random);
  const Buffer x(kMost * kDim * 2), state(kPool * (kWidth - 1) * kDim * 2), out(kMost * kDim * 2), dweight(weight),
      dbias(bias);
  lab::fill_random_kernel<<<1056, 256>>>(x.as<__nv_bfloat16>(), kMost * kDim, 1);
  lab::fill_random_kernel<<<1056, 256>>>(state.as<__nv_bfloat16>(), kPool * (kWidth - 1) * kDim, 2);
  LAB_CHECK(cudaDeviceSynchronize());
  struct Batch {
    const char* name;
    std::vector<int64_t> lengths;
  };
  std::vector<int64_t> mixed(3, 2048);
  mixed.insert(mixed.end(), 256, 1);
  const std::vector<Batch> batches = {{"1x8192", {8192}},
                                      {"8x1024", std::vector<int64_t>(8, 1024)},
                                      {"64x128", std::vector<int64_t>(64, 128)},
                                      {"mixed 3x2048+256x1", mixed},
                                      {"1x64", {64}},
                                      {"1x512", {512}}};
  for (const Batch& batch : batches) {
    const int64_t sequences = static_cast<int64_t>(batch.lengths.size());
    const Buffer slots(make_slots(random, sequences, kPool, false)),
        initial(std::vector<int32_t>(static_cast<size_t>(sequences), 1));
    int64_t tokens = 0;
    for (const int64_t length : batch.lengths) tokens += length;
    const double bytes = static_cast<double>(tokens * 4 * kDim + sequences * (kWidth - 1) * kDim * 4) +
                         static_cast<double>((kWidth + 1) * kDim * 4);
    const lab::Times copy = o.time ? bench.copy(bytes) : lab::Times{};
    for (const int64_t block_size : {24, 32, 64}) {
      const Blocks blocks(batch.lengths, block_size);
      const Buffer start(blocks.start), sequence(blocks.sequence), offset(blocks.offset);
      const Varlen p = {tokens,
                        sequences,
                        static_cast<int64_t>(blocks.sequence.size()),
                        kDim,
                        kWidth,
                        kPool,
                        block_size,
                        x.data,
                        kDim,
                        state.data,
                        (kWidth - 1) * kDim,
                        dweight.as<float>(),
                        dbias.as<float>(),
                        start.as<int32_t>(),
                        slots.as<int32_t>(),
                        initial.as<int32_t>(),
                        sequence.as<int32_t>(),
                        offset.as<int32_t>(),
                        out.data,
                        kDim,
                        true,
                        0,
                        nullptr,
                        nullptr,
                        DType::bf16,
                        DType::bf16};
      for (const auto& version : kVarlens) {
        if (!selected(o, version.name) || (version.whole && block_size != 24)) continue;
        if (!o.time) {
          if (!o.once_case.empty() && o.once_case != batch.name) continue;
          version.launch(p, bench.stream());
          LAB_CHECK(cudaStreamSynchronize(bench.stream()));
          continue;
        }
        const lab::Times us = bench.time([&](cudaStream_t s) { version.launch(p, s); });
        report.line("causal_conv1d_varlen", batch.name,
                    version.name + (version.whole ? "" : " block " + std::to_string(block_size)), us, bytes, copy);
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
  if (options.time) report.line("empty", "", "", bench.empty(), 0, {});
  time_update(options, bench, report);
  time_varlen(options, bench, report);
  return 0;
}
