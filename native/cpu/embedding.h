#pragma once
#include "cpu/thread_pool.h"
#include "ops/embedding.h"

namespace mamba::cpu {

void run_embedding(const EmbeddingParams& params, ThreadPool& pool);
void run_gather_rows(const GatherRowsParams& params, ThreadPool& pool);
void run_place_drawn_tokens(const PlaceDrawnTokensParams& params, ThreadPool& pool);

}  // namespace mamba::cpu
