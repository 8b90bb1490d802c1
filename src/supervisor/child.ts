/** The program of the engine process; src/supervisor/engine-process.ts starts it with a socket as descriptor 3. */
import { Socket } from "node:net";
import { loadEngine } from "../llm/load-engine";
import { loadModelConfig } from "../models/config";
import { EngineHost } from "./engine-host";

// A terminal, or a service manager, signals every process of the server. Its parent decides; this one ends when the socket
// does, which the operating system sees to even where the parent is killed.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => {});

new EngineHost(new Socket({ fd: 3, readable: true, writable: true }), (dir, options) =>
  loadEngine(dir, loadModelConfig(dir), options),
);
