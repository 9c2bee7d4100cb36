// What leaves the page: a table, and sidecars in a zip. Both are made here, without a network.

function csv() { // every photograph, whatever is shown
  const cell = value => /[",\r\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : value;
  const rows = photos.map(photo => [photo.path, starsOf(photo), flagOf(photo), photo.keep ? "keep" : "cull", photo.group < 0 ? "" : photo.group, photo.place,
    photo.findings.map(([name]) => name).join(" "), ...photo.scores.map(value => value ?? "")]);
  return [["path", "stars", "flag", "proposal", "group", "place", "findings", ...columns], ...rows].map(row => row.map(cell).join(",") + "\n").join("");
}

const LABELS = { pick: "Green", reject: "Red" };
const labelOf = photo => LABELS[flagOf(photo)] ?? photo.label;
const escaped = text => text.replace(/[&<>"]/g, character => `&#${character.charCodeAt()};`);

function sidecarOf(photo) { // the text that attiqa cull would write, with stars and label filled in
  return sidecars.texts[photo.sidecar.text].replaceAll(sidecars.stars, () => starsOf(photo)).replaceAll(sidecars.label, () => escaped(labelOf(photo)));
}
const withSidecar = () => photos.filter(photo => photo.sidecar !== null);

// A zip that only stores: for each file a header and its bytes, then the directory. All numbers are little-endian.

const TABLE = Uint32Array.from({ length: 256 }, (_, value) => {
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? value >>> 1 ^ 0xEDB88320 : value >>> 1;
  return value;
});
const crc32 = bytes => (bytes.reduce((sum, byte) => TABLE[(sum ^ byte) & 255] ^ sum >>> 8, -1) ^ -1) >>> 0;
const MOST = 65535; // files in a zip of this kind

function packed(fields) { // of width in bytes and value
  const bytes = new Uint8Array(fields.reduce((sum, [width]) => sum + width, 0)), data = new DataView(bytes.buffer);
  let at = 0;
  for (const [width, value] of fields) {
    if (width === 2) data.setUint16(at, value, true); else data.setUint32(at, value, true);
    at += width;
  }
  return bytes;
}

function zip(files) { // of name and text
  const encoder = new TextEncoder(), parts = [], directory = [], UTF8 = 1 << 11, DAY = 1 << 5 | 1; // 1 January 1980
  let offset = 0;
  for (const [name, text] of files) {
    const path = encoder.encode(name), bytes = encoder.encode(text);
    const common = [[2, 20], [2, UTF8], [2, 0], [2, 0], [2, DAY], [4, crc32(bytes)], [4, bytes.length], [4, bytes.length], [2, path.length], [2, 0]];
    const header = packed([[4, 0x04034B50], ...common]);
    directory.push(packed([[4, 0x02014B50], [2, 20], ...common, [2, 0], [2, 0], [2, 0], [4, 0], [4, offset]]), path);
    parts.push(header, path, bytes);
    offset += header.length + path.length + bytes.length;
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  return [...parts, ...directory, packed([[4, 0x06054B50], [2, 0], [2, 0], [2, files.length], [2, files.length], [4, size], [4, offset], [2, 0]])];
}

function download(parts, type, name) {
  const link = make("a");
  link.href = URL.createObjectURL(new Blob(parts, { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

function unpacking() {
  const left = photos.length - withSidecar().length;
  return `Unpack the sidecars in ${folder || "the folder of the photographs"}.` + (left ? ` ${plural(left, "photograph")} cannot have one: the name is not UTF-8, or the sidecar there cannot be read.` : "");
}

$("csv").addEventListener("click", () => download([csv()], "text/csv", "photographs.csv"));
$("xmp").addEventListener("click", () => {
  const files = withSidecar().map(photo => [photo.sidecar.path.slice(folder.length), sidecarOf(photo)]);
  if (files.length > MOST) $("said").textContent = `A zip holds at most ${MOST} sidecars; use attiqa cull --xmp.`;
  else download(zip(files), "application/zip", "sidecars.zip");
});
$("unpack").textContent = unpacking();
setUp();
