import { readdirSync } from "node:fs";
import { join } from "node:path";
import { loadModelConfig } from "../../src/models/config";

const presets = join(__dirname, "../../bench/models");

const folders = readdirSync(presets, { withFileTypes: true }).filter((entry) => entry.isDirectory());

test.each(folders.map(({ name }) => name))("the published config of %s is read", (name) => {
  expect(loadModelConfig(join(presets, name)).numLayers).toBeGreaterThan(0);
});
