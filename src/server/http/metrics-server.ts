import { createServer, type Server } from "node:http";
import type { ServerMetrics } from "./metrics";
import { metricsPath } from "./routes/metrics";

/**
 * Answers GET /metrics, and nothing else, to whoever reaches this port: scrapers of a cluster send no key, and what they reach is for
 * the network to say. Rejects with Node's error where it cannot listen.
 */
export function listenForMetrics(metrics: ServerMetrics, host: string, port: number): Promise<Server> {
  const server = createServer((request, response) => {
    const isScrape = request.method === "GET" && request.url?.split("?")[0] === metricsPath;
    request.resume();
    if (!isScrape) {
      response.writeHead(404, { "content-type": "text/plain" }).end(`only GET ${metricsPath} is here\n`);
      return;
    }
    metrics.text().then(
      (text) => response.writeHead(200, { "content-type": metrics.contentType }).end(text),
      (error: Error) => response.writeHead(500, { "content-type": "text/plain" }).end(`${error.message}\n`),
    );
  });
  server.requestTimeout = 10_000;
  server.maxConnections = 64;
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => resolve(server));
  });
}
