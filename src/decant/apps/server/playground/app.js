// The page: a conversation, its settings, and one request at a time.

import { Answer, compared, element } from "./answer.js";
import { chat, model, Refusal } from "./stream.js";

const page = (id) => document.getElementById(id);
const knobs = page("knobs").elements;
const history = [];
const NUMBERS = ["temperature", "top_p", "max_tokens", "seed"];
let served = null;
let running = null;

// Throws Refusal.
async function learn(signal) {
  served = await model(knobs.key.value, signal);
  page("model").textContent = served;
  document.title = `${served} · decant playground`;
}

async function findModel() {
  served = null;
  try {
    await learn();
  } catch (error) {
    page("model").textContent = said(error);
    if (error.status === 401) askKey();
  }
}

function askKey() {
  page("settings").open = true;
  knobs.key.focus();
}

// What is asked of the server; what is left empty is the model's own.
function body(messages, seed, plain) {
  const asked = { model: served, messages, stream: true, decant: { tokens: true, ...(plain ? { method: "plain" } : {}) } };
  for (const name of NUMBERS) if (knobs[name].value !== "") asked[name] = Number(knobs[name].value);
  if (seed !== null) asked.seed = seed;
  return asked;
}

function messages(text) {
  const system = knobs.system.value.trim();
  return [...(system ? [{ role: "system", content: system }] : []), ...history, { role: "user", content: text }];
}

// One message: drafted, then plainly if asked for. One after the other, so that neither slows the other.
async function send(text, turn = newTurn(text)) {
  const compare = knobs.compare.checked;
  const seed = compare && knobs.seed.value === "" ? crypto.getRandomValues(new Uint32Array(1))[0] : null;
  const asked = messages(text);
  const signal = begin();
  let drafted = null;
  try {
    if (served === null) await learn(signal);
    drafted = await decode(turn, compare ? "drafted" : "", body(asked, seed, false), signal);
    history.push({ role: "user", content: text }, { role: "assistant", content: drafted.text });
    if (compare) {
      const plain = await decode(turn, "plain", body(asked, seed, true), signal);
      turn.append(element("p", "verdict", compared(drafted, plain)));
    }
  } catch (error) {
    if (error.name !== "AbortError") fail(turn, error, drafted === null ? () => send(text, turn) : null);
  } finally {
    finish();
  }
}

async function decode(turn, title, asked, signal) {
  const answer = new Answer(turn.querySelector(".answers"), title);
  try {
    for await (const chunk of chat(asked, knobs.key.value, signal)) {
      answer.take(chunk);
      follow();
    }
    answer.end();
  } catch (error) {
    answer.end(error.name === "AbortError" ? "stopped" : "broken off");
    if (!answer.text) answer.box.remove();
    throw error;
  }
  return answer;
}

function newTurn(text) {
  const turn = element("div", "turn");
  turn.append(element("p", "asked", text), element("div", "answers"));
  page("log").append(turn);
  page("empty").hidden = true;
  follow(true);
  return turn;
}

// again: what to do once more; null: the turn has its answer.
function fail(turn, error, again) {
  const fault = element("p", "fault");
  fault.setAttribute("role", "alert");
  fault.append(element("span", "", said(error)));
  if (again) {
    const button = element("button", "", "Try again");
    button.type = "button";
    button.addEventListener("click", () => {
      if (running) return;
      fault.remove();
      turn.querySelector(".answers").replaceChildren();
      again();
    });
    fault.append(button);
  }
  turn.append(fault);
  follow(true);
  if (error.status === 401) askKey();
}

function said(error) {
  if (error.status === 401) return "This server wants an API key: give it in the settings.";
  if (error.status === 429) return `Too many requests wait${error.wait ? `; try again in ${error.wait} s` : ""}: ${error.message}.`;
  if (error instanceof Refusal) return `${sentence(error.message)}.`;
  return `Something went wrong on this page: ${error.message}.`;
}

// A field's name stays as it is spelt.
function sentence(text) {
  return /^[a-z]+ /.test(text) ? text[0].toUpperCase() + text.slice(1) : text;
}

function begin() {
  running = new AbortController();
  page("send").hidden = true;
  page("stop").hidden = false;
  return running.signal;
}

function finish() {
  running = null;
  page("send").hidden = false;
  page("stop").hidden = true;
}

// Stay at the end of the conversation, unless the reader has gone up.
function follow(always = false) {
  const talk = page("talk");
  if (always || talk.scrollHeight - talk.scrollTop - talk.clientHeight < 120) talk.scrollTop = talk.scrollHeight;
}

page("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = page("message").value.trim();
  if (running || !text || !page("knobs").reportValidity()) return;
  page("message").value = "";
  send(text);
});

page("message").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  page("composer").requestSubmit();
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") running?.abort();
});
page("stop").addEventListener("click", () => running?.abort());
page("fresh").addEventListener("click", () => {
  running?.abort();
  history.length = 0;
  page("log").replaceChildren();
  page("empty").hidden = false;
  page("message").focus();
});
page("knobs").addEventListener("submit", (event) => event.preventDefault());
knobs.key.addEventListener("change", findModel);
knobs.colour.addEventListener("change", () => page("talk").classList.toggle("unmarked", !knobs.colour.checked));
page("settings").open = matchMedia("(min-width: 48rem)").matches;
page("message").focus();
findModel();
