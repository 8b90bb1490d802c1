import { ApiError, apiKey, getJson, setApiKey } from "./api.js";
import { byId } from "./dom.js";
import { generate, newTurn, toMessages } from "./generation.js";
import { LiveView } from "./live.js";
import { Panel } from "./panel.js";
import { samplingFields } from "./sampling.js";
import { followTheme } from "./theme.js";
import { measured, Transcript } from "./transcript.js";

const prompt = byId("prompt", HTMLTextAreaElement);
const send = byId("send", HTMLButtonElement);
const stop = byId("stop", HTMLButtonElement);
const sampling = byId("sampling", HTMLFormElement);
const key = byId("key", HTMLInputElement);
const keySection = byId("key-section", HTMLDetailsElement);
const panel = new Panel();
const live = new LiveView({ onNeedsKey: askForKey, onConnected: learnModel });

const transcripts = {
  chat: new Transcript(byId("chat", HTMLElement), "Write a message to begin.", again),
  completion: new Transcript(
    byId("completion", HTMLElement),
    "Write the beginning of a text to have it continued.",
    again,
  ),
};
/** @type {keyof typeof transcripts} */
let mode = "chat";
/** @type {string | undefined} */
let model;
/** Aborts the request that runs. @type {AbortController | null} */
let running = null;

/** @param {string} text read out, not seen */
function announce(text) {
  byId("announcement", HTMLElement).textContent = text;
}

/** @param {keyof typeof transcripts} wanted */
function setMode(wanted) {
  mode = wanted;
  const isChat = mode === "chat";
  transcripts.chat.show(isChat);
  transcripts.completion.show(!isChat);
  byId("prompt-label", HTMLElement).textContent = isChat ? "Message" : "Beginning of a text";
  prompt.placeholder = isChat ? "Message" : "Once upon a time";
  byId("clear", HTMLButtonElement).textContent = isChat ? "New chat" : "Clear";
  byId("system-label", HTMLElement).hidden = !isChat;
  for (const input of document.querySelectorAll("input[name=mode]")) {
    if (input instanceof HTMLInputElement) input.checked = input.value === mode;
  }
}

/** @param {string} problem empty = none */
function showKey(problem) {
  keySection.hidden = problem === "" && apiKey() === "";
  byId("key-problem", HTMLElement).textContent = problem;
}

function askForKey() {
  panel.open(true);
  showKey(apiKey() === "" ? "This server needs an API key." : "The server does not accept this key.");
  keySection.open = true;
  key.focus();
}

/** Learns which model there is, and whether it can chat. */
async function learnModel() {
  const about = await getJson("./");
  model = about.model;
  byId("model", HTMLElement).textContent = about.model;
  document.title = `${about.model} – mamba-serve`;
  const chat = document.querySelector("input[value=chat]");
  if (!(chat instanceof HTMLInputElement)) return;
  chat.disabled = !about.chat;
  chat.title = about.chat ? "" : "This model has no chat template.";
  if (!about.chat) setMode("completion");
}

function requestOf() {
  const fields = samplingFields(sampling);
  const { turns } = transcripts[mode];
  const common = model === undefined ? fields : { model, ...fields };
  if (mode === "completion") return { path: "v1/completions", body: { ...common, prompt: turns.at(-1)?.prompt } };
  const messages = toMessages(turns, byId("system", HTMLTextAreaElement).value);
  return { path: "v1/chat/completions", body: { ...common, messages } };
}

/** @param {string} text */
async function ask(text) {
  const turn = newTurn(text);
  const shown = transcripts[mode].add(turn);
  const { path, body } = requestOf();
  running = new AbortController();
  setRunning(true);
  announce("Generating");
  try {
    await generate(turn, path, body, running.signal, shown.append);
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) askForKey();
    else if (!(error instanceof ApiError)) throw error;
  } finally {
    running = null;
    setRunning(false);
    shown.done();
    announce(turn.error ?? measured(turn));
  }
}

/** @param {boolean} isRunning */
function setRunning(isRunning) {
  // The focus must not fall from a button that goes away to the top of the page.
  const hadFocus = document.activeElement === send || document.activeElement === stop;
  send.hidden = isRunning;
  stop.hidden = !isRunning;
  if (hadFocus) (isRunning ? stop : prompt).focus();
}

function submit() {
  const text = mode === "chat" ? prompt.value.trim() : prompt.value;
  if (running !== null || text.trim() === "" || !samplingIsValid()) return;
  prompt.value = "";
  void ask(text);
}

function again() {
  if (running !== null || !samplingIsValid()) return;
  const turn = transcripts[mode].pop();
  prompt.focus();
  if (turn !== undefined) void ask(turn.prompt);
}

function samplingIsValid() {
  if (sampling.checkValidity()) return true;
  panel.open(true);
  for (let at = sampling.parentElement; at !== null; at = at.parentElement) {
    if (at instanceof HTMLDetailsElement) at.open = true;
  }
  return sampling.reportValidity();
}

byId("composer", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
prompt.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  submit();
});
stop.addEventListener("click", () => running?.abort());
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.isComposing) return;
  if (running !== null) running.abort();
  else if (panel.covers) panel.close();
});
byId("clear", HTMLButtonElement).addEventListener("click", () => {
  running?.abort();
  transcripts[mode].clear();
  prompt.focus();
});
byId("modes", HTMLFieldSetElement).addEventListener("change", ({ target }) => {
  if (target instanceof HTMLInputElement) setMode(target.value === "chat" ? "chat" : "completion");
});
sampling.addEventListener("submit", (event) => event.preventDefault());

/** @param {string} value */
function useKey(value) {
  setApiKey(value);
  showKey("");
  live.start();
}
byId("key-form", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(key.value);
});
byId("key-forget", HTMLButtonElement).addEventListener("click", () => {
  key.value = "";
  useKey("");
});

followTheme(byId("theme", HTMLSelectElement));
key.value = apiKey();
showKey("");
setMode("chat");
// Where there is a keyboard; elsewhere it would bring up one that covers half the page.
if (matchMedia("(pointer: fine)").matches) prompt.focus();
live.start();
