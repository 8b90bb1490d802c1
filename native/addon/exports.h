#pragma once
#include <napi.h>

namespace mamba::addon {

// Each adds the functions of a file of that name.
void export_devices(Napi::Object exports);
void export_graphs(Napi::Object exports);
void export_packing(Napi::Object exports);
void export_tensors(Napi::Object exports);
void export_transfers(Napi::Object exports);

// One function per row of ops.def, and `opRows`: the rows as text, by which src/native/load.ts tells that the addon was
// built from the same list.
void export_ops(Napi::Object exports);

}  // namespace mamba::addon
