// The list of photographs: what is shown, in which order, which one is current, and its marks.
"use strict";
const { columns, photos, sidecars } = JSON.parse(document.getElementById("data").textContent);
const $ = id => document.getElementById(id);
const WIDE = matchMedia("(min-width: 1001px)");
const BINS = 20; // of a histogram
const COLUMN = columns[0]; // shown on cards that are sorted by name

// What is kept in this browser. A private window may refuse.
const store = {
  read(name, otherwise) { try { return JSON.parse(localStorage.getItem(name)) ?? otherwise; } catch { return otherwise; } },
  write(name, value) { try { localStorage.setItem(name, JSON.stringify(value)); } catch { /* nothing is kept */ } },
};
const MARKS = `attiqa marks ${location.pathname}`;
const marks = new Map(store.read(MARKS, [])); // path to { stars, flag }, of what was marked by hand

const commonFolder = () => {
  const folderOf = path => path.slice(0, path.lastIndexOf("/") + 1);
  return photos.map(photo => folderOf(photo.path)).reduce((one, other) => {
    while (!other.startsWith(one)) one = folderOf(one.slice(0, -1));
    return one;
  });
};
const folder = commonFolder();

const nameOf = photo => photo.path.slice(folder.length);
const score = (photo, column) => photo.scores[columns.indexOf(column)];
const starsOf = photo => marks.get(photo.path)?.stars ?? photo.stars;
const flagOf = photo => marks.get(photo.path)?.flag ?? "";
const isProposed = photo => marks.get(photo.path)?.stars === undefined;
const starred = count => "★".repeat(count) + "☆".repeat(5 - count);
const plural = (count, one) => `${count.toLocaleString("en")} ${one}${count === 1 ? "" : "s"}`;
const spaced = text => text.replaceAll("_", " ");

function make(tag, text = "", kind = "") { // text is never read as HTML
  const node = document.createElement(tag);
  node.textContent = text;
  if (kind) node.className = kind;
  return node;
}

// Cards

const cards = []; // made when they are first shown
const cardOf = index => cards[index] ??= makeCard(index);
const template = name => $(name).content.firstElementChild.cloneNode(true);

function makeCard(index) {
  const photo = photos[index], node = template("card");
  const part = name => node.querySelector(`.${name}`);
  node.dataset.index = index;
  node.id = `photo-${index}`;
  node.title = [photo.path, `${photo.width} x ${photo.height}`, photo.about].filter(Boolean).join("\n");
  node.querySelector("img").src = photo.thumbnail;
  part("name").textContent = nameOf(photo);
  part("words").append(...photo.findings.map(([name]) => make("span", spaced(name), "word")));
  if (photo.group >= 0) part("tie").textContent = `${photo.place} of ${photo.size} ${photo.kind}`;
  showMarks(node, photo);
  return node;
}

function badgeOf(photo) { // text and kind
  if (flagOf(photo)) return [flagOf(photo), flagOf(photo)];
  if (!photo.keep) return ["cull?", "cull"];
  return photo.kind === "alike" && photo.place === 1 ? ["best", "best"] : ["", ""];
}

function described(photo) { // for a screen reader
  const quality = score(photo, COLUMN), stars = starsOf(photo);
  const known = quality === null ? "" : `quality ${quality.toFixed(2)}`;
  return [nameOf(photo), known, plural(stars, "star") + (isProposed(photo) ? " proposed" : ""), flagOf(photo) || (photo.keep ? "" : "proposed to cull"),
    photo.group >= 0 ? `${photo.place} of ${photo.size} ${photo.kind}` : "", ...photo.findings.map(([name]) => spaced(name))].filter(Boolean).join(", ");
}

function showMarks(node, photo) {
  const [text, kind] = badgeOf(photo), stars = node.querySelector(".stars"), badge = node.querySelector(".badge");
  stars.textContent = starred(starsOf(photo));
  stars.classList.toggle("proposed", isProposed(photo));
  badge.textContent = text;
  badge.className = `badge ${kind}`;
  node.classList.toggle("reject", flagOf(photo) === "reject");
  node.setAttribute("aria-label", described(photo));
}

// Maps lie over thumbnails

function drawMap(photo, column) { // a colour per cell, red to green; the browser smooths between them
  const [rows, cells] = photo.grid, bytes = atob(photo.maps), start = columns.indexOf(column)*rows*cells;
  const canvas = make("canvas"), context = canvas.getContext("2d");
  canvas.width = cells;
  canvas.height = rows;
  const image = context.createImageData(cells, rows);
  for (let i = 0; i < rows*cells; i++) {
    const value = bytes.charCodeAt(start + i)/255;
    image.data.set([Math.min(255, 510*(1 - value)), Math.min(255, 510*value), 60, 255], 4*i);
  }
  context.putImageData(image, 0, 0);
  return canvas;
}
const hasMap = photo => Boolean($("map").value) && photo.maps && score(photo, $("map").value) !== null;

