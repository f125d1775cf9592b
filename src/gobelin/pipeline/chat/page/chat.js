"use strict";
// The conversation is held here: texts, and pictures by their codes. What the model wrote is shown as text only.

const byId = (id) => document.getElementById(id);
const log = byId("log");
let items = [];        // {kind: "text", text} or {kind: "picture", codes | data, caption?}
let waiting = [];      // pictures to be sent: {kind: "picture", data}
let request = null;    // AbortController of the reply that is under way

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function turn(className) {
  const made = log.appendChild(element("div", "turn " + className));
  made.scrollIntoView({ block: "end" });
  return made;
}

function figure(parent) {
  const made = parent.appendChild(element("figure"));
  made.picture = made.appendChild(element("img"));
  made.picture.alt = "";
  made.caption = made.appendChild(element("figcaption"));
  return made;
}

const uri = (png) => "data:image/png;base64," + png;

function say(parent, className, text) {
  parent.appendChild(element("p", className, text));
}

function working(controller) {
  request = controller;
  byId("send").disabled = controller !== null;
  byId("stop").disabled = controller === null;
  log.setAttribute("aria-busy", String(controller !== null));
}

function settings() {
  const given = {};
  for (const name of ["temperature", "cfg_scale"]) {
    const value = byId(name).valueAsNumber;
    if (Number.isFinite(value)) given[name] = value;
  }
  return given;
}

// Where pictures have several grids, the person may say which is drawn.
async function offerGrids() {
  const grids = await (await fetch("grids")).json();
  for (const grid of grids) byId("grid").append(element("option", "", grid));
  byId("shape").hidden = grids.length < 2;
}

offerGrids();

// What a reply adds to the conversation, and to the page.
class Reply {
  constructor(parent, figures) {
    this.parent = parent;
    this.figures = figures; // of the pictures that were sent as files, until the server says how the model sees them
    this.item = null;
    this.shown = null;
    this.field = "text";
  }

  given(event) {
    const [item, made] = this.figures.shift();
    delete item.data;
    item.codes = event.codes;
    item.codebook = event.codebook;
    made.picture.src = uri(event.png);
  }

  begin(event) {
    const last = items[items.length - 1];
    if (event.what === "picture") {
      this.item = { kind: "picture" };
      this.shown = figure(this.parent);
    } else if (event.what === "caption") {
      this.item = last;
      this.item.caption = "";
      this.field = "caption";
      this.shown = this.parent.appendChild(element("p"));
    } else {
      this.item = event.what === "continue" ? last : { kind: "text", text: "" };
      if (this.item !== last) items.push(this.item);
      this.field = "text";
      this.shown = this.parent.appendChild(element("p"));
    }
  }

  text(event) {
    this.item[this.field] += event.text;
    this.shown.append(event.text);
  }

  picture(event) {
    this.shown.picture.src = uri(event.png);
    if (event.codes) {
      this.item.codes = event.codes;
      this.item.codebook = event.codebook;
      this.shown.dataset.finished = "yes";
      items.push(this.item);
    }
  }

  note(event) { say(this.parent, "note", event.text); }
  error(event) { say(this.parent, "error", event.text); }
  done() { this.parent.dataset.done = "yes"; }
}

const EVENTS = new Set(["given", "begin", "text", "picture", "note", "error", "done"]);

async function ask(reply) {
  const controller = new AbortController();
  working(controller);
  try {
    const answer = await fetch("reply", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({
        items, make: byId("make").value || null, grid: byId("grid").value || null, settings: settings(),
        seed: crypto.getRandomValues(new Uint32Array(1))[0],
      }),
      signal: controller.signal,
    });
    if (!answer.ok) {
      say(reply.parent, "error", (await answer.json()).error);
      return false;
    }
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        const event = JSON.parse(line);
        if (EVENTS.has(event.event)) reply[event.event](event);
      }
      reply.parent.scrollIntoView({ block: "end" });
    }
    if (!reply.parent.dataset.done && !reply.parent.querySelector(".error"))
      say(reply.parent, "error", "The reply broke off.");
    return true;
  } catch (error) {
    if (controller.signal.aborted) say(reply.parent, "note", "Stopped.");
    else say(reply.parent, "error", "The server does not answer: does gobelin chat still run?");
    return controller.signal.aborted;
  } finally {
    working(null);
  }
}

async function send() {
  if (request) return;
  const words = byId("words").value.trim();
  const isNew = words || waiting.length;
  if (!isNew && !items.length) return;
  const before = items.length;
  const yours = isNew && turn("yours");
  const figures = [];
  for (const item of waiting) {
    const made = figure(yours);
    made.picture.src = item.preview;
    const sent = { kind: "picture", data: item.data };
    figures.push([sent, made]);
    items.push(sent);
  }
  if (words) {
    say(yours, "", words);
    items.push({ kind: "text", text: words });
  }
  waiting = [];
  byId("waiting").replaceChildren();
  byId("words").value = "";
  const heard = await ask(new Reply(turn("model"), figures));
  // A picture that the server has not taken is no part of the conversation.
  items = items.filter((item) => item.kind === "text" || item.codes);
  if (!heard) {
    items = items.slice(0, before);
    byId("words").value = words;
  }
  byId("words").focus();
}

async function addFiles(files) {
  for (const file of files) {
    const preview = await new Promise((resolve, reject) => {
      const reader = new FileReader();
      reader.onload = () => resolve(reader.result);
      reader.onerror = () => reject(reader.error);
      reader.readAsDataURL(file);
    });
    waiting.push({ preview, data: preview.slice(preview.indexOf(",") + 1) });
    const shown = byId("waiting").appendChild(element("img"));
    shown.alt = "";
    shown.src = preview;
  }
}

byId("form").addEventListener("submit", (event) => { event.preventDefault(); send(); });
byId("words").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); send(); }
});
byId("stop").addEventListener("click", () => request?.abort());
byId("new").addEventListener("click", () => {
  request?.abort();
  items = [];
  waiting = [];
  byId("waiting").replaceChildren();
  log.replaceChildren();
});
byId("files").addEventListener("change", async (event) => {
  await addFiles([...event.target.files]);
  event.target.value = "";
});
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    byId("form").classList.toggle("over", name === "dragover");
    if (name === "drop") addFiles([...event.dataTransfer.files]);
  });
}
document.addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files];
  if (files.length) { event.preventDefault(); addFiles(files); }
});
