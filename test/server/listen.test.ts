import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ServeOptions, serve } from "../../src/server/serve";
import { FakeLanguageModel } from "../helpers/fake-language-model";

const dir = mkdtempSync(join(tmpdir(), "mamba-serve-"));
afterAll(() => rmSync(dir, { recursive: true }));

const start = (options: ServeOptions) => serve(new FakeLanguageModel(), { port: 0, ...options });

/** Status and body of an answer. */
async function answerTo(request: http.ClientRequest): Promise<{ status: number | undefined; body: string }> {
  const [response] = (await once(request, "response")) as [http.IncomingMessage];
  let body = "";
  for await (const data of response) body += data;
  return { status: response.statusCode, body };
}

describe("TLS", () => {
  const pem = (name: string) => readFileSync(join(__dirname, "..", "helpers", "tls", `${name}.pem`), "utf8");
  const tls = { cert: pem("cert"), key: pem("key") };

  it("serves HTTPS, with the same limits", async () => {
    const server = await start({ tls, headersTimeoutMs: 200 });
    expect(server.url).toMatch(/^https:/);
    const { status } = await answerTo(https.get(`${server.url}/v1/models`, { ca: tls.cert }));
    expect(status).toBe(200);
    const socket = net.connect(Number(new URL(server.url).port), "127.0.0.1");
    socket.on("error", () => {});
    socket.write("GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await once(socket, "close");
    await server.close();
  });

  it("says what is wrong with a certificate or a key", async () => {
    for (const bad of [
      { ...tls, key: "no key" },
      { ...tls, cert: tls.key },
      { cert: "", key: tls.key },
    ]) {
      const error = await start({ tls: bad }).catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({
        code: "ERR_IO",
        subject: "tls",
        message: expect.stringContaining("TLS certificate"),
      });
    }
  });
});

describe("a Unix socket", () => {
  const get = (socketPath: string) =>
    answerTo(http.get({ agent: false, socketPath, path: "/v1/models", host: "any.example" }));

  it("serves, whatever the Host header; the file is gone afterwards", async () => {
    const socketPath = join(dir, "a.sock");
    const server = await start({ socketPath });
    expect(server.url).toBe(`unix:${socketPath}`);
    expect((await get(socketPath)).status).toBe(200);
    await server.close();
    await expect(get(socketPath)).rejects.toThrow("ENOENT");
  });

  it("replaces one that a killed server left, not one in use", async () => {
    const socketPath = join(dir, "b.sock");
    const leaving = new net.Server().listen(socketPath);
    await once(leaving, "listening");
    await expect(start({ socketPath })).rejects.toMatchObject({ code: "ERR_IO", message: /b\.sock is in use/ });
    // Closed without Node's removal of the file, as by SIGKILL.
    (leaving as unknown as { _handle: { close(): void } })._handle.close();
    writeFileSync(join(dir, "keep"), "");
    const server = await start({ socketPath });
    expect((await get(socketPath)).status).toBe(200);
    await server.close();
  });

  it("leaves other files alone, and says where it cannot listen", async () => {
    const file = join(dir, "notes.txt");
    writeFileSync(file, "mine");
    await expect(start({ socketPath: file })).rejects.toMatchObject({ code: "ERR_IO", message: /is not a socket/ });
    expect(readFileSync(file, "utf8")).toBe("mine");
    await expect(start({ socketPath: join(dir, "none", "c.sock") })).rejects.toMatchObject({ code: "ERR_IO" });
  });
});

it("a Unix socket's path that is too long is refused, not cut off", async () => {
  const socketPath = join(dir, "x".repeat(108 - dir.length - 1));
  expect(socketPath).toHaveLength(108);
  await expect(start({ socketPath })).rejects.toMatchObject({
    code: "ERR_IO",
    message: expect.stringContaining("107"),
  });
  const server = await start({ socketPath: socketPath.slice(0, 107) });
  await server.close();
});

describe("the port for metrics", () => {
  const freePort = async () => {
    const probe = net.createServer().listen(0, "127.0.0.1");
    await once(probe, "listening");
    const { port } = probe.address() as net.AddressInfo;
    probe.close();
    await once(probe, "close");
    return port;
  };

  it("needs no key, has the same text, and nothing else", async () => {
    const metricsPort = await freePort();
    const server = await start({ apiKeys: ["secret"], metricsPort });
    const url = `http://127.0.0.1:${metricsPort}`;
    expect((await answerTo(http.get(`${server.url}/metrics`))).status).toBe(401);
    const { status, body } = await answerTo(http.get(`${url}/metrics?name=x`));
    expect(status).toBe(200);
    expect(body).toContain("mamba_serve:num_requests_running");
    expect((await answerTo(http.get(`${url}/v1/models`))).status).toBe(404);
    expect((await answerTo(http.request(`${url}/metrics`, { method: "POST" }).end())).status).toBe(404);
    await server.close();
    await expect(answerTo(http.get(`${url}/metrics`))).rejects.toMatchObject({ code: expect.stringMatching(/^ECONN/) });
  });

  it("that is in use is an error that names it, and nothing is left open", async () => {
    const other = net.createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    const { port } = other.address() as net.AddressInfo;
    await expect(start({ metricsPort: port })).rejects.toMatchObject({
      code: "ERR_IO",
      message: expect.stringContaining(`port ${port} on 127.0.0.1 is in use`),
    });
    other.close();
  });
});
