/** Logical chunks in the form of TensorRT-LLM: parallel lists, one entry per chunk in order of the packed tokens. */
export interface ChunkIndices {
  /** Physical chunk (`chunkSize` tokens at a fixed packed position) that the logical chunk is part of. */
  readonly chunkIndices: number[];
  /** Where in that physical chunk it starts. */
  readonly chunkOffsets: number[];
  /** Logical chunks beyond the physical ones: distinct sequence boundaries strictly inside a physical chunk. */
  readonly extraChunks: number;
}

/**
 * TensorRT-LLM's cu_seqlens_to_chunk_indices_offsets, for parity with its kernels; ours use sequence-relative chunks instead
 * (src/step/fields/chunks.ts). A logical chunk is a run of tokens in one physical chunk and one sequence, so an empty sequence has
 * none; the closed formula of the original counts one too many where an empty sequence lies inside a physical chunk.
 *
 * `cuSeqlens` is [sequences + 1], from 0, not decreasing.
 */
export function cuSeqlensToChunkIndicesOffsets(cuSeqlens: readonly number[], chunkSize: number): ChunkIndices {
  const chunkIndices: number[] = [];
  const chunkOffsets: number[] = [];
  for (let sequence = 1; sequence < cuSeqlens.length; sequence++) {
    const end = cuSeqlens[sequence]!;
    let token = cuSeqlens[sequence - 1]!;
    while (token < end) {
      const offset = token % chunkSize;
      chunkIndices.push((token - offset) / chunkSize);
      chunkOffsets.push(offset);
      token += chunkSize - offset;
    }
  }
  const numPhysical = Math.ceil((cuSeqlens.at(-1) ?? 0) / chunkSize);
  return { chunkIndices, chunkOffsets, extraChunks: chunkIndices.length - numPhysical };
}
