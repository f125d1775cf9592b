// The page of `gobelin browse`. Everything from the web is set as text, never as markup.

/** @typedef {{[name: string]: any}} Row */
/** @typedef {{rule: string, subject: string, score: string, title: string, unit: string, threshold: number | null,
 *   keeps_above: boolean, is_whole: boolean, axis: string, is_safety: boolean}} Rule */

const TABS = ["documents", "pictures", "thresholds", "duplicates", "audit", "compare"];
const VIEWS = { all: "all", kept: "kept", dropped: "dropped", coming: "would come in", going: "would go" };
const NUMBER = new Intl.NumberFormat("en", { maximumSignificantDigits: 5 });

/** @type {Row} */ let start = {};
/** @type {{[rule: string]: number | null}} */ const changes = {};
/** @type {Row | null} */ let audit = null; // the item that is being judged, with its list
/** @type {() => void} */ let leave = () => {}; // where Escape leads
/** @type {{[key: string]: () => void}} */ let marking = {}; // what r, w and n do
let turn = 0; // of the page: an answer that comes after another view was opened is not drawn

// ---- small helpers

/** @param {string} id @returns {any} */
const $ = (id) => document.getElementById(id);

/** Makes an element. Strings become text. @param {string} tag @param {Row} [attributes] @param {...any} children @returns {any} */
function h(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "disabled" || name === "hidden") made[name] = value;
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** @param {string} path @param {Row} [given] @param {AbortSignal} [signal] @returns {Promise<any>} */
async function ask(path, given = {}, signal) {
  const answer = await fetch(`api/${path}`, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(given), signal,
  });
  const value = await answer.json();
  if (!answer.ok) throw new Error(value.error);
  return value;
}

let quiet = 0;
/** @param {string} text @param {boolean} [isError] */
function say(text, isError = false) {
  $("said").textContent = text;
  $("said").className = isError ? "error" : "";
  clearTimeout(quiet);
  quiet = window.setTimeout(() => { $("said").textContent = ""; }, isError ? 12000 : 5000);
}

/** @param {any} error */
const tell = (error) => { if (error.name !== "AbortError") say(String(error.message), true); };

/** @param {number | null} value */
const shown = (value) => (value === null || value === undefined ? "–" : NUMBER.format(value));

/** @param {number} number @param {string} noun */
const count = (number, noun) => `${NUMBER.format(number)} ${noun}${number === 1 ? "" : "s"}`;

/** @param {string} rule @param {string} [kept] */
const badge = (rule, kept = "kept") =>
  h("span", { class: `tag ${rule ? "dropped" : "kept"}`, title: start.meanings[rule] }, rule || kept);

/** A picture that opens large; unsafe ones ask first. @param {Row} row @param {string} [alt] @param {number} [run] */
function picture(row, alt = "", run = 0) {
  const url = `image/${encodeURIComponent(row.image_id)}?run=${run}`;
  const image = h("img", { src: `${url}&side=320`, alt: alt || "picture", loading: "lazy" });
  const button = h("button", { type: "button", class: `shot-button ${row.unsafe ? "unsafe" : ""}`, onclick: (/** @type {Event} */ event) => {
    event.preventDefault();
    event.stopPropagation();
    const isBlurred = document.body.classList.contains(button.classList.contains("unsafe") ? "veiled" : "all-veiled");
    if (isBlurred && !button.classList.contains("asked-for")) {
      button.classList.add("asked-for");
      return;
    }
    $("large-picture").src = `${url}&side=2400`;
    $("large-picture").alt = alt;
    $("large").showModal();
  } }, image);
  image.addEventListener("error", () => button.replaceWith(h("span", { class: "no-picture" }, "cannot be shown")));
  return button;
}

/** @param {string} label @param {[string, string][]} options @param {string} value @param {(value: string) => void} change */
function choice(label, options, value, change) {
  const select = h("select", { "aria-label": label, onchange: () => change(select.value) }, options.map(([key, words]) => h("option", { value: key }, words)));
  select.value = value;
  return h("label", {}, label, select);
}

// ---- addresses: #/documents?view=kept&text=boat

/** @returns {{name: string, id: string, query: Row}} */
function here() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, id] = path.split("/");
  return { name: name || "documents", id: id || "", query: Object.fromEntries(new URLSearchParams(query)) };
}

/** @param {string} name @param {Row} [query] @param {string} [id] */
function address(name, query = {}, id = "") {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined && value !== false);
  const words = new URLSearchParams(given.map(([key, value]) => [key, String(value)])).toString();
  return `#/${name}${id ? `/${id}` : ""}${words ? `?${words}` : ""}`;
}

/** A query as the server takes it. @param {Row} query @returns {Row} */
function asked(query) {
  const number = (/** @type {string | undefined} */ text) => (text ? Number(text) : null);
  const { run, ...rest } = query;
  return {
    ...rest, run: Number(run || 0), changes, low: number(query.low), high: number(query.high),
    offset: 0, in_text: query.in_text === "true", descending: query.descending === "true",
  };
}

// ---- lists of documents and pictures