function overlay(card) {
  const photo = photos[card.dataset.index], frame = card.querySelector(".frame"), image = frame.querySelector("img");
  frame.querySelector("canvas")?.remove();
  if (!hasMap(photo)) return;
  const canvas = drawMap(photo, $("map").value);
  const fit = () => { canvas.style.width = `${image.width}px`; canvas.style.height = `${image.height}px`; };
  frame.append(canvas);
  if (image.complete) fit(); else image.addEventListener("load", fit, { once: true });
}

// Order and filters

let runs = [], order = [], current = -1, descending = false; // order: indices of the photographs that are shown; runs: groups in it

const SHOWN = {
  "": () => true,
  groups: photo => photo.group >= 0,
  keep: photo => photo.keep,
  cull: photo => !photo.keep,
};
const FOUND = {
  "": () => true,
  any: photo => photo.findings.length > 0,
  none: photo => photo.findings.length === 0,
};

function fits(photo) {
  const value = score(photo, $("column").value), text = $("text").value.toLowerCase(), finding = $("finding").value;
  return (FOUND[finding] ?? (one => one.findings.some(([name]) => name === finding)))(photo)
    && SHOWN[$("proposal").value](photo)
    && (!$("flag").value || $("flag").value === (flagOf(photo) || "none"))
    && starsOf(photo) >= Number($("least").value)
    && (value === null || (value >= Number($("low").value) && value <= Number($("high").value)))
    && (!text || `${photo.path} ${photo.about}`.toLowerCase().includes(text));
}

function sorted() { // indices; what has no score comes last
  const by = $("sort").value, sign = descending ? -1 : 1, missing = descending ? -1 : 2;
  const key = index => by === "name" ? index : score(photos[index], by) ?? missing;
  return [...photos.keys()].filter(index => fits(photos[index])).sort((a, b) => sign*(key(a) - key(b)) || a - b);
}

function together(indices) { // runs: a group is where its first photograph is, the best first
  if (!$("together").checked) return indices.map(index => [index]);
  const found = new Map();
  for (const index of indices) {
    const key = photos[index].group < 0 ? `alone ${index}` : photos[index].group;
    if (found.has(key)) found.get(key).push(index); else found.set(key, [index]);
  }
  return [...found.values()].map(run => run.sort((a, b) => photos[a].place - photos[b].place));
}

function update() {
  const places = together(sorted());
  order = places.flat();
  let start = 0;
  runs = places.map(members => {
    const run = { members, start, node: null };
    start += members.length;
    return run;
  });
  $("shown").textContent = `${order.length} of ${photos.length}`;
  $("nothing").hidden = order.length > 0;
  $("list").hidden = order.length === 0;
  $("list").replaceChildren();
  current = order.includes(current) ? current : order[0] ?? -1;
  render();
  showPanel();
}

// Only rows in sight, and a window's height above and below, are in the document. All rows have one height.

function nodeOf(run) {
  const first = photos[run.members[0]];
  if (first.group < 0 || !$("together").checked) return cardOf(run.members[0]);
  const node = make("div", "", "group");
  node.role = "group";
  node.ariaLabel = `${first.size} photographs, ${first.kind}`;
  node.append(...run.members.map(cardOf));
  return node;
}

function grid() { // columns, and the height of a row with its gap
  const style = getComputedStyle($("list"));
  return { columns: style.gridTemplateColumns.split(" ").length, height: parseFloat(style.gridAutoRows) + parseFloat(style.rowGap) };
}

function inSight({ columns, height }) { // runs
  const top = $("list").getBoundingClientRect().top;
  const first = columns*Math.floor((-top - innerHeight)/height), last = columns*Math.ceil((2*innerHeight - top)/height);
  return runs.filter(({ members, start }) => start + members.length > first && start < last);
}

function prepare(run) { // what depends on the order, of the cards of a run
  const column = $("sort").value === "name" ? COLUMN : $("sort").value;
  run.members.forEach((index, i) => {
    const card = cardOf(index);
    card.style.gridColumnStart = "";
    card.querySelector(".score").textContent = score(photos[index], column)?.toFixed(2) ?? "";
    card.setAttribute("aria-setsize", order.length);
    card.setAttribute("aria-posinset", run.start + i + 1);
    overlay(card);
  });
}

