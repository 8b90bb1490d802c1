import { readdirSync } from "node:fs";
import { join } from "node:path";
import { loadModelConfig } from "../../../src/models/config";
import { configFacts } from "../../helpers/config-facts";

const presets = join(__dirname, "../../../bench/models");

/** Parameters, those that a token uses, MiB of a sequence's states (f32, convolution bf16), bytes of a token's bf16 KV. */
const expected: Readonly<Record<string, readonly [number, number, number, number]>> = {
  "bamba-9b": [9_780_235_392, 9_780_235_392, 117.4, 12_288],
  "falcon-h1-0.5b": [521_411_104, 521_411_104, 27.4, 18_432],
  "falcon-h1-1.5b": [1_554_789_760, 1_554_789_760, 72.5, 24_576],
  "falcon-h1-7b": [7_585_513_568, 7_585_513_568, 132.9, 45_056],
  "granite-4.0-h-micro": [3_191_396_096, 3_191_396_096, 72.9, 8192],
  "granite-4.0-h-small": [32_207_337_984, 8_803_121_664, 145.7, 16_384],
  "granite-4.0-h-tiny": [6_939_037_248, 1_465_470_528, 54.7, 8192],
  "granite-4.0-micro": [3_402_836_480, 3_402_836_480, 0, 81_920],
  "mamba-codestral-7b": [7_285_403_648, 7_285_403_648, 259.8, 0],
  "mamba-codestral-7b-w4a16": [7_285_403_648, 7_285_403_648, 259.8, 0],
  "mamba2-130m": [128_989_632, 128_989_632, 18.2, 0],
  "mamba2-2.7b": [2_702_599_680, 2_702_599_680, 162, 0],
  "nemotron-3-nano-30b-a3b": [31_577_940_288, 3_580_076_352, 46.8, 6144],
  "nemotron-3-super-120b-a12b": [120_668_707_840, 12_770_237_440, 162.3, 8192],
  "nemotron-3.5-lightning-30b-a3b": [31_577_940_288, 3_580_076_352, 46.8, 6144],
  "nemotron-3.5-lightning-30b-a3b-nvfp4": [31_577_940_288, 3_580_076_352, 46.8, 6144],
  // The first of this is in the description of the published checkpoint.
  "nemotron-nano-9b-v2": [8_888_227_328, 8_888_227_328, 136.9, 16_384],
  // Both of the published checkpoint, without its head for multi-token prediction.
  "qwen3-next-80b-a3b": [79_674_391_296, 3_874_929_408, 73.7, 24_576],
  "qwen3.5-27b": [26_895_998_464, 26_895_998_464, 146.8, 65_536],
  "qwen3.5-35b-a3b": [34_660_610_688, 3_454_988_928, 61.4, 20_480],
  "qwen3.5-4b": [4_205_751_296, 4_205_751_296, 49.1, 32_768],
  "qwen3.5-9b": [8_953_803_264, 8_953_803_264, 49.1, 32_768],
  "zamba2-1.2b": [1_215_064_704, 1_215_064_704, 76.9, 98_304],
  "zamba2-7b": [7_356_749_648, 7_356_749_648, 145.2, 372_736],
};

const folders = readdirSync(presets, { withFileTypes: true }).filter((entry) => entry.isDirectory());

test.each(folders.map(({ name }) => name))("%s is read, and as large as it is said to be", (name) => {
  const config = loadModelConfig(join(presets, name));
  const { parameters, stateBytes, kvBytesPerToken } = configFacts(config, { conv: 2, ssm: 4, kv: 2 });
  const mebibytes = Math.round((stateBytes / 2 ** 20) * 10) / 10;
  expect([parameters.total, parameters.active, mebibytes, kvBytesPerToken]).toEqual(expected[name]);
});
