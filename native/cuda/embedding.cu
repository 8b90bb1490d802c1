// embedding, gather_rows and place_drawn_tokens on CUDA: the choice of a kernel of embedding.cuh.
//
// Measured on one H200 (us, the launch's 4.0 in it; bench/results/h200-norm.jsonl), rows of 2560 in bf16: 5.2 for one,
// 6.2 for 256 and 27.8 for 8192, where a copy of the same bytes takes 4.9, 5.8 and 25.4.
#include <algorithm>

#include "core/float_type.h"
#include "cuda/embedding.cuh"
#include "cuda/kernels.h"
#include "ops/embedding.h"

namespace mamba::cuda {
namespace {

constexpr int kVec = 8;

LaunchShape block_a_row(int64_t rows, int64_t vectors) {
  const int64_t threads = std::min<int64_t>(kCopyThreads, ceil_div(vectors, 32) * 32);
  return {.grid = rows, .block = static_cast<unsigned>(threads)};
}

template <class W, class O>
void embed(const EmbeddingParams& p, Context& context) {
  const auto go = [&]<int V>() {
    launch(context, block_a_row(p.tokens, p.hidden / V), embedding_kernel<W, O, V>, static_cast<const W*>(p.weight),
           p.ids, static_cast<O*>(p.out), p.vocab, p.hidden);
  };
  const uintptr_t addresses = reinterpret_cast<uintptr_t>(p.weight) | reinterpret_cast<uintptr_t>(p.out);
  p.hidden % kVec == 0 && addresses % 16 == 0 ? go.template operator()<kVec>() : go.template operator()<1>();
}

}  // namespace

void run_embedding(const EmbeddingParams& p, Context& context) {
  if (p.tokens == 0 || p.hidden == 0) return;
  with_float_type(p.weight_dtype, [&](auto w) {
    with_float_type(p.out_dtype, [&](auto out) { embed<decltype(w), decltype(out)>(p, context); });
  });
}

void run_gather_rows(const GatherRowsParams& p, Context& context) {
  if (p.rows == 0 || p.width == 0) return;
  const int64_t bytes = p.width * static_cast<int64_t>(size_of(p.dtype));
  const int64_t stride = p.x_stride * static_cast<int64_t>(size_of(p.dtype));
  const uint64_t places = reinterpret_cast<uintptr_t>(p.x) | reinterpret_cast<uintptr_t>(p.out) |
                          static_cast<uint64_t>(bytes) | static_cast<uint64_t>(stride);
  const auto go = [&]<class Word>(Word) {
    constexpr int64_t kBytes = sizeof(Word);
    launch(context, block_a_row(p.rows, bytes / kBytes), gather_rows_kernel<Word>, static_cast<const Word*>(p.x),
           p.index, static_cast<Word*>(p.out), p.source_rows, stride / kBytes, bytes / kBytes);
  };
  if (places % 16 == 0) return go(uint4{});
  if (places % 4 == 0) return go(uint32_t{});
  places % 2 == 0 ? go(uint16_t{}) : go(uint8_t{});
}

void run_place_drawn_tokens(const PlaceDrawnTokensParams& p, Context& context) {
  if (p.tokens == 0 || p.draws == 0) return;
  launch(context, {.grid = ceil_div(p.tokens, kPlaceThreads), .block = kPlaceThreads}, place_drawn_tokens_kernel, p);
}

}  // namespace mamba::cuda
