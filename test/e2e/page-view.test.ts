import { LLM } from "../../src/llm/llm";
import { serve } from "../../src/server/serve";
import { describeInBrowser } from "../helpers/browser";
import { FakeLanguageModel } from "../helpers/fake-language-model";
import { until } from "../helpers/until";

describeInBrowser("the web page itself", (site) => {
  test("the policy is in force: neither HTML from text nor inline script nor another server", async () => {
    site.expected = /TrustedHTML|Content Security Policy|violates|127\.0\.0\.1:9\//;
    const { page } = await site.openFake();
    const attempt = (code: string) =>
      page.evaluate(`(async () => { ${code} })()`).then(
        () => "done",
        (error: Error) => error.message,
      );
    expect(await attempt("document.body.innerHTML = '<b>x</b>'")).toMatch(/TrustedHTML/);
    expect(await attempt("await fetch('http://127.0.0.1:9/')")).toMatch(/Failed to fetch|Content Security Policy/);
    await attempt(
      "const s = document.createElement('style'); s.textContent = 'main{display:none}'; document.head.append(s)",
    );
    expect(await page.locator("main").isVisible()).toBe(true);
  });

  test("works with the keyboard alone", async () => {
    const { model, page } = await site.openFake({ delayMs: 5, naturalLength: 4000 });
    expect(await site.focused()).toBe("prompt");
    await page.keyboard.type("hello");
    const order: unknown[] = [];
    for (let i = 0; i < 4; i++) {
      await page.keyboard.press("Tab");
      order.push(await site.focused());
    }
    expect(order).toEqual(["clear", "send", "Engine", "Sampling"]);
    expect(await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")).toBe("solid");
    for (let i = 0; i < 3; i++) await page.keyboard.press("Shift+Tab");
    expect(await site.focused()).toBe("clear");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await until(() => model.calls.length === 1);
    expect(await site.focused()).toBe("stop");
    await page.keyboard.press("Space");
    await site.settled();
    expect(await site.focused()).toBe("prompt");

    for (let i = 0; i < 2; i++) await page.keyboard.press("Shift+Tab");
    while ((await page.evaluate("document.activeElement.name")) !== "mode") await page.keyboard.press("Shift+Tab");
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("Tab");
    expect(await site.focused()).toBe("panel-toggle");
    await page.keyboard.press("Space");
    expect(await page.locator("#panel").isVisible()).toBe(false);
    await page.keyboard.press("Tab");
    expect(await site.focused()).toBe("prompt");
    await page.keyboard.type(" Once upon");
    await page.keyboard.press("Enter");
    await until(() => model.calls.length === 2);
    expect(model.calls[1]!.prompt).toBe(" Once upon");
  });

  test("tells that the engine is loaded, started again or gone", async () => {
    site.expected = /ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE/;
    const { model, page } = await site.openFake();
    await site.state("Ready");
    for (const id of ["#notice", "#key-section"]) expect(await page.locator(id).isVisible()).toBe(false);
    model.currentHealth = { state: "loading", progress: 0.42, restarts: 0 };
    await site.state("Loading 42 %");
    expect(await page.locator("#notice").textContent()).toContain("the model is being loaded");
    expect(await page.locator("#notice-progress").getAttribute("value")).toBe("0.42");
    model.currentHealth = { state: "restarting", progress: null, restarts: 1 };
    await site.state("Restarting");
    expect(await page.locator("#notice").textContent()).toContain("being started again");
    model.currentHealth = { state: "ready", progress: null, restarts: 1 };
    await site.state("Ready");
    expect(await page.locator("#notice").isVisible()).toBe(false);
    const { port } = new URL(site.server.url);
    await site.server.close();
    await site.state("Unreachable");
    site.server = await serve(new FakeLanguageModel({ id: "another" }), { port: Number(port) });
    await site.state("Ready");
    await page.getByRole("heading", { level: 1, name: "another" }).waitFor();
  });

  test("shows the pages of a model that has a KV cache", async () => {
    const { model, page } = await site.openFake();
    await site.state("Ready");
    for (const id of ["#pages", "#pages-used"]) expect(await page.locator(id).isVisible()).toBe(false);
    model.pages = { pagesUsed: 3, pagesTotal: 1200 };
    await page.locator("#pages", { hasText: "3 / 1,200" }).waitFor();
    expect(await page.locator("#pages-used").isVisible()).toBe(true);
    expect(await page.locator("#pages-used").getAttribute("value")).toBe("0.0025");
  });

  test("asks for the API key where there is one, and keeps it for this tab only", async () => {
    site.expected = /status of 401/;
    const { model, page } = await site.openFake({}, { apiKeys: ["right-key"] });
    await site.state("Key needed");
    expect(await page.locator("#key-problem").textContent()).toBe("This server needs an API key.");
    expect(await site.focused()).toBe("key");
    await page.keyboard.type("wrong-key");
    await page.keyboard.press("Enter");
    await page.locator("#key-problem", { hasText: "does not accept" }).waitFor();
    await page.getByLabel("Key", { exact: true }).fill("right-key");
    await page.keyboard.press("Enter");
    await site.state("Ready");
    await site.send("hello");
    await until(() => model.calls.length === 1);
    await page.reload();
    await site.state("Ready");
    expect(await page.evaluate("JSON.stringify(localStorage) + document.cookie + location.href")).not.toContain(
      "right",
    );
    await page.locator("summary", { hasText: "API key" }).click();
    await page.getByRole("button", { name: "Forget" }).click();
    await site.state("Key needed");
    expect(await page.evaluate("sessionStorage.length")).toBe(0);
  });

  test("fits a narrow screen, where the panel covers the rest and Esc closes it", async () => {
    const model = new FakeLanguageModel({ id: "a-model-with-a-name-of-no-end/and-more-of-it-still" });
    const page = await site.open(model, {}, { viewport: { width: 360, height: 640 }, hasTouch: true, isMobile: true });
    await site.state("Ready");
    const width = () => page.evaluate("document.documentElement.scrollWidth");
    expect(await width()).toBe(360);
    expect(await page.locator("#panel").isVisible()).toBe(false);
    await page.locator("#panel-toggle").click();
    expect(await width()).toBe(360);
    expect(await page.evaluate("document.querySelector('#main').inert")).toBe(true);
    await page.keyboard.press("Escape");
    expect(await page.locator("#panel").isVisible()).toBe(false);
    expect(await page.evaluate("document.activeElement.id")).toBe("panel-toggle");
    await site.send("x".repeat(400));
    await site.settled();
    expect(await width()).toBe(360);
  });

  test("is light or dark as the system is, or as chosen", async () => {
    const { page } = await site.openFake();
    const background = () => page.evaluate("getComputedStyle(document.body).backgroundColor") as Promise<string>;
    const light = await background();
    await page.emulateMedia({ colorScheme: "dark" });
    const dark = await background();
    expect(dark).not.toBe(light);
    await page.getByLabel("Theme").selectOption("Light");
    expect(await background()).toBe(light);
    await page.reload();
    expect(await background()).toBe(light);
    await page.getByLabel("Theme").selectOption("As the system");
    expect(await background()).toBe(dark);
  });

  test("with the bundled model the live view moves", async () => {
    const llm = await LLM.load(undefined, { maxNumSeqs: 4 });
    const generate: LLM["generate"] = (prompt, params) => llm.generate(prompt, { ...params, ignoreEos: true });
    const page = await site.open(Object.assign(Object.create(llm) as LLM, { generate }));
    await page.locator("input[value=completion]").check({ force: true });
    await page.getByLabel("Max tokens").fill("20000");
    await site.send("Once upon a time there was a");
    await page.locator("#slots", { hasText: "1 / 4" }).waitFor();
    await page.locator("#generated", { hasText: /^([6-9]|\d[\d,]+)$/ }).waitFor(); // more than 5
    await page.locator("#composition", { hasText: /^[\d,]+ steps\/s; mean step: decodes 1, / }).waitFor();
    expect(await page.locator("#running").textContent()).toBe("1");
    for (const id of ["#ttft", "#itl"]) expect(await page.locator(`${id} td`).first().textContent()).toMatch(/^\d/);
    expect(await page.locator("#generated-chart path").getAttribute("d")).toMatch(/^M/);
    const length = (await page.locator(".answer").textContent())!.length;
    expect(length).toBeGreaterThan(20);
    await page.keyboard.press("Escape");
    await page.locator("#slots", { hasText: "0 / 4" }).waitFor();
    await until(() => llm.stats().running === 0);
  });
});
