import type { Page } from "playwright-core";
import { EngineError } from "../../src/errors";
import { describeInBrowser } from "../helpers/browser";
import { FakeLanguageModel } from "../helpers/fake-language-model";
import { until } from "../helpers/until";

describeInBrowser("generating on the web page", (site) => {
  test("a message sent with Enter is answered as it is generated", async () => {
    const { model, page, prompt, answers } = await site.openFake({ delayMs: 40, naturalLength: 30 });
    await prompt.fill("Tell me");
    await prompt.press("Shift+Enter");
    await prompt.pressSequentially("of a river");
    await prompt.press("Enter");
    await until(() => model.running === 1);
    const lengths = new Set<number>();
    while (lengths.size < 4) lengths.add((await answers.textContent())!.length);
    expect(model.running).toBe(1);
    await site.settled();
    expect(model.calls.map((call) => call.prompt)).toEqual([[{ role: "user", content: "Tell me\nof a river" }]]);
    const { text } = await model.generate(model.calls[0]!.prompt, { ...model.calls[0]!.params, seed: 1 });
    expect((await answers.textContent())!.split(" ")).toHaveLength(text.split(" ").length);
    expect(await page.locator(".measured").textContent()).toMatch(/^30 tokens · \d+ tokens\/s · first after \d+ ms$/);
    expect(await page.locator("#announcement").textContent()).toMatch(/^30 tokens/);
    expect(await prompt.inputValue()).toBe("");
  });

  test.each<[string, (page: Page) => Promise<void>]>([
    ["Esc", (page) => page.keyboard.press("Escape")],
    ["the button", (page) => page.getByRole("button", { name: "Stop" }).click()],
  ])("%s stops an answer, which stays as far as it came", async (_, stop) => {
    const { model, page, answers } = await site.openFake({ delayMs: 20, naturalLength: 4000 });
    await site.send("Go on");
    await until(() => model.running === 1);
    await answers.filter({ hasText: /\w+ \w+/ }).waitFor();
    await stop(page);
    await site.settled();
    await until(() => model.running === 0);
    expect(model.aborted).toBe(1);
    expect(await page.locator(".measured").textContent()).toMatch(/ tokens.* · stopped$/);
    expect(await page.locator(".error").count()).toBe(0);
    expect(await site.focused()).toBe("prompt");
    await site.send("And then");
    await until(() => model.calls.length === 2);
    expect(model.calls[1]!.prompt).toMatchObject([
      { content: "Go on" },
      { role: "assistant", content: await answers.first().textContent() },
      { content: "And then" },
    ]);
  });

  test("requests carry the sampling fields that are filled in, and no others", async () => {
    const { model, page } = await site.openFake();
    const request = async () => {
      const count = model.calls.length;
      await site.send("hello");
      await until(() => model.calls.length > count);
      await site.settled();
      const { signal: _, ...params } = model.calls.at(-1)!.params;
      return { params, prompt: model.calls.at(-1)!.prompt };
    };
    expect((await request()).params).toEqual({ maxTokens: 512 });
    await page.getByLabel("Temperature").fill("0.3");
    await page.getByLabel("Top p").fill("0.9");
    await page.getByLabel("Top k").fill("20");
    await page.getByLabel("Min p").fill("0.05");
    await page.getByLabel("Max tokens").fill("7");
    await page.getByLabel("Seed").fill("12");
    await page.getByLabel("Stop strings").fill("stone\n\\n\\n\n\nlight");
    await page.getByLabel("System message").fill("Be brief.");
    const filled = await request();
    expect(filled.params).toMatchObject({ temperature: 0.3, topP: 0.9, topK: 20, minP: 0.05, maxTokens: 7 });
    expect(filled.params).toMatchObject({ seed: 12n, stop: ["stone", "\n\n", "light"] });
    expect(filled.prompt).toMatchObject([{ role: "system", content: "Be brief." }, {}, {}, { content: "hello" }]);
    await page.getByLabel("Temperature").fill("0");
    expect((await request()).params).toMatchObject({ temperature: 0 });
  });

  test("a value out of range is not sent: its field is shown, also in a closed panel", async () => {
    const { model, page, prompt } = await site.openFake();
    await page.getByLabel("Temperature").fill("9");
    await page.locator("summary", { hasText: "Sampling" }).click();
    await page.locator("#panel-toggle").click();
    await site.send("hello");
    await page.getByLabel("Temperature").waitFor();
    expect(await page.evaluate("document.activeElement.name")).toBe("temperature");
    expect({ calls: model.calls, text: await prompt.inputValue() }).toEqual({ calls: [], text: "hello" });
    await page.getByLabel("Temperature").fill("1");
    await prompt.press("Enter");
    await until(() => model.calls.length === 1);
    expect(await site.focused()).toBe("prompt");
  });

  test("regenerate asks for the last answer again; a new chat forgets everything", async () => {
    const { model, page, answers } = await site.openFake();
    for (const text of ["first", "second"]) {
      await site.send(text);
      await site.settled();
    }
    const again = page.getByRole("button", { name: "Regenerate" });
    expect(await again.count()).toBe(1);
    await again.click();
    await until(() => model.calls.length === 3);
    await site.settled();
    expect(model.calls[2]!.prompt).toEqual(model.calls[1]!.prompt);
    expect(await answers.count()).toBe(2);
    await page.getByRole("button", { name: "New chat" }).click();
    expect(await answers.count()).toBe(0);
    await site.send("third");
    await until(() => model.calls.length === 4);
    expect(model.calls[3]!.prompt).toEqual([{ role: "user", content: "third" }]);
  });

  test("copies an answer", async () => {
    const { page, answers } = await site.openFake();
    await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
    await site.send("hello");
    await page.getByRole("button", { name: "Copy" }).click();
    await page.getByRole("button", { name: "Copied" }).waitFor();
    expect(await page.evaluate("navigator.clipboard.readText()")).toBe(await answers.textContent());
  });

  const attack = `<img src=x onerror="document.title='taken'"><script>document.title='taken'</script>&lt;b&gt;\u202e`;

  test("HTML in an answer, a prompt and a model's name is text", async () => {
    const { page, answers } = await site.openFake({ script: attack, id: "<b>name</b>" });
    await site.send(attack);
    await site.settled();
    await page.getByRole("heading", { level: 1, name: "<b>name</b>" }).waitFor();
    expect(await answers.textContent()).toBe(attack);
    expect(await page.locator(".prompt").textContent()).toBe(attack);
    expect(await page.locator("main img, main script, h1 b").count()).toBe(0);
    expect(await page.title()).toContain("<b>name</b>");
  });

  test.each([0, 2])("an error after %d tokens shows the server's message, as text", async (afterTokens) => {
    site.expected = /status of 400/;
    const failure = { afterTokens, error: new EngineError("ERR_REQUEST", `no ${attack}`) };
    const { model, page } = await site.openFake({ failure });
    await site.send("hello");
    await page.getByRole("button", { name: "Try again" }).waitFor();
    expect(await page.locator(".error").textContent()).toBe(`no ${attack}`);
    expect(await page.locator("main img, main script").count()).toBe(0);
    await page.getByRole("button", { name: "Try again" }).click();
    await until(() => model.calls.length === 2);
  });

  test("a model without a chat template has completion only", async () => {
    const model = new FakeLanguageModel();
    const page = await site.open(model);
    await page.locator("input[value=chat]:disabled").waitFor({ state: "attached" });
    expect(await page.locator("input[value=completion]").isChecked()).toBe(true);
    await site.send("The river ");
    await site.settled();
    expect(model.calls).toMatchObject([{ prompt: "The river " }]);
    expect(await page.locator("#completion").textContent()).toMatch(/^The river /);
  });
});
