import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import type { LanguageModel } from "../../src/llm/types";
import { type RunningServer, type ServeOptions, serve } from "../../src/server/serve";
import { FakeLanguageModel, type FakeLanguageModelOptions } from "./fake-language-model";

const names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/** The system's Chromium; undefined where there is none. */
function findChromium(): string | undefined {
  const folders = (process.env.PATH ?? "").split(delimiter);
  return folders.flatMap((folder) => names.map((name) => join(folder, name))).find(existsSync);
}

/** Headless, and without the calls home that it makes on its own. */
function launch(executablePath: string): Promise<Browser> {
  const quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"];
  return chromium.launch({ executablePath, args: [...quiet, "--disable-quic", "--disable-gpu", "--no-sandbox"] });
}

/**
 * Registers tests with a browser; where there is no Chromium they are skipped, and it is said what to install. A test fails if
 * its page complains on the console, of a violated policy for one, throws, or asks another server for anything.
 */
export function describeInBrowser(title: string, body: (site: Site) => void): void {
  const path = findChromium();
  const reason = "skipped: no Chromium in PATH; sudo apt-get install -y chromium";
  if (path === undefined) process.stderr.write(`${title}: ${reason}\n`);
  const register = path === undefined ? describe.skip : describe;
  register(path === undefined ? `${title} (${reason})` : title, () => {
    let browser: Browser;
    beforeAll(async () => {
      browser = await launch(path!);
    });
    afterAll(() => browser.close());
    const site = new Site(() => browser);
    afterEach(() => site.close());
    body(site);
  });
}

/** A server and its page in a browser, for one test. */
export class Site {
  server!: RunningServer;
  page!: Page;
  /** Warnings, errors and exceptions that the test brings about. */
  expected: RegExp | null = null;
  private complaints: string[] = [];
  private requested: string[] = [];

  constructor(private readonly browser: () => Browser) {}

  /** @param context how the browser is set up: its size, for one */
  async open(model: LanguageModel, options: ServeOptions = {}, context: BrowserContextOptions = {}): Promise<Page> {
    this.server = await serve(model, { port: 0, drainTimeoutMs: 0, ...options });
    this.page = await (await this.browser().newContext(context)).newPage();
    this.page.setDefaultTimeout(20_000);
    const { complaints, requested } = this; // of this test: a page that closes may still ask for something in the next one's time
    this.page.on("console", (message) => {
      if (["warning", "error"].includes(message.type())) complaints.push(message.text());
    });
    this.page.on("pageerror", (error) => complaints.push(String(error)));
    this.page.on("request", (request) => requested.push(request.url()));
    await this.page.goto(this.server.url);
    return this.page;
  }

  /** The same with a fake model, which has a chat template unless the options say otherwise. */
  async openFake(modelOptions: FakeLanguageModelOptions = {}, options: ServeOptions = {}) {
    const model = new FakeLanguageModel({ chatTemplate: "any", ...modelOptions });
    const page = await this.open(model, options);
    return { model, page, prompt: page.locator("#prompt"), answers: page.locator(".answer") };
  }

  /** Sends what is in the composer after it is filled with `text`. */
  async send(text: string): Promise<void> {
    await this.page.locator("#prompt").fill(text);
    await this.page.locator("#prompt").press("Enter");
  }

  /** Resolves once no answer is generated. */
  settled(): Promise<void> {
    return this.page.locator("#send").waitFor();
  }

  /** Resolves once the page calls the engine's state that. */
  state(text: string): Promise<void> {
    return this.page.locator("#engine-state", { hasText: text }).waitFor();
  }

  focused(): Promise<unknown> {
    return this.page.evaluate("document.activeElement?.id || document.activeElement?.textContent");
  }

  async close(): Promise<void> {
    const { expected } = this;
    const [complaints, requested] = [[...this.complaints], [...this.requested]];
    this.expected = null;
    this.complaints = [];
    this.requested = [];
    await this.page.context().close();
    await this.server.close();
    const unexpected = complaints.filter((line) => expected === null || !expected.test(line));
    const elsewhere = requested.filter((url) => !url.startsWith(`${this.server.url}/`) && !expected?.test(url));
    expect({ unexpected, elsewhere }).toEqual({ unexpected: [], elsewhere: [] });
  }
}
