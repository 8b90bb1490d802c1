#pragma once
#include "core/dtype.h"

namespace mamba {

struct EmbeddingParams {
  int64_t tokens, hidden, vocab;
  const void* weight;  // [vocab, hidden] contiguous
  const int32_t* ids;  // [tokens]; an id outside [0, vocab) gives a row of zeros
  void* out;           // [tokens, hidden] contiguous
  DType weight_dtype, out_dtype;
};

struct GatherRowsParams {
  int64_t rows, source_rows, width;
  const void* x;  // [source_rows, width], row stride x_stride
  int64_t x_stride;
  const int32_t* index;  // [rows]; an index outside [0, source_rows) gives a row of zeros
  void* out;             // [rows, width] contiguous
  DType dtype;
};

struct PlaceDrawnTokensParams {
  int64_t tokens, draws;
  int32_t* ids;          // [tokens], in place: -1 - d becomes drawn[d]; one outside [-draws, 0) stays
  const int32_t* drawn;  // [draws]
};

}  // namespace mamba
