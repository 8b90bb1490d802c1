#include "cpu/embedding.h"

#include <cstring>

#include "core/float_type.h"
#include "cpu/cut.h"

namespace mamba::cpu {
namespace {

template <class In, class Out>
void embed(const EmbeddingParams& p, ThreadPool& pool) {
  const In* weight = static_cast<const In*>(p.weight);
  Out* out = static_cast<Out*>(p.out);
  for_rows(pool, p.tokens, p.hidden, [&](Range tokens, Scratch&) {
    for (int64_t t = tokens.begin; t < tokens.end; ++t) {
      const int64_t id = p.ids[t];
      Out* row = out + t * p.hidden;
      if (id < 0 || id >= p.vocab) {
        std::memset(row, 0, static_cast<size_t>(p.hidden) * sizeof(Out));
        continue;
      }
      const In* source = weight + id * p.hidden;
      for (int64_t i = 0; i < p.hidden; ++i) row[i] = from_float<Out>(to_float(source[i]));
    }
  });
}

}  // namespace

void run_embedding(const EmbeddingParams& p, ThreadPool& pool) {
  with_float_type(p.weight_dtype, [&](auto in) {
    with_float_type(p.out_dtype, [&](auto out) { embed<decltype(in), decltype(out)>(p, pool); });
  });
}

void run_gather_rows(const GatherRowsParams& p, ThreadPool& pool) {
  const size_t bytes = static_cast<size_t>(p.width) * size_of(p.dtype);
  const size_t stride = static_cast<size_t>(p.x_stride) * size_of(p.dtype);
  for_rows(pool, p.rows, p.width, [&](Range rows, Scratch&) {
    for (int64_t r = rows.begin; r < rows.end; ++r) {
      char* row = static_cast<char*>(p.out) + static_cast<size_t>(r) * bytes;
      const int64_t source = p.index[r];
      if (source < 0 || source >= p.source_rows) {
        std::memset(row, 0, bytes);
      } else {
        std::memcpy(row, static_cast<const char*>(p.x) + static_cast<size_t>(source) * stride, bytes);
      }
    }
  });
}

void run_place_drawn_tokens(const PlaceDrawnTokensParams& p, ThreadPool&) {
  for (int64_t t = 0; t < p.tokens; ++t) {
    const int64_t draw = -1 - int64_t{p.ids[t]};
    if (draw >= 0 && draw < p.draws) p.ids[t] = p.drawn[draw];
  }
}

}  // namespace mamba::cpu
