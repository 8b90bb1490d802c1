#pragma once
// What a step's metadata says of where things are, checked before a kernel goes there: a mistake of whoever wrote it
// fails the step with ErrorCode::Argument, and reaches no foreign memory.
#include <cstdint>

namespace mamba::cpu {

// starts [count + 1] ascend from 0 or more to `end` or less.
void check_starts(const char* op, const char* name, const int32_t* starts, int64_t count, int64_t end);

// Tokens of the longest of them.
int64_t longest_of(const int32_t* starts, int64_t count);

// Each of indices [count] is in [least, end).
void check_indices(const char* op, const char* name, const int32_t* indices, int64_t count, int64_t least, int64_t end);

// The sequences of `p`, and their chunks.
template <class ChunkParams>
void check_chunks(const char* op, const ChunkParams& p) {
  check_starts(op, "query_start_loc", p.query_start_loc, p.sequences, p.tokens);
  check_starts(op, "cu_chunk_seqlens", p.cu_chunk_seqlens, p.chunks, p.tokens);
  check_indices(op, "last_chunk", p.last_chunk, p.sequences, -1, p.chunks);
}

}  // namespace mamba::cpu
