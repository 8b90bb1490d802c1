/** A system that gives no more threads: the device is not opened, and the process goes on. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Loaded ahead of the C library: only so many threads of a process start. */
const few = `
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
static int started;
int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*body)(void*), void* argument) {
  int (*create)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*) = dlsym(RTLD_NEXT, "pthread_create");
  return __sync_add_and_fetch(&started, 1) > 40 ? EAGAIN : create(thread, attributes, body, argument);
}`;

const script = `
const { Device } = require("./src/tensor/device.ts");
try { Device.open({ kind: "cpu", threads: 64 }); } catch (error) { console.log(error.code); }
console.log("goes on");`;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "threads-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

test("opening a device with more threads than there are is an error", () => {
  writeFileSync(join(folder, "few.c"), few);
  const library = join(folder, "few.so");
  if (spawnSync("cc", ["-shared", "-fPIC", "-o", library, join(folder, "few.c"), "-ldl"]).status !== 0) {
    console.info("skipped: there is no C compiler");
    return;
  }
  const node = spawnSync(process.execPath, ["-r", "./test/helpers/register.js", "-e", script], {
    ...{ cwd: join(__dirname, "..", ".."), encoding: "utf8", env: { ...process.env, LD_PRELOAD: library } },
  });
  expect(node).toMatchObject({ status: 0, signal: null, stdout: "ERR_INTERNAL\ngoes on\n" });
});
