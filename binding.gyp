# The addon without CMake: CPU backend only, from the same list of sources. scripts/build-gyp.sh runs it.
{
  "targets": [
    {
      "target_name": "mamba_serve",
      "sources": [
        "<!@(node -p \"const s = require('./native/sources.json'); ['core', 'ops', 'cpu', 'addon'].flatMap((f) => s[f]).map((f) => 'native/' + f).join(' ')\")"
      ],
      "include_dirs": [
        "native",
        "<!(node -p \"require('node-api-headers').include_dir\")",
        "<!(node -p \"require('node-addon-api').include_dir\")"
      ],
      "defines": ["NAPI_VERSION=9", "NODE_ADDON_API_CPP_EXCEPTIONS", "NDEBUG"],
      # Node's own defaults, which are for code without exceptions; the flags after them are those of CMakeLists.txt.
      "cflags_cc!": ["-fno-exceptions", "-fno-rtti", "-std=gnu++17"],
      "cflags_cc": [
        "-std=gnu++20", "-O3", "-fexceptions", "-frtti", "-fvisibility=hidden",
        "-Wall", "-Wextra", "-Wno-unknown-warning-option", "-Wno-maybe-uninitialized"
      ],
      "ldflags": ["-pthread"]
    }
  ]
}
