import "../../helpers/allow-inject";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { buildApp } from "../../../src/server/app";
import type { ServerOptions } from "../../../src/server/options";
import { FakeLanguageModel } from "../../helpers/fake-language-model";

const build = (options: Partial<ServerOptions> = {}) => buildApp(new FakeLanguageModel({ chatTemplate: "x" }), options);
const app = build();
const locked = build({ apiKeys: ["key"] });
const bare = build({ ui: false });
const apps = [app, locked, bare];
afterAll(() => Promise.all(apps.map((one) => one.close())));

/** Chromium's. */
const browser = {
  accept: "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8",
};
const folder = join(__dirname, "../../../web");
const files = readdirSync(folder).filter((name) => name !== "index.html");

describe("GET /", () => {
  it.each([
    [browser.accept, true],
    ["text/html", true],
    ["TEXT/HTML; charset=utf-8", true],
    ["application/json;q=0.5, text/html;q=0.6", true],
    ["*/*", false],
    [undefined, false],
    ["application/json", false],
    ["application/json, text/html", false],
    ["text/html;q=0, */*", false],
    ["text/html;q=0.1, application/json", false],
    ["text/htmlx, ,;;q=, text/plain", false],
  ])("with Accept: %s is the page: %s", async (accept, isPage) => {
    const response = await app.inject({ url: "/", headers: accept === undefined ? {} : { accept } });
    expect(response.statusCode).toBe(200);
    expect(response.headers["content-type"]).toMatch(isPage ? "text/html" : "application/json");
    expect(response.headers.vary).toBe("Accept");
    if (!isPage) expect(response.json()).toMatchObject({ name: "mamba-serve", model: "fake-mamba", chat: true });
  });

  it("keeps what else the answer varies with", async () => {
    const other = build({ allowedOrigins: ["https://app.example"] });
    apps.push(other);
    expect((await other.inject({ url: "/", headers: browser })).headers.vary).toBe("Origin, Accept");
  });

  it("is JSON for everybody with ui: false, and the page's files are gone", async () => {
    const response = await bare.inject({ url: "/", headers: browser });
    expect(response.json()).toMatchObject({ model: "fake-mamba" });
    expect((await bare.inject("/ui/main.js")).statusCode).toBe(404);
  });
});

describe("the page's files", () => {
  it.each(["/", ...files.map((name) => `/ui/${name}`)])("%s comes with a strict policy", async (url) => {
    const { statusCode, headers, rawPayload } = await app.inject({ url, headers: browser });
    expect(statusCode).toBe(200);
    expect(rawPayload).toEqual(readFileSync(join(folder, url === "/" ? "index.html" : url.slice("/ui/".length))));
    const policy = String(headers["content-security-policy"]).split("; ");
    expect(policy).toEqual(
      expect.arrayContaining(["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"]),
    );
    expect(policy.join()).not.toMatch(/unsafe|\*|http|data:|blob:/);
    expect(headers).toMatchObject({
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
      "content-type": expect.stringMatching(/^(text\/(html|css|javascript); charset=utf-8|image\/svg\+xml)$/),
    });
  });

  it("name no other place on the web, and hold neither inline script nor inline style", () => {
    for (const name of ["index.html", ...files]) {
      const text = readFileSync(join(folder, name), "utf8");
      expect(`${name}: ${text.replaceAll("http://www.w3.org/2000/svg", "")}`).not.toMatch(
        /https?:|\/\/[a-z]+\.|@import|url\(/,
      );
      if (name === "index.html") expect(text).not.toMatch(/<script(?![^>]* src=)|<style|\son\w+=|\sstyle=|javascript:/);
      if (name.endsWith(".js"))
        expect(text).not.toMatch(/innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b/);
    }
  });

  it.each([
    "/ui/",
    "/ui/nope.js",
    "/ui/../package.json",
    "/ui/..%2fpackage.json",
    "/ui/%2e%2e/package.json",
    "/ui/./main.js/..",
    "/ui/constructor",
    "/ui/__proto__",
    "/ui/tsconfig.json",
    "/ui/main.js%00",
  ])("%s is none of them", async (url) => {
    expect((await app.inject(url)).statusCode).toBe(404);
  });
});

describe("with API keys", () => {
  it("the page needs none: it is the same text for everybody", async () => {
    expect((await locked.inject({ url: "/", headers: browser })).body).toContain("<!doctype html>");
    expect((await locked.inject("/ui/main.js")).statusCode).toBe(200);
    expect((await locked.inject({ method: "HEAD", url: "/", headers: browser })).statusCode).toBe(200);
  });

  it.each([
    ["GET", "/", "*/*"],
    ["POST", "/", browser.accept],
    ["GET", "/engine/stats", browser.accept],
    ["GET", "/v1/models", browser.accept],
    ["GET", "/ui", browser.accept],
  ] as const)("%s %s with Accept: %s needs one", async (method, url, accept) => {
    expect((await locked.inject({ method, url, headers: { accept } })).statusCode).toBe(401);
  });

  it("without the page nothing of it is public", async () => {
    const both = build({ apiKeys: ["key"], ui: false });
    apps.push(both);
    for (const url of ["/", "/ui/main.js"]) {
      expect((await both.inject({ url, headers: browser })).statusCode).toBe(401);
    }
  });
});