function render() { // nodes that stay are not touched, so that the focus stays
  if (!order.length) return;
  const shape = grid(), shown = inSight(shape), list = $("list");
  for (const run of shown) if (!run.node) { run.node = nodeOf(run); prepare(run); }
  const nodes = shown.map(run => run.node), kept = new Set(nodes);
  for (const node of [...list.children]) if (!kept.has(node)) node.remove();
  nodes.forEach((node, i) => { if (list.children[i] !== node) list.insertBefore(node, list.children[i] ?? null); });
  list.querySelector("[style*=grid-column]")?.style.removeProperty("grid-column-start");
  list.style.height = `${shape.height*Math.ceil(order.length/shape.columns)}px`;
  list.style.paddingTop = `${shape.height*Math.floor((shown[0]?.start ?? 0)/shape.columns)}px`;
  if (shown.length) cards[shown[0].members[0]].style.gridColumnStart = shown[0].start % shape.columns + 1;
  showCurrent();
}

function showCurrent() { // the one card that Tab reaches
  const shown = [...$("list").querySelectorAll(".card")], chosen = cards[current]?.isConnected ? cards[current] : shown[0];
  for (const card of shown) {
    card.tabIndex = card === chosen ? 0 : -1;
    card.setAttribute("aria-selected", card === cards[current]);
  }
}

function reveal(place) { // scrolls so far that a card is in sight
  const { columns, height } = grid(), row = Math.floor(place/columns);
  const low = getComputedStyle($("filters")).position === "sticky" ? $("filters").offsetHeight : 0;
  const high = innerHeight - (WIDE.matches ? 0 : $("panel").offsetHeight);
  const top = $("list").getBoundingClientRect().top + row*height;
  if (top < low) scrollBy(0, top - low);
  else if (top + height > high) scrollBy(0, Math.min(top - low, top + height - high));
  render();
}

// The current photograph and its marks

function choose(index, focus = false) {
  current = index;
  if (focus) {
    reveal(order.indexOf(index));
    cards[index].focus({ preventScroll: true });
  }
  showCurrent();
  showPanel();
}

function step(by, focus = true) {
  const place = order.indexOf(current) + by;
  if (place < 0 || place >= order.length) return;
  choose(order[place], focus);
}

function mark(index, change) { // { stars } or { flag }
  if (index < 0) return;
  const photo = photos[index];
  marks.set(photo.path, { ...marks.get(photo.path), ...change });
  store.write(MARKS, [...marks]);
  showMarks(cardOf(index), photo);
  $("said").textContent = `${nameOf(photo)}: ${change.flag === undefined ? plural(change.stars, "star") : change.flag || "no flag"}`;
  if (index === current) showPanel();
}

function reason(photo) {
  if (photo.group < 0) return "";
  if (photo.kind !== "alike") return `${photo.place} of a ${photo.kind} of ${photo.size}, which is kept whole.`;
  if (photo.place === 1) return `Best of ${photo.size}` + (photo.lead ? `: ${photo.lead} over the next.` : ".");
  return `${photo.place} of ${photo.size}` + (photo.lead ? `. The best leads by ${photo.lead}.` : ".");
}

function barOf(column, value) {
  const row = make("div"), track = make("span", "", "track"), fill = make("i");
  fill.style.width = `${100*(value ?? 0)}%`;
  track.append(fill);
  const text = make("dd", value === null ? "-" : value.toFixed(2));
  row.append(make("dt", column), make("dd"), text);
  row.children[1].append(track);
  return row;
}

function problemOf([name, why]) {
  const row = make("li");
  row.append(make("b", spaced(name)), `: ${why}`);
  return row;
}

function showPanel() {
  const photo = photos[current];
  $("panel").hidden = !photo;
  if (!photo) return;
  const stars = starsOf(photo);
  $("name").textContent = nameOf(photo);
  $("why").textContent = reason(photo);
  $("problems").replaceChildren(...photo.findings.map(problemOf));
  $("bars").replaceChildren(...columns.map((column, i) => barOf(column, photo.scores[i])));
  $("about").textContent = [`${photo.width} x ${photo.height}`, photo.about].filter(Boolean).join(". ");
  $("file").href = photo.link;
  for (const button of $("stars").children) {
    const count = Number(button.dataset.stars);
    button.textContent = count === 0 ? "0" : count <= stars ? "★" : "☆";
    button.classList.toggle("given", count > 0 && count <= stars && !isProposed(photo));
    button.setAttribute("aria-pressed", count === stars && !isProposed(photo));
  }
  for (const button of $("flags").children) button.setAttribute("aria-pressed", button.dataset.flag === flagOf(photo));
}

// Keys. In the list they act on the current photograph, in the view on its active pane.

const FLAGS = { p: "pick", x: "reject", u: "" };