/** @param {string} name @param {Row} query */
function filters(name, query) {
  const subject = name === "pictures" ? "image" : "document";
  const go = (/** @type {Row} */ change) => { location.hash = address(name, { ...query, ...change }); };
  const input = (/** @type {string} */ label, /** @type {string} */ key, /** @type {Row} */ more = {}) => {
    const field = h("input", { value: query[key] || "", onchange: () => go({ [key]: field.value }), ...more });
    return h("label", {}, label, field);
  };
  const rules = new Set([...start.names.document, ...start.names.text, ...start.names.image]);
  /** @type {[string, string][]} */
  const scores = [["", "–"], ...Object.entries(start.scores[subject])];
  const views = { ...VIEWS, ...(start.runs.length > 1 ? { only_here: "only kept here", only_there: "only kept there" } : {}), ...(name === "documents" ? { left_out: "left out before they had scores" } : {}) };
  const search = h("input", { type: "search", id: "search", value: query.text || "", placeholder: "words, an address, an id" });
  const inText = h("input", { type: "checkbox", checked: query.in_text === "true" });
  const sites = h("datalist", { id: "sites" }, start.sites.map((/** @type {string} */ site) => h("option", { value: site })));
  return h("form", { class: "filters", onsubmit: (/** @type {Event} */ event) => {
    event.preventDefault();
    go({ text: search.value.trim(), in_text: inText.checked });
    search.blur();
  } },
    start.runs.length > 1 && choice("Run", start.runs.map((/** @type {Row} */ run, /** @type {number} */ index) => [String(index), run.name]), query.run || "0", (run) => go({ run })),
    h("label", { class: "search" }, "Search in titles, addresses and ids", search),
    h("label", { class: "line" }, inText, "in texts, too"),
    h("button", { type: "submit" }, "Search"),
    choice("Show", Object.entries(views), query.view || "all", (view) => go({ view })),
    choice("Dropped by", [["", "any rule or none"], ...[...rules].map((rule) => /** @type {[string, string]} */ ([rule, rule]))], query.rule || "", (rule) => go({ rule })),
    h("details", { class: "more-filters", open: innerWidth > 640 || ["language", "site", "score", "low", "high"].some((key) => query[key]) }, h("summary", {}, "more filters"), h("div", {},
    choice("Language", [["", "any"], ...start.languages.map((/** @type {string} */ each) => [each, each])], query.language || "", (language) => go({ language })),
    input("Site", "site", { list: "sites" }), sites,
    choice("Score", scores, query.score || "", (score) => go({ score })),
    input("at least", "low", { type: "number", step: "any" }),
    input("at most", "high", { type: "number", step: "any" }))),
    choice("Sort by", scores, query.sort || "", (sort) => go({ sort })),
    choice("Order", [["", "lowest first"], ["true", "highest first"]], query.descending || "", (descending) => go({ descending })),
  );
}

/** @param {Row} row @param {Row} query */
function documentRow(row, query) {
  return h("a", { class: "row card", href: address("document", { run: query.run }, row.doc_id), "data-item": "" },
    h("div", { class: "minis" }, row.pictures.map((/** @type {Row} */ each) => h("span", { class: `shot-button ${each.unsafe ? "unsafe" : ""}` },
      h("img", { src: `image/${each.image_id}?run=${query.run || 0}&side=320`, alt: "", loading: "lazy" })))),
    h("div", {},
      h("h3", {}, h("bdi", {}, row.title || "(no title)")),
      h("span", { class: "url" }, h("bdi", {}, row.url)),
      h("div", { class: "facts" }, badge(row.rule), h("span", {}, count(row.words, "word")), h("span", {}, count(row.images, "picture")),
        row.language && h("span", {}, row.language), row.value !== null && h("b", {}, shown(row.value)),
        row.mark && h("span", {}, `marked ${row.mark}`))));
}

/** @param {Row} row @param {Row} query */
function pictureCard(row, query) {
  return h("div", { class: "card shot", "data-item": "", tabindex: "-1" },
    h("div", { class: "frame" }, picture(row, "", Number(query.run || 0))),
    h("div", { class: "shot-text" }, row.value !== null && row.value !== undefined && h("b", {}, shown(row.value), " "), badge(row.rule), " ",
      row.times > 1 && `in ${NUMBER.format(row.times)} places, `,
      h("a", { href: address("document", { run: query.run, node: row.node }, row.doc_id) }, "its page")));
}

