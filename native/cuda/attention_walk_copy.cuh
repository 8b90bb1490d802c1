#pragma once
// The walk of attention_walk.cuh: its shapes, its shared memory, and the warp that copies.
#include "cuda/attention.cuh"
#include "cuda/hopper.cuh"

namespace mamba::cuda::attention {

template <int kHeadDim, int kTileOfKeys, int kWarpgroups, int kKeyStages, int kValueStages, int kQueryBuffers>
struct WalkShape {
  static constexpr int kD = kHeadDim, kKeys = kTileOfKeys, kGroups = kWarpgroups;
  static constexpr int kChunks = (kD + 63) / 64;
  static constexpr int kStagesK = kKeyStages, kStagesV = kValueStages, kStagesQ = kQueryBuffers;
  static constexpr int kThreads = 128 * (kGroups + 1), kRows = 64 * kGroups;             // queries, a tile's
  static constexpr uint32_t kTile = kChunks * kKeys * 128, kQuery = kChunks * 64 * 128;  // bytes
  static constexpr uint32_t kQueries = kStagesQ * kGroups * kQuery;
  static constexpr int kBarriers = 2 * (kStagesK + kStagesV + kStagesQ * kGroups);
  static constexpr size_t kShared = kQueries + (kStagesK + kStagesV) * kTile + kBarriers * 8 + kStagesQ * 64 + 1024;
};

struct WalkMaps {
  CUtensorMap q;     // (channel, head, token) in boxes of 64 x 1 x 64
  CUtensorMap k, v;  // (channel, offset in the page, head, page) in boxes of 64 x box_rows x 1 x 1
};

// What the groups have to know of a unit.
struct WalkUnit {
  int first_tile, tiles;  // of keys; tiles = 0: no more units
  int position;           // of the block's first query
  int rows;               // queries of the block
  int kv_len, head;
  int64_t token;  // of the first query, in q and out
};

// Named barriers: 1 to 3 are a group's turn, 4 to 6 a group's own.
__device__ __forceinline__ void turn_wait(int group) { asm volatile("bar.sync %0, 256;" ::"r"(1 + group) : "memory"); }
__device__ __forceinline__ void turn_give(int group) {
  asm volatile("bar.arrive %0, 256;" ::"r"(1 + group) : "memory");
}
__device__ __forceinline__ void group_sync(int group) { asm volatile("bar.sync %0, 128;" ::"r"(4 + group) : "memory"); }

template <class Shape>
struct WalkShared {
  uint32_t q, k, v;  // addresses
  uint64_t *full_k, *empty_k, *full_v, *empty_v, *full_q, *empty_q;
  WalkUnit* units;  // beside each buffer of queries

  __device__ __forceinline__ explicit WalkShared(uint8_t* memory) {
    memory += (1024 - shared_address(memory) % 1024) % 1024;
    q = shared_address(memory);
    k = q + Shape::kQueries;
    v = k + Shape::kStagesK * Shape::kTile;
    auto* barriers =
        reinterpret_cast<uint64_t*>(memory + Shape::kQueries + (Shape::kStagesK + Shape::kStagesV) * Shape::kTile);
    full_k = barriers, empty_k = full_k + Shape::kStagesK;
    full_v = empty_k + Shape::kStagesK, empty_v = full_v + Shape::kStagesV;
    full_q = empty_v + Shape::kStagesV, empty_q = full_q + Shape::kStagesQ * Shape::kGroups;
    units = reinterpret_cast<WalkUnit*>(empty_q + Shape::kStagesQ * Shape::kGroups);
  }

  __device__ __forceinline__ void init() const {
    for (int i = 0; i < Shape::kStagesK; ++i)
      hopper::barrier_init(full_k + i, 1), hopper::barrier_init(empty_k + i, 4 * Shape::kGroups);
    for (int i = 0; i < Shape::kStagesV; ++i)
      hopper::barrier_init(full_v + i, 1), hopper::barrier_init(empty_v + i, 4 * Shape::kGroups);
    for (int i = 0; i < Shape::kStagesQ * Shape::kGroups; ++i)
      hopper::barrier_init(full_q + i, 1), hopper::barrier_init(empty_q + i, 4);
    hopper::barrier_init_fence();
  }
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
// One warp, a lane for each box of a tile.
template <class Shape>
struct WalkCopy {
  const Job& job;
  const WalkMaps& maps;
  const WalkShared<Shape>& shared;
  const int box_rows, lane, shift;
  hopper::RingPlace k = {}, v = {}, q = {};