function markOf(event) { // null where the key marks nothing; digits by their place, for keyboards where they need Shift
  const digit = /^(?:Digit|Numpad)([0-5])$/.exec(event.code)?.[1];
  if (digit) return { stars: Number(digit) };
  const flag = FLAGS[event.key.toLowerCase()];
  return flag === undefined ? null : { flag };
}

function moveOf(event) { // how far an arrow goes
  const across = grid().columns, place = order.indexOf(current);
  return { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across, Home: -place, End: order.length - 1 - place }[event.key];
}

document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("viewer").open || event.target.closest("header, #filters")) return;
  const change = markOf(event), move = moveOf(event), inList = !event.target.closest("button, a, summary");
  if (change) {
    mark(current, change);
    if (event.shiftKey) step(1);
  } else if (move !== undefined) step(move);
  else if (event.key.toLowerCase() === "c") openViewer(true);
  else if (event.key === "Enter" && inList) openViewer(false);
  else return;
  event.preventDefault();
});

$("list").addEventListener("focusin", event => choose(Number(event.target.closest(".card").dataset.index)));
$("list").addEventListener("dblclick", () => openViewer(false));
$("stars").addEventListener("click", event => { if (event.target.dataset.stars) mark(current, { stars: Number(event.target.dataset.stars) }); });
$("flags").addEventListener("click", event => { if (event.target.dataset.flag !== undefined) mark(current, { flag: event.target.dataset.flag }); });

// What is set once

function histogram(column) {
  const values = photos.map(photo => score(photo, column)).filter(value => value !== null), counts = Array(BINS).fill(0);
  for (const value of values) counts[Math.min(BINS - 1, Math.floor(BINS*value))]++;
  const node = make("div", "", "histogram"), bars = make("div");
  const middle = values.sort((a, b) => a - b)[values.length >> 1];
  bars.role = "img";
  bars.ariaLabel = values.length ? `${column}: median ${middle.toFixed(2)}` : `${column}: never taught`;
  bars.append(...counts.map(count => {
    const bar = make("i");
    bar.style.height = `${100*count/Math.max(1, ...counts)}%`;
    return bar;
  }));
  node.append(bars, make("span", values.length ? column : `${column}: never taught`));
  return node;
}

function fill(select, entries) { // of value and text
  $(select).append(...entries.map(([value, text]) => {
    const option = make("option", text);
    option.value = value;
    return option;
  }));
}

function findingEntries() {
  const counts = new Map();
  for (const [name] of photos.flatMap(photo => photo.findings)) counts.set(name, (counts.get(name) ?? 0) + 1);
  const names = [...counts].sort(([, a], [, b]) => b - a).map(([name, count]) => [name, `${spaced(name)} (${count})`]);
  return [["", "all"], ["any", "any"], ["none", "none"], ...names];
}

function summary() {
  const groups = new Set(photos.map(photo => photo.group).filter(group => group >= 0)).size;
  const found = photos.filter(photo => photo.findings.length).length;
  return [plural(photos.length, "photograph"), plural(groups, "group"), `${found.toLocaleString("en")} with a finding`,
    `${photos.filter(photo => !photo.keep).length.toLocaleString("en")} proposed to cull`].join(" · ");
}

function setTheme(theme) {
  document.documentElement.style.colorScheme = theme;
  $("theme").value = theme;
}

function setUp() {
  const scores = columns.map(column => [column, column]);
  fill("sort", [["name", "name"], ...scores]);
  fill("column", scores);
  fill("map", [["", "none"], ...scores]);
  fill("finding", findingEntries());
  for (const count of [0, 1, 2, 3, 4, 5]) {
    const button = make("button");
    Object.assign(button, { type: "button", title: String(count), ariaLabel: plural(count, "star") });
    button.dataset.stars = count;
    $("stars").append(button);
  }
  $("summary").textContent = summary();
  $("histograms").append(...columns.map(histogram));
  for (const id of ["further", "rest"]) $(id).open = WIDE.matches;
  setTheme(store.read("attiqa theme", "light dark"));
  for (const id of ["sort", "finding", "flag", "least", "proposal", "column", "low", "high", "text", "together"]) $(id).addEventListener("input", update);
  $("map").addEventListener("input", update);
  let asked = 0; // for the next frame
  const soon = () => { asked ||= requestAnimationFrame(() => { asked = 0; render(); }); };
  addEventListener("scroll", soon, { passive: true });
  addEventListener("resize", soon);
  $("filters").addEventListener("submit", event => event.preventDefault());
  $("theme").addEventListener("input", () => { setTheme($("theme").value); store.write("attiqa theme", $("theme").value); });
  $("direction").addEventListener("click", () => {
    descending = !descending;
    $("direction").textContent = descending ? "descending" : "ascending";
    update();
  });
  update();
}
