// One photograph, or two in step: the whole of it or 100 %, where a pixel of the file is a pixel of the screen.

const STEP = 1.25, SMALLEST = .02, LARGEST = 16;
const view = { panes: [], active: 0, scale: 0 }; // scale: screen pixels per pixel of the widest photograph; 0 shows all of it

function makePane(index) {
  const node = template("pane"), scroll = node.querySelector(".scroll"), image = node.querySelector("img");
  const pane = { node, scroll, image, stage: node.querySelector(".stage"), index };
  image.addEventListener("load", layOut);
  scroll.addEventListener("scroll", () => follow(pane));
  scroll.addEventListener("focus", () => activate(view.panes.indexOf(pane)));
  scroll.addEventListener("dblclick", event => zoomTo(view.scale ? 0 : 1, spotOf(pane, event)));
  scroll.addEventListener("wheel", event => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    zoomTo(scaleNow()*Math.exp(-event.deltaY/100), spotOf(pane, event));
  }, { passive: false });
  scroll.addEventListener("pointerdown", event => drag(pane, event));
  $("panes").append(node);
  return pane;
}

function load(pane) {
  const photo = photos[pane.index];
  pane.hidden = false;
  pane.image.onerror = () => { // RAW, TIFF, or a file that is gone
    pane.image.onerror = null;
    pane.hidden = true;
    pane.image.src = photo.thumbnail;
  };
  pane.image.src = photo.link;
  pane.stage.querySelector("canvas")?.remove();
  if (hasMap(photo)) pane.stage.append(drawMap(photo, $("map").value));
  pane.scroll.ariaLabel = described(photo);
  layOut();
}

// Sizes. All panes show a scene at one size, whatever the size of their files.

const widest = () => Math.max(1, ...view.panes.map(pane => pane.image.naturalWidth));
const shapeOf = pane => pane.image.naturalHeight/Math.max(1, pane.image.naturalWidth);

function fitting() { // width in CSS pixels at which every pane shows all of its photograph
  const fits = view.panes.map(pane => Math.min(pane.scroll.clientWidth, pane.scroll.clientHeight/(shapeOf(pane) || 1)));
  return Math.min(...fits, widest()/devicePixelRatio*4);
}
const widthNow = () => view.scale ? view.scale*widest()/devicePixelRatio : fitting();
const scaleNow = () => widthNow()*devicePixelRatio/widest();

function layOut() {
  const width = widthNow();
  for (const pane of view.panes) {
    pane.stage.style.width = `${width}px`;
    pane.stage.style.height = `${width*shapeOf(pane)}px`;
    showCaption(pane, width);
  }
  $("zoom").setAttribute("aria-pressed", view.scale === 1);
}

function showCaption(pane, width) {
  const photo = photos[pane.index], percent = Math.round(100*width*devicePixelRatio/Math.max(1, pane.image.naturalWidth));
  const words = photo.findings.map(([name]) => spaced(name)).join(", ");
  const size = pane.hidden ? "thumbnail: this browser cannot show the file" : `${percent} %`;
  const lines = [nameOf(photo), [starred(starsOf(photo)) + (isProposed(photo) ? " proposed" : ""), flagOf(photo), size, words].filter(Boolean).join(" · "), reason(photo)];
  pane.node.querySelector("figcaption").replaceChildren(...lines.filter(Boolean).map(line => make("p", line)));
}

// Zooming and scrolling keep the same spot in the middle, in all panes.

function spotOf(pane, event) { // share of width and height under the pointer
  const box = pane.stage.getBoundingClientRect();
  return [(event.clientX - box.left)/box.width, (event.clientY - box.top)/box.height];
}

function middleOf({ scroll }) {
  return [(scroll.scrollLeft + scroll.clientWidth/2)/scroll.scrollWidth, (scroll.scrollTop + scroll.clientHeight/2)/scroll.scrollHeight];
}

function goTo({ scroll }, [across, down]) {
  const left = across*scroll.scrollWidth - scroll.clientWidth/2, top = down*scroll.scrollHeight - scroll.clientHeight/2;
  if (Math.hypot(left - scroll.scrollLeft, top - scroll.scrollTop) > 1.5) scroll.scrollTo(left, top); // else two panes would push each other
}

function follow(pane) {
  for (const other of view.panes) if (other !== pane) goTo(other, middleOf(pane));
}

function zoomTo(scale, spot = middleOf(view.panes[view.active])) {
  view.scale = scale && Math.min(LARGEST, Math.max(SMALLEST, scale));
  layOut();
  for (const pane of view.panes) goTo(pane, spot);
}

function drag(pane, event) {
  if (event.pointerType !== "mouse" || event.button !== 0) return;
  const move = moved => { pane.scroll.scrollBy(-moved.movementX, -moved.movementY); };
  const stop = new AbortController();
  addEventListener("pointermove", move, { signal: stop.signal });
  addEventListener("pointerup", () => stop.abort(), { signal: stop.signal });
}

// Opening, moving, closing

function partnerOf(index) { // the best of its group; for the best, and for what is alone, the next
  const best = order.find(other => photos[index].group >= 0 && photos[other].group === photos[index].group && other !== index);
  return best ?? order[order.indexOf(index) + 1] ?? order[order.indexOf(index) - 1];
}

function activate(place) {
  view.active = place;
  view.panes.forEach((pane, i) => pane.node.classList.toggle("active", view.panes.length > 1 && i === place));
}

function openViewer(two) {
  if (current < 0) return;
  const partner = two ? partnerOf(current) : undefined;
  $("panes").replaceChildren();
  view.scale = 0;
  if (!$("viewer").open) $("viewer").showModal();
  view.panes = [partner, current].filter(index => index !== undefined).map(makePane);
  view.panes.forEach(load);
  activate(view.panes.length - 1);
  view.panes[view.active].scroll.focus();
}

function turn(by) { // the active pane shows the next photograph
  const pane = view.panes[view.active], next = order[order.indexOf(pane.index) + by];
  if (next === undefined) return;
  pane.index = next;
  load(pane);
  if (view.active === view.panes.length - 1) choose(next);
}

const VIEW_KEYS = {
  z: () => zoomTo(view.scale ? 0 : 1),
  "+": () => zoomTo(scaleNow()*STEP),
  "=": () => zoomTo(scaleNow()*STEP),
  "-": () => zoomTo(scaleNow()/STEP),
  c: () => openViewer(view.panes.length < 2),
};
const WHOLE_KEYS = { ArrowRight: () => turn(1), ArrowLeft: () => turn(-1) }; // at 100 % arrows scroll

$("viewer").addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const change = markOf(event), pane = view.panes[view.active];
  const act = VIEW_KEYS[event.key.toLowerCase()] ?? (view.scale ? undefined : WHOLE_KEYS[event.key]);
  if (change) {
    mark(pane.index, change);
    layOut();
    if (event.shiftKey) turn(1);
  } else if (act) act();
  else return;
  event.preventDefault();
});
$("viewer").addEventListener("close", () => cards[current]?.focus());
addEventListener("resize", () => { if ($("viewer").open) layOut(); });
for (const [id, act] of Object.entries({ view: () => openViewer(false), compare: () => openViewer(true), close: () => $("viewer").close(),
  zoom: VIEW_KEYS.z, larger: VIEW_KEYS["+"], smaller: VIEW_KEYS["-"], before: () => turn(-1), after: () => turn(1) })) $(id).addEventListener("click", act);