  // `index` counts tiles of all heads, head by head of a tile.
  __device__ __forceinline__ WalkUnit unit_at(int index, const int32_t*& block_table) const {
    WalkUnit unit = {};
    const int tile = index / job.heads, sequence = job.tile_seq[tile];
    if (sequence < 0 || sequence >= job.rows) return unit;
    const int first = job.query_start_loc[sequence], length = job.query_start_loc[sequence + 1] - first;
    const int offset = job.tile_offset[tile] * Shape::kRows, window = static_cast<int>(job.context.window);
    unit.head = index % job.heads;
    unit.kv_len = job.context.kv_lens[sequence];
    unit.rows = min(Shape::kRows, length - offset);
    unit.position = unit.kv_len - length + offset;
    unit.token = first + offset;
    if (unit.rows <= 0) return unit;
    const int last_key = min(unit.position + unit.rows, unit.kv_len) - 1;
    unit.first_tile = window > 0 ? max(0, unit.position - window + 1) / Shape::kKeys : 0;
    unit.tiles = max(1, last_key / Shape::kKeys + 1 - unit.first_tile);
    block_table = job.context.block_table + sequence * job.context.max_pages;
    return unit;
  }

  __device__ __forceinline__ int page_of(const int32_t* block_table, int tile) const {
    const int index = (tile * Shape::kKeys + lane * box_rows) >> shift;
    return lane * box_rows < Shape::kKeys && index < job.context.max_pages ? block_table[index] : -1;
  }

  __device__ __forceinline__ void copy_tile(const CUtensorMap* map, uint32_t to, uint64_t* full, int tile, int page,
                                            int head) const {
    if (lane == 0) hopper::barrier_expect(full, Shape::kTile);
    __syncwarp();
    const int row = lane * box_rows;
    if (row < Shape::kKeys) {
#pragma unroll
      for (int c = 0; c < Shape::kChunks; ++c) {
        hopper::copy_box_4d(to + (c * Shape::kKeys + row) * 128, map, full, 64 * c,
                            (tile * Shape::kKeys + row) & ((1 << shift) - 1), head, page);
      }
    }
  }
  __device__ __forceinline__ void copy_keys(int tile, int page, int head) {
    hopper::barrier_wait(shared.empty_k + k.index, k.phase ^ 1);
    copy_tile(&maps.k, shared.k + k.index * Shape::kTile, shared.full_k + k.index, tile, page, head);
    k.advance(Shape::kStagesK);
  }
  __device__ __forceinline__ void copy_values(int tile, int page, int head) {
    hopper::barrier_wait(shared.empty_v + v.index, v.phase ^ 1);
    copy_tile(&maps.v, shared.v + v.index * Shape::kTile, shared.full_v + v.index, tile, page, head);
    v.advance(Shape::kStagesV);
  }
  __device__ __forceinline__ void copy_queries(const WalkUnit& unit) {
    for (int group = 0; group < Shape::kGroups; ++group)
      hopper::barrier_wait(shared.empty_q + q.index * Shape::kGroups + group, q.phase ^ 1);
    if (lane == 0) {
      shared.units[q.index] = unit;
      for (int group = 0; group < Shape::kGroups; ++group) {
        const int buffer = q.index * Shape::kGroups + group;
        uint64_t* full = shared.full_q + buffer;
        if (unit.tiles == 0) {
          hopper::barrier_arrive(full);
          continue;
        }
        hopper::barrier_expect(full, Shape::kQuery);
#pragma unroll
        for (int c = 0; c < Shape::kChunks; ++c) {
          hopper::copy_box_3d(shared.q + buffer * Shape::kQuery + c * 64 * 128, &maps.q, full, 64 * c, unit.head,
                              static_cast<int>(unit.token) + 64 * group);
        }
      }
    }
    __syncwarp();
    q.advance(Shape::kStagesQ);
  }

  __device__ __forceinline__ void run() {
    const int units = job.tiles * job.heads, blocks = static_cast<int>(gridDim.x), block = static_cast<int>(blockIdx.x);
    int round = 0;
    // Back and forth: the first blocks do not have the longest unit of each round.
    const auto next_unit = [&](const int32_t*& block_table) {
      for (;; ++round) {
        if (round * blocks >= units) return WalkUnit{};
        const int index = round * blocks + (round % 2 ? blocks - 1 - block : block);
        if (index >= units) continue;
        const WalkUnit unit = unit_at(index, block_table);
        if (unit.tiles > 0) return ++round, unit;
      }
    };
    const int32_t *block_table = nullptr, *next_table = nullptr;
    WalkUnit unit = next_unit(block_table), next = {};
    while (unit.tiles > 0) {
      const int head = unit.head / job.group, last = unit.first_tile + unit.tiles - 1;
      int page = page_of(block_table, unit.first_tile), next_page = page, before = page;
      for (int tile = unit.first_tile; tile <= last; ++tile) {
        page = next_page;
        if (tile < last) next_page = page_of(block_table, tile + 1);
        copy_keys(tile, page, head);
        if (tile == unit.first_tile) {
          copy_queries(unit);
        } else {
          copy_values(tile - 1, before, head);
        }
        if (tile == min(last, unit.first_tile + 1)) next = next_unit(next_table);
        before = page;
      }
      copy_values(last, before, head);
      unit = next, block_table = next_table;
    }
    copy_queries({});
  }
};
#endif  // sm_90a

}  // namespace mamba::cuda::attention