/** Pages, pictures and records that never had scores. @param {Row} query */
async function leftOut(query) {
  const own = turn;
  const go = (/** @type {Row} */ change) => { location.hash = address("documents", { ...query, ...change }); };
  const search = h("input", { type: "search", id: "search", value: query.text || "", onchange: () => go({ text: search.value.trim() }) });
  const total = h("p", { class: "count" }), rows = h("tbody"), more = h("button", { type: "button", class: "more", hidden: true }, "Show more");
  let offset = 0;
  const load = async () => {
    const answer = await ask("left_out", { run: Number(query.run || 0), text: query.text || "", rule: query.rule || "", offset });
    if (own !== turn) return;
    if (!offset) {
      draw(h("h2", {}, "Left out before they had scores"), h("div", { class: "filters" }, h("label", { class: "search" }, "Search in addresses", search),
        choice("Show", [["left_out", "left out before they had scores"], ["all", "documents"]], "left_out", (view) => go({ view, rule: "", text: "" })),
        choice("Rule", [["", "any"], ...answer.rules.map((/** @type {string} */ rule) => [rule, rule])], query.rule || "", (rule) => go({ rule }))),
      total, h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Left out" }, h("table", { class: "earlier" }, h("thead", {}, h("tr", {}, ["What", "Rule", "Address", "Why"].map((name) => h("th", { scope: "col" }, name)))), rows)), more);
    }
    rows.append(...answer.rows.map((/** @type {Row} */ row) => h("tr", { "data-item": "", tabindex: "-1" }, h("td", { class: "word" }, row.unit), h("td", { class: "word" }, h("span", { class: `tag ${row.action === "fail" ? "failed" : "dropped"}` }, row.rule)),
      h("td", {}, h("bdi", {}, row.url || `${row.warc_file} at byte ${NUMBER.format(row.warc_offset)}`)),
      h("td", { class: "small" }, answer.meanings[row.rule], row.value === null ? "" : ` (${shown(row.value)}${row.threshold === null ? "" : ` against ${shown(row.threshold)}`})`, row.detail && [": ", h("bdi", { class: "muted" }, row.detail)]))));
    offset += answer.rows.length;
    total.textContent = count(answer.total, "decision");
    more.hidden = offset >= answer.total;
  };
  more.addEventListener("click", () => load().catch(tell));
  leave = () => { location.hash = "#/documents"; };
  await load();
}

/** @param {string} name @param {Row} query */
async function list(name, query) {
  if (name === "documents" && query.view === "left_out") { await leftOut(query); return; }
  const own = turn;
  const rows = h("div", { class: name === "pictures" ? "shots" : "rows", role: "group", "aria-label": name });
  const total = h("p", { class: "count" }, "…");
  const more = h("button", { type: "button", class: "more", hidden: true }, "Show more");
  draw(h("h2", {}, name === "pictures" ? "Pictures" : "Documents"), filters(name, query), total, rows, more);
  let offset = 0;
  const load = async () => {
    const answer = await ask(name, { ...asked(query), offset });
    if (own !== turn) return;
    rows.append(...answer.rows.map((/** @type {Row} */ row) => (name === "pictures" ? pictureCard(row, query) : documentRow(row, query))));
    offset += answer.rows.length;
    total.textContent = `${count(answer.total, name.slice(0, -1))}${offset < answer.total ? `, the first ${NUMBER.format(offset)} shown` : ""}`;
    more.hidden = offset >= answer.total;
  };
  more.addEventListener("click", () => load().catch(tell));
  leave = () => { if (location.hash !== "#/documents") location.hash = address(name); };
  await load();
}

// ---- one document

/** @param {Row} found @param {number | null} node @param {string} rule @param {number} run */
function markButtons(found, node, rule, run) {
  const mark = found.marks.find((/** @type {Row} */ each) => each.node_index === node && each.rule === (rule || "kept")) || { verdict: "", note: "" };
  const note = h("span", { class: "small muted" }, h("bdi", {}, mark.note));
  const buttons = ["right", "wrong"].map((verdict) => h("button", { type: "button", "aria-pressed": String(mark.verdict === verdict),
    onclick: () => keep({ verdict: mark.verdict === verdict ? "" : verdict }) }, verdict));
  /** @param {Row} change */
  async function keep(change) {
    const sampled = audit && audit.current.doc_id === found.doc_id && audit.current.node_index === node && audit.rule === (rule || "kept");
    Object.assign(mark, change);
    try {
      const answer = await ask("mark", { run, doc_id: found.doc_id, node_index: node, rule: rule || "kept", verdict: mark.verdict, note: mark.note, audit: Boolean(sampled) });
      buttons.forEach((button, index) => button.setAttribute("aria-pressed", String(mark.verdict === ["right", "wrong"][index])));
      note.firstChild.textContent = mark.note;
      say(`${count(answer.marks, "mark")} in ${answer.file}`);
      if (sampled && change.verdict) nextOfAudit();
    } catch (error) { tell(error); }
  }
  const ask_note = () => {
    const field = h("input", { value: mark.note, maxlength: 2000, "aria-label": "Note", onkeydown: (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Enter") { keep({ note: field.value }); field.remove(); }
      if (event.key === "Escape") { event.stopPropagation(); field.remove(); }
    } });
    note.after(field);
    field.focus();
  };
  const made = h("span", { class: "marks" }, buttons, h("button", { type: "button", onclick: ask_note }, "note"), note);
  return { made, right: () => buttons[0].click(), wrong: () => buttons[1].click(), note: ask_note };
}

/** A table of the page, its cells as they stand in their columns. @param {Row} node */
function tableView(node) {
  const rows = node.table.map((/** @type {string[]} */ cells, /** @type {number} */ index) =>
    h("tr", {}, cells.map((cell) => h(index < node.header_rows ? "th" : "td", index < node.header_rows ? { scope: "col" } : {}, h("bdi", {}, cell)))));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table" }, h("table", { class: "of-page" }, h("tbody", {}, rows)));
}

/** @param {Row} node @param {Row} found @param {Row} query */
function nodeView(node, found, query) {
  const tags = /** @type {Row} */ ({ heading: "h4", code: "pre", quotation: "blockquote", list_item: "div" });
  const marks = markButtons(found, node.index, node.rule, Number(query.run || 0));
  const decision = node.decision;
  const body = node.kind === "image"
    ? h("figure", {}, node.image_id ? picture(node, node.alt, Number(query.run || 0)) : h("span", { class: "no-picture" }, "no such picture at hand: ", h("bdi", {}, node.image_url || "")),
      h("figcaption", {}, node.caption && [h("b", {}, "Caption "), h("bdi", {}, node.caption), h("br")], node.alt && [h("b", {}, "Alt "), h("bdi", {}, node.alt)]))
    : node.table && node.table.length ? tableView(node)
    : h(tags[node.role] || "p", { class: node.role, "data-level": node.role === "heading" ? node.level : null }, h("bdi", {}, node.text));
  if (node.role === "list_item") body.style.setProperty("--level", Math.min(node.level, 6));
  const language = node.code_language && h("div", { class: "muted small code-language" }, h("bdi", {}, node.code_language));
  const item = h("div", { class: `item ${node.rule ? "left-out" : ""}`, "data-item": "", tabindex: "-1" }, language, body,
    h("div", { class: "why" }, node.rule && badge(node.rule), decision && decision.value !== null && h("b", {}, shown(decision.value)),
      decision && decision.threshold !== null && h("span", { class: "muted" }, `against ${shown(decision.threshold)}`),
      decision && decision.detail && h("bdi", { class: "muted" }, decision.detail), node.masked && h("span", { class: "tag" }, "personal data masked"), node.rule && marks.made,
      node.scores && h("details", { class: "scores" }, h("summary", {}, "scores"), h("bdi", {}, node.scores))));
  item.marking = marks;
  return item;
}

/** @param {string} title @param {any} body @param {boolean} isOpen @param {() => Promise<any>} [load] */
function pane(title, body, isOpen, load) {
  const made = h("section", { class: "pane card", hidden: !isOpen, "aria-label": title }, h("h3", {}, title), body);
  let isLoaded = false;
  const open = () => {
    if (!load || isLoaded) return;
    isLoaded = true;
    load().catch((error) => body.replaceChildren(h("p", { class: "muted" }, String(error.message))));
  };
  const button = h("button", { type: "button", "aria-pressed": String(isOpen), onclick: () => {
    made.hidden = !made.hidden;
    button.setAttribute("aria-pressed", String(!made.hidden));
    if (!made.hidden) open();
  } }, title);
  if (isOpen) open();
  return { made, button };
}

/** @param {string} id @param {Row} query */
async function story(id, query) {
  const own = turn, run = Number(query.run || 0);
  const found = await ask("document", { run, changes, doc_id: id });
  if (own !== turn) return;
  const body = () => h("div", { class: "body", tabindex: "0" });
  const source = body(), decisions = body(), tokens = body();
  const nodes = h("div", { class: "body doc-body", tabindex: "0" }, found.nodes.map((/** @type {Row} */ node) => nodeView(node, found, query)));
  const frame = h("button", { type: "button", onclick: () => source.replaceChildren(
    h("p", { class: "small muted" }, "Without scripts, pictures and anything else that loads."),
    h("iframe", { src: `page/${id}?run=${run}`, sandbox: "", referrerpolicy: "no-referrer", title: "The page, without scripts" })) }, "Show as a page");
  const panes = [
    pane("Raw page", source, innerWidth > 1500, async () => {
      const answer = await ask("source", { run, doc_id: id });
      fill(source, frame, h("pre", {}, answer.text), answer.more ? h("p", {}, `and ${NUMBER.format(answer.more)} more characters`) : "");
    }),
    pane("Nodes", nodes, true),
    pane("Decisions", decisions, innerWidth > 900, async () => {
      const answer = await ask("stored", { run, doc_id: id });
      fill(decisions,
        h("h4", {}, "Scores of the document"), scoreTable(found.lines),
        h("h4", {}, "As the run wrote them down"),
        answer.rows.length ? h("ul", { class: "small" }, answer.rows.map((/** @type {Row} */ row) => h("li", {},
          `${row.stage}: ${row.action} ${row.unit}${row.node_index === null ? "" : ` ${row.node_index}`} `, badge(row.rule),
          row.value === null ? "" : ` ${shown(row.value)}`, row.threshold === null ? "" : ` against ${shown(row.threshold)}`, " ", h("bdi", { class: "muted" }, row.detail || "")))) : h("p", { class: "muted" }, "None: nothing was left out."));
    }),
    pane("Tokens", tokens, innerWidth > 1500, async () => {
      const answer = await ask("tokens", { run, doc_id: id });
      fill(tokens, answer.why ? h("p", { class: "muted" }, answer.why) : h("p", { class: "small muted" }, count(answer.total, "token")), ...answer.pieces.map(tokenPiece));
    }),
  ];
  const marks = markButtons(found, null, found.rule, run);
  const facts = [found.language && `${found.language} ${found.language_score === null ? "" : found.language_score.toFixed(2)}`, found.page_kind, found.date,
    `${found.warc_file.split("/").pop()} at byte ${NUMBER.format(found.warc_offset)}`, ...found.consent].filter(Boolean);
  draw(
    h("p", {}, h("button", { type: "button", class: "back", onclick: () => leave() }, "Back"), panes.map((each) => [each.button, " "])),
    audit && audit.current.doc_id === id && auditBar(),
    h("h2", {}, h("bdi", {}, found.title || "(no title)")),
    h("p", { class: "small" }, found.href ? h("a", { href: found.href, rel: "noreferrer noopener", target: "_blank" }, h("bdi", {}, found.url)) : h("bdi", {}, found.url)),
    h("p", { class: "small muted" }, h("bdi", {}, facts.join(" · "))),
    found.licences.length > 0 && h("p", { class: "small muted" }, "Licences stated: ", h("bdi", {}, found.licences.join(", "))),
    h("div", { class: "verdict card" }, badge(found.rule), found.meaning && h("span", {}, found.meaning),
      found.decision && found.decision.value !== null && h("span", {}, h("b", {}, shown(found.decision.value)), ` against ${shown(found.decision.threshold)}`),
      found.decision && found.decision.detail && h("bdi", { class: "muted small" }, found.decision.detail),
      found.elsewhere && h("span", { class: "muted" }, `in the other run: ${found.elsewhere}`), marks.made),
    h("div", { class: "panes" }, panes.map((each) => each.made)));
  marking = { r: marks.right, w: marks.wrong, n: marks.note };
  leave = () => { if (audit && audit.current.doc_id === id) location.hash = "#/audit"; else history.length > 1 ? history.back() : (location.hash = "#/documents"); };
  if (query.node !== undefined) {
    const item = nodes.children[Number(query.node)];
    if (item) {
      choose(item);
      if (audit && audit.current.node_index === Number(query.node)) marking = { r: item.marking.right, w: item.marking.wrong, n: item.marking.note };
    }
  }
}

/** Lines of `gobelin explain` as a table. @param {string[]} lines */
function scoreTable(lines) {
  const cells = lines.map((line) => line.split(/\s{2,}/)).filter((line) => line[0] === "score");
  const others = lines.filter((line) => line.startsWith("others")).map((line) => line.replace(/^others\s+/, ""));
  return [h("table", {}, h("tbody", {}, cells.map(([, name, value, held]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", { class: "num" }, value), h("td", {}, held || ""))))),
    others.length > 0 && h("details", {}, h("summary", {}, "scores that no rule compares"), h("p", { class: "small" }, others.join(", ")))];
}

/** @param {Row} piece */
function tokenPiece(piece) {
  if (piece.kind === "special") return h("div", { class: "special" }, piece.text);
  if (piece.kind === "image") return h("span", { class: "pictured" }, `${count(piece.number, "picture token")}: ${piece.text} …`);
  return h("p", {}, piece.tokens.map((/** @type {string} */ token) => h("span", { class: "token" }, token)));
}

// ---- thresholds

/** @param {Rule} rule @param {Row} scale */
function axis(rule, scale) {
  const bars = scale.bars;
  let low = Math.min(scale.low, ...(bars.length ? [bars[0][0]] : [])), high = Math.max(scale.high, rule.threshold ?? scale.high);
  if (rule.threshold !== null) low = Math.min(low, rule.threshold);
  if (high <= low) high = low + 1;
  const isLog = rule.axis === "log" && high > 10 * Math.max(low, 0.5);
  const floor = isLog ? Math.max(low, 0.5) : low;
  const to = (/** @type {number} */ value) => (isLog ? Math.log(Math.max(value, floor) / floor) / Math.log(high / floor) : (value - low) / (high - low));
  const from = (/** @type {number} */ place) => {
    const value = isLog ? floor * (high / floor) ** place : low + place * (high - low);
    return rule.is_whole ? Math.round(value) : Number(value.toPrecision(4));
  };
  return { to: (/** @type {number} */ value) => Math.min(1, Math.max(0, to(value))), from, low: floor, high };
}

/** @param {any} svg @param {Rule} rule @param {Row} scale @param {any} along @param {number | null} threshold */
function drawBars(svg, rule, scale, along, threshold) {
  const top = Math.max(...scale.bars.map((/** @type {number[]} */ bar) => bar[2]), 1);
  const part = (/** @type {string} */ tag, /** @type {Row} */ values) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(values)) made.setAttribute(name, String(value));
    return made;
  };
  const shapes = scale.bars.map((/** @type {number[]} */ [left, right, number]) => {
    const middle = (left + right) / 2, x = 1000 * along.to(left), height = number ? Math.max(2, 70 * Math.sqrt(number / top)) : 0;
    const isPassing = threshold === null || (rule.keeps_above ? middle >= threshold : middle <= threshold);
    return part("rect", { x, y: 72 - height, width: Math.max(3, 1000 * along.to(right) - x - 2), height, class: isPassing ? "pass" : "fail" });
  });
  if (threshold !== null) shapes.push(part("line", { x1: 1000 * along.to(threshold), x2: 1000 * along.to(threshold), y1: 0, y2: 74 }));
  svg.replaceChildren(...shapes);
}

const nouns = /** @type {{[subject: string]: string}} */ ({ document: "document", text: "text", image: "picture" });

/** @param {Rule} rule @param {(rule: Rule) => void} moved */
function ruleCard(rule, moved) {
  const now = () => (rule.rule in changes ? changes[rule.rule] : rule.threshold);
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 1000 74");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const slider = h("input", { type: "range", min: 0, max: 1000, step: 1, "aria-label": `Threshold of ${rule.rule}` });
  const exact = h("input", { type: "number", step: rule.is_whole ? 1 : "any", "aria-label": `Exact threshold of ${rule.rule}` });
  const ends = h("div", { class: "ends" });
  const reset = h("button", { type: "button", onclick: () => { delete changes[rule.rule]; update(); } }, "As in the recipe");
  const off = h("button", { type: "button", onclick: () => set(null) }, "Off");
  const about = h("p", { class: "small muted" });
  const card = h("section", { class: "rule card", "aria-label": rule.rule }, h("h3", {}, rule.title), h("code", {}, rule.rule),
    h("span", { class: "small muted" }, ` keeps ${rule.keeps_above ? "at least" : "at most"}, ${rule.unit}${rule.is_safety ? "; a safety rule" : ""}`),
    svg, slider, ends, h("div", { class: "set" }, exact, off, reset), about);
  /** @type {Row} */ let scale = { bars: [], low: 0, high: 1 };
  let along = axis(rule, scale);
  const paint = () => {
    const value = now();
    drawBars(svg, rule, scale, along, value);
    slider.value = value === null ? (rule.keeps_above ? 0 : 1000) : Math.round(1000 * along.to(value));
    slider.setAttribute("aria-valuetext", value === null ? "off" : `${shown(value)} ${rule.unit}`);
    if (document.activeElement !== exact) exact.value = value === null ? "" : value;
    off.setAttribute("aria-pressed", String(value === null));
    reset.disabled = !(rule.rule in changes);
    card.classList.toggle("moved", rule.rule in changes);
  };
  const update = () => { paint(); moved(rule); };
  const set = (/** @type {number | null} */ value) => {
    if (value === rule.threshold) delete changes[rule.rule];
    else changes[rule.rule] = value;
    update();
  };
  slider.addEventListener("input", () => set(along.from(Number(slider.value) / 1000)));
  exact.addEventListener("change", () => set(exact.value === "" ? null : Number(exact.value)));
  const load = async () => {
    scale = await ask("histogram", { rule: rule.rule });
    along = axis(rule, scale);
    ends.replaceChildren(h("span", {}, shown(rule.is_whole ? Math.ceil(along.low) : along.low)), h("span", {}, shown(along.high)));
    about.textContent = scale.values ? `${count(scale.values, "value")}${scale.missing ? `; ${count(scale.missing, nouns[rule.subject])} without one` : ""}` : "Nothing has this score, so the rule cannot run.";
    slider.disabled = !scale.values;
    paint();
  };
  paint();
  load().catch(tell);
  return card;
}

/** @param {Row} query */
async function thresholds(query) {
  const own = turn;
  /** @type {Rule[]} */ const rules = start.rules;
  const set = rules.filter((rule) => rule.threshold !== null || rule.rule in changes);
  const rest = rules.filter((rule) => !set.includes(rule));
  const cards = h("div", { class: "rules" }), side = h("div", { class: "side", tabindex: "0", role: "region", "aria-label": "What follows" });
  const totals = h("div", { class: "totals" }), table = h("div", {}), written = h("div", {}), gallery = h("div", {});
  const write = h("button", { type: "button", class: "main", disabled: true, onclick: async () => {
    try {
      const answer = await ask("write", { changes });
      written.replaceChildren(h("p", { class: "small" }, "Written to ", h("code", {}, answer.file), ":"), h("pre", { tabindex: "0" }, answer.text), h("pre", { tabindex: "0" }, answer.command));
    } catch (error) { tell(error); }
  } }, "Write the recipe change");
  const forget = h("button", { type: "button", disabled: true, onclick: () => { for (const name of Object.keys(changes)) delete changes[name]; route(); } }, "Forget all changes");
  side.append(h("div", { class: "summary" }, h("h2", {}, "What follows"), totals), h("div", { class: "rest" }, h("p", {}, write, " ", forget), written, gallery, table));
  /** @type {AbortController | null} */ let asking = null;
  let isAsking = false, again = /** @type {Rule | null} */ (null), wait = 0;
  /** @param {Rule | null} rule */
  async function follow(rule) {
    if (isAsking) { again = rule; return; }
    isAsking = true;
    try {
      const answer = await ask("judge", { changes, held: rule ? rule.rule : null });
      if (own === turn) showConsequence(answer, rule, { totals, table });
      pending();
      write.disabled = forget.disabled = !Object.keys(changes).length;
      written.replaceChildren(...(answer.settings.length ? [h("p", { class: "small" }, "For a command line: ", h("code", {}, answer.settings.map((/** @type {string} */ each) => `--set ${each}`).join(" ")))] : []));
    } catch (error) { tell(error); }
    isAsking = false;
    if (again) { const next = again; again = null; follow(next); }
  }
  /** @param {Rule} rule */
  const moved = (rule) => {
    follow(rule);
    clearTimeout(wait);
    wait = window.setTimeout(() => near(rule), 120);
  };
  /** @param {Rule} rule */
  async function near(rule) {
    asking?.abort();
    asking = new AbortController();
    const threshold = rule.rule in changes ? changes[rule.rule] : rule.threshold;
    if (threshold === null) { gallery.replaceChildren(); return; }
    try {
      const answer = await ask("near", { changes, rule: rule.rule, threshold }, asking.signal);
      if (own !== turn) return;
      gallery.replaceChildren(...["failing", "passing"].map((name) => h("div", {}, h("h3", {}, `Just ${name === "passing" ? "on the right side" : "on the wrong side"} of ${shown(threshold)}`),
        answer[name].length ? h("div", { class: answer.subject === "image" ? "strip" : "rows" }, answer[name].map((/** @type {Row} */ row) => nearItem(answer.subject, row))) : h("p", { class: "muted small" }, "nothing"))));
    } catch (error) { tell(error); }
  }
  const add = h("select", { "aria-label": "Another rule", onchange: () => {
    const rule = rest.find((each) => each.rule === add.value);
    if (rule) { add.before(ruleCard(rule, moved)); add.querySelector(`option[value="${CSS.escape(rule.rule)}"]`)?.remove(); }
  } }, h("option", { value: "" }, "Add a rule that is off …"), rest.map((rule) => h("option", { value: rule.rule }, `${rule.rule} (${rule.title})`)));
  const names = /** @type {Row} */ ({ document: "Documents", text: "Texts", image: "Pictures" });
  for (const subject of ["image", "text", "document"]) {
    const of = set.filter((rule) => rule.subject === subject);
    if (of.length) cards.append(h("h2", {}, names[subject]), ...of.map((rule) => ruleCard(rule, moved)));
  }
  cards.append(add);
  draw(h("div", { class: "split" }, cards, side));
  leave = () => { location.hash = "#/documents"; };
  await follow(null);
  const first = set.find((rule) => rule.rule === query.rule) || set.find((rule) => rule.subject === "image");
  if (first && own === turn) {
    near(first);
    if (query.rule) cards.querySelector(`[aria-label="${CSS.escape(first.rule)}"]`)?.scrollIntoView({ block: "start" });
  }
}

/** @param {string} subject @param {Row} row */
function nearItem(subject, row) {
  if (subject === "image") return h("figure", {}, picture(row), h("figcaption", {}, h("a", { href: address("document", { node: row.node }, row.doc_id) }, shown(row.value))));
  const text = subject === "text" ? row.text : row.title || row.url;
  return h("p", { class: "small" }, h("b", {}, shown(row.value)), " ", h("a", { href: address("document", { node: row.node }, row.doc_id) }, h("bdi", {}, text || "(no title)")));
}

/** @param {Row} answer @param {Rule | null} rule @param {Row} places */
function showConsequence(answer, rule, places) {
  const change = (/** @type {number} */ before, /** @type {number} */ after) => {
    const by = after - before;
    return h("span", { class: by > 0 ? "plus" : by < 0 ? "minus" : "" }, by ? `${by > 0 ? "+" : "−"}${NUMBER.format(Math.abs(by))}${before ? ` (${(100 * Math.abs(by) / before).toFixed(1)} %)` : ""}` : "as the recipe");
  };
  places.totals.replaceChildren(...["documents", "pictures", "words"].map((name, index) => {
    const seen = answer.seen[index], after = answer.after[index], bar = h("div", { class: "stack", title: `${NUMBER.format(after)} of ${NUMBER.format(seen)}` }, h("i", { class: "k" }), h("i", { class: "d" }));
    bar.children[0].style.width = `${seen ? (100 * after) / seen : 0}%`;
    bar.children[1].style.width = `${seen ? 100 - (100 * after) / seen : 0}%`;
    return h("div", { class: "tile" }, h("b", {}, NUMBER.format(after)), h("span", {}, `${name} kept`), bar, h("div", { class: "small" }, change(answer.before[index], after)));
  }));
  const note = rule && answer.not_run ? h("p", { class: "small muted" }, `${rule.rule} found no score ${count(answer.not_run, "time")}.`) : "";
  places.table.replaceChildren(
    h("p", {}, h("a", { href: address("documents", { view: "coming" }) }, `${count(answer.coming, "document")} would come in`), ", ", h("a", { href: address("documents", { view: "going" }) }, `${count(answer.going, "document")} would go`)), note,
    h("table", {}, h("caption", { class: "muted small" }, `What each rule takes. ${answer.milliseconds} ms`), h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Rule"), h("th", { scope: "col", class: "num" }, "Recipe"), h("th", { scope: "col", class: "num" }, "Now"))),
      h("tbody", {}, answer.rows_ || answer.rules.map((/** @type {Row} */ row) => h("tr", {}, h("td", { title: row.meaning }, h("a", { href: address(row.subject === "image" ? "pictures" : "documents", { rule: row.rule }) }, row.rule)), h("td", { class: "num" }, NUMBER.format(row.before)), h("td", { class: `num ${row.after > row.before ? "minus" : row.after < row.before ? "plus" : ""}` }, NUMBER.format(row.after)))))));
}

function pending() {
  const number = Object.keys(changes).length;
  $("pending").hidden = !number;
  $("pending").textContent = `${count(number, "threshold")} moved`;
}

// ---- duplicates, audit, comparison

/** @param {Row} query */
async function duplicates(query) {
  const own = turn, kind = query.kind || "near";
  const groups = h("div", { class: "groups" }), total = h("p", { class: "count" }), more = h("button", { type: "button", class: "more", hidden: true }, "Show more");
  const kinds = { near: "nearly the same text", exact: "the same text", url: "the same address", images: "pictures that look alike" };
  draw(h("h2", {}, "Duplicates"), h("div", { class: "filters" }, choice("Kind", Object.entries(kinds), kind, (value) => { location.hash = address("duplicates", { kind: value }); })), total, groups, more);
  let offset = 0;
  const load = async () => {
    const answer = await ask("clusters", { changes, kind, offset });
    if (own !== turn) return;
    groups.append(...answer.groups.map((/** @type {Row} */ group) => h("div", { class: "card group" }, h("b", {}, `${NUMBER.format(group.size)} ${answer.subject === "image" ? "pictures" : "documents"}`),
      group.size > group.members.length && h("span", { class: "muted small" }, `, ${group.members.length} of them shown`),
      answer.subject === "image" ? h("div", { class: "strip" }, group.members.map((/** @type {Row} */ row) => picture(row))) : group.members.map((/** @type {Row} */ row) => h("div", { class: "small" }, badge(row.rule), " ", h("a", { href: address("document", {}, row.doc_id), "data-item": "" }, h("bdi", {}, row.title || "(no title)")), h("span", { class: "url muted" }, h("bdi", {}, row.url)))))));
    offset += answer.groups.length;
    total.textContent = count(answer.total, "group");
    more.hidden = offset >= answer.total;
  };
  more.addEventListener("click", () => load().catch(tell));
  leave = () => { location.hash = "#/documents"; };
  await load();
}

/** @param {Row} query */
async function auditView(query) {
  const own = turn, seed = Number(query.seed || 0), size = Number(query.size || 20);
  const answer = await ask("audit", { seed, size });
  if (own !== turn) return;
  audit = null;
  const field = (/** @type {string} */ label, /** @type {string} */ key, /** @type {number} */ value) => {
    const input = h("input", { type: "number", min: key === "seed" ? 0 : 1, value, onchange: () => { location.hash = address("audit", { seed, size, [key]: input.value }); } });
    return h("label", {}, label, input);
  };
  const percent = (/** @type {number} */ share) => `${(100 * share).toFixed(0)} %`;
  draw(h("h2", {}, "Audit by eye"),
    h("p", { class: "why" }, "Of what each rule decided, a sample is drawn at random. Say of each item whether the decision is right. The share that is wrong follows with its 95 % interval (Wilson), here and in the report. Marks on other things are kept, and do not count."),
    h("div", { class: "filters" }, field("Items a rule", "size", size), field("Seed of the draw", "seed", seed)),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Rules" }, h("table", { class: "audit" }, h("thead", {}, h("tr", {}, ["Rule", "Decided", "Meaning", "Marked", "Wrong", "Interval", ""].map((name, index) => h("th", { scope: "col", class: [1, 3, 4, 5].includes(index) ? "num" : "" }, name || h("span", { class: "muted" }, "Judge"))))),
      h("tbody", {}, answer.rules.map((/** @type {Row} */ rule) => {
        const marked = rule.right + rule.wrong;
        return h("tr", {}, h("td", {}, badge(rule.rule === "kept" ? "" : rule.rule)), h("td", { class: "num" }, NUMBER.format(rule.population)), h("td", { class: "muted" }, rule.meaning), h("td", { class: "num" }, `${marked} of ${rule.items.length}`),
          h("td", { class: "num" }, marked ? percent(rule.wrong / marked) : "–"), h("td", { class: "num" }, marked ? `${percent(rule.low)} – ${percent(rule.high)}` : "–"),
          h("td", {}, h("button", { type: "button", "data-item": "", "aria-label": `Judge ${rule.rule}`, onclick: () => beginAudit(rule) }, marked < rule.items.length ? "Judge" : "Look again")));
      })))),
    h("p", { class: "small muted" }, `Marks are kept in ${answer.file}.`));
  leave = () => { location.hash = "#/documents"; };
}

/** @param {Row} rule */
function beginAudit(rule) {
  audit = { rule: rule.rule, meaning: rule.meaning, items: rule.items, place: -1, current: {}, from: location.hash };
  nextOfAudit(rule.items.every((/** @type {Row} */ item) => item.verdict));
}

/** @param {boolean} [isAgain] */
function nextOfAudit(isAgain = false) {
  if (!audit) return;
  if (audit.place >= 0) audit.items[audit.place].verdict = audit.items[audit.place].verdict || "said";
  const rest = audit.items.findIndex((/** @type {Row} */ item, /** @type {number} */ index) => index > audit?.place && (isAgain || !item.verdict));
  if (rest < 0) {
    say(`All of the sample of ${audit.rule} is judged.`);
    location.hash = audit.from || "#/audit";
    return;
  }
  audit.place = rest;
  audit.current = audit.items[rest];
  const node = audit.current.node_index;
  location.hash = address("document", { node: node === null ? undefined : node, of: rest }, audit.current.doc_id);
}

function auditBar() {
  if (!audit) return "";
  return h("p", { class: "notice" }, h("b", {}, `Audit of ${audit.rule}`), `${audit.place + 1} of ${audit.items.length}: ${audit.meaning}. Is it right to ${audit.rule === "kept" ? "keep" : "leave out"} this? `, h("kbd", {}, "r"), " right, ", h("kbd", {}, "w"), " wrong, ", h("kbd", {}, "n"), " note ",
    h("button", { type: "button", onclick: () => nextOfAudit() }, "Skip"));
}

async function compare() {
  const own = turn;
  if (start.runs.length < 2) {
    draw(h("h2", {}, "Comparison"), h("p", {}, "One run is open. ", h("code", {}, "gobelin browse A B"), " compares two."));
    return;
  }
  const answer = await ask("compare", { changes });
  if (own !== turn) return;
  const [first, second] = start.runs;
  const link = (/** @type {string} */ view, /** @type {number} */ run, /** @type {number} */ number, /** @type {string} */ words) => h("div", { class: "tile" }, h("b", {}, NUMBER.format(number)), h("a", { href: address("documents", { view, run }), "data-item": "" }, words));
  draw(h("h2", {}, "Comparison"), h("div", { class: "tiles" },
    link("only_here", 0, answer.only_here, `documents that only ${first.name} keeps`), link("only_here", 1, answer.only_there, `documents that only ${second.name} keeps`),
    h("div", { class: "tile" }, h("b", {}, NUMBER.format(answer.both)), h("span", {}, "documents that both keep"))),
  h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Totals" }, h("table", {}, h("thead", {}, h("tr", {}, ["Run", "Recipe", "Documents", "Pictures", "Words", "Only in its input"].map((name, index) => h("th", { scope: "col", class: index > 1 ? "num" : "" }, name)))), h("tbody", {}, start.runs.map((/** @type {Row} */ run, /** @type {number} */ index) => h("tr", {}, h("td", { class: "word" }, run.output), h("td", {}, run.recipe), answer.totals[index].map((/** @type {number} */ each) => h("td", { class: "num" }, NUMBER.format(each))), h("td", { class: "num" }, NUMBER.format(index ? answer.unknown_here : answer.unknown_there))))))));
  leave = () => { location.hash = "#/documents"; };
}

// ---- the page

/** @param {any} place @param {...any} children */
function fill(place, ...children) {
  place.replaceChildren(...children.flat(Infinity).filter(Boolean));
}

/** @param {...any} children */
function draw(...children) {
  fill($("main"), ...children);
}

/** @param {any} item */
function choose(item) {
  document.querySelectorAll(".chosen").forEach((each) => each.classList.remove("chosen"));
  item.classList.add("chosen");
  item.focus({ preventScroll: true });
  item.scrollIntoView({ block: "center" });
  if (item.marking) marking = item.classList.contains("left-out") ? { r: item.marking.right, w: item.marking.wrong, n: item.marking.note } : marking;
}

/** @param {number} by */
function step(by) {
  const items = [...document.querySelectorAll("#main [data-item]")].filter((each) => each.getClientRects().length);
  const now = items.findIndex((each) => each.classList.contains("chosen"));
  const next = items[now < 0 ? (by > 0 ? 0 : items.length - 1) : Math.min(items.length - 1, Math.max(0, now + by))];
  if (next) choose(next);
}

function veil() {
  const isVeiled = document.body.classList.toggle(start.nsfw_scored ? "veiled" : "all-veiled");
  $("veil").setAttribute("aria-pressed", String(isVeiled));
  const words = start.nsfw_scored ? ["Unsafe pictures are shown", "Unsafe pictures are blurred"] : ["NSFW not scored: blur all", "All pictures are blurred"];
  $("veil").textContent = words[Number(isVeiled)];
}

async function route() {
  turn += 1;
  marking = {};
  const { name, id, query } = here();
  document.querySelectorAll("#tabs a").forEach((/** @type {any} */ tab) => {
    if (tab.dataset.tab === name) tab.setAttribute("aria-current", "page"); else tab.removeAttribute("aria-current");
  });
  document.title = `gobelin: ${name}`;
  if (name !== "document" && name !== "audit") audit = null;
  try {
    if (name === "document") await story(id, query);
    else if (name === "thresholds") await thresholds(query);
    else if (name === "duplicates") await duplicates(query);
    else if (name === "audit") await auditView(query);
    else if (name === "compare") await compare();
    else await list(name === "pictures" ? "pictures" : "documents", query);
  } catch (error) { tell(error); }
}

/** @param {KeyboardEvent} event */
function onKey(event) {
  const target = /** @type {HTMLElement} */ (event.target);
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.key === "Escape") { target.matches("input, select, textarea") ? target.blur() : leave(); return; }
  if (target.matches("input, select, textarea")) return;
  const keys = /** @type {{[key: string]: () => void}} */ ({
    j: () => step(1), k: () => step(-1), b: veil, "?": () => $("help").showModal(),
    "/": () => { if ($("search")) $("search").focus(); else { location.hash = "#/documents"; setTimeout(() => $("search")?.focus(), 300); } },
    Enter: () => {
      const chosen = document.querySelector(".chosen");
      if (!chosen || target.matches("button, a")) return;
      const link = /** @type {HTMLElement | null} */ (chosen.matches("a, button") ? chosen : chosen.querySelector("a, button"));
      link?.click();
    },
    ...Object.fromEntries(TABS.map((tab, index) => [String(index + 1), () => { location.hash = `#/${tab}`; }])), ...marking,
  });
  const act = keys[event.key];
  if (!act || (event.key === "Enter" && target.matches("button, a, summary"))) return;
  if (event.key !== "Enter") event.preventDefault();
  act();
}

async function begin() {
  try {
    start = await ask("start");
  } catch (error) { tell(error); return; }
  $("run").textContent = start.runs.map((/** @type {Row} */ run) => `${run.name}, ${count(run.documents, "document")}`).join(" and ");
  $("tabs").append(...TABS.filter((tab) => tab !== "compare" || start.runs.length > 1).map((tab) => h("a", { href: `#/${tab}`, "data-tab": tab }, tab[0].toUpperCase() + tab.slice(1))));
  if (start.nsfw_scored) veil(); else { veil(); veil(); }
  $("veil").addEventListener("click", veil);
  $("help-button").addEventListener("click", () => $("help").showModal());
  $("help-close").addEventListener("click", () => $("help").close());
  $("large-close").addEventListener("click", () => $("large").close());
  $("large").addEventListener("click", (/** @type {Event} */ event) => { if (event.target === $("large")) $("large").close(); });
  addEventListener("keydown", onKey);
  addEventListener("hashchange", route);
  await route();
}

begin();
